//! A coordinator and a hundred workers in one process, in virtual time, under faults that a seed chooses: calls are dropped,
//! delayed, doubled and overtake each other; workers and the network between stop and come back; either side dies at any moment,
//! the coordinator in the middle of a transaction too, and starts again from the same file. What the README promises is checked
//! with every answer and once more at the end.
//!
//! `make simulate ROUNDS=n SEED=s`; a failing seed is printed and runs again exactly.
#![expect(clippy::unwrap_used, reason = "a test")]

mod hub;
mod mortal;
mod promises;
mod protocol;
#[path = "../rig/mod.rs"]
mod rig;
mod worker;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use fivefold_common::ids::{Digest, Fold, JobSetId};
use fivefold_common::job_set::JobSetState;
use fivefold_common::randomness::{Purpose, Stream};
use fivefold_coordinator::clock::Timestamp;
use fivefold_coordinator::error::Error;

use crate::hub::{Hub, Remains, Wish};
use crate::promises::Promises;
use crate::protocol::{Answer, Call, FOLDS, spec};
use crate::worker::{Alarm, Effect, Worker};

const WORKERS: usize = 100;
const JOB_SETS: u32 = 60;
const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
/// Job sets come and faults happen for so long; then the world heals, and all has to end well.
const STORM: u64 = 24 * HOUR;
const LONGEST: u64 = 2000 * HOUR;

#[derive(Debug, Clone)]
enum Event {
    Call {
        worker: usize,
        process: u32,
        number: u64,
        call: Call,
    },
    Answer {
        worker: usize,
        process: u32,
        number: u64,
        answer: Answer,
    },
    Alarm {
        worker: usize,
        process: u32,
        alarm: Alarm,
    },
    WorkerStarts(usize),
    HubStarts,
    Upkeep,
    Wish(Wish),
    /// Something goes wrong, or a user changes a mind.
    Fault,
}

/// A coordinator that runs, or what is left of it.
enum Site {
    Up(Hub),
    Down(Remains),
}

struct World {
    now_ms: u64,
    order: u64,
    events: BTreeMap<(u64, u64), Event>,
    random: Stream,
    site: Option<Site>,
    /// How far the coordinator's clock is off.
    clock_off_ms: i64,
    workers: Vec<Worker>,
    /// Workers that stand still, or whose network does, until then.
    frozen_until: Vec<u64>,
    cut_off_until: Vec<u64>,
    promises: Promises,
    job_sets: Vec<JobSetId>,
    calls: u64,
    faults: u64,
    /// A hash of everything that happened, to see that a seed does the same again.
    trace: Digest,
}

impl World {
    async fn new(seed: u64, folder: &std::path::Path) -> World {
        let stream = |index| Stream::new(seed, 0, 0, Purpose::Synthetic, index);
        let worker = |number: usize| {
            // Some machines are worse than others.
            let badness = if number.is_multiple_of(10) { 0.05 } else { 0.002 };
            Worker::new(format!("worker-{number}"), stream(1 + number as u64), badness)
        };
        let mut world = World {
            now_ms: 0,
            order: 0,
            events: BTreeMap::new(),
            random: stream(0),
            site: Some(Site::Up(Hub::new(folder).await)),
            clock_off_ms: 0,
            workers: (0..WORKERS).map(worker).collect(),
            frozen_until: vec![0; WORKERS],
            cut_off_until: vec![0; WORKERS],
            promises: Promises::default(),
            job_sets: Vec::new(),
            calls: 0,
            faults: 0,
            trace: Digest::of(b""),
        };
        for number in 0..WORKERS {
            let after_ms = world.random.below(HOUR);
            world.after(after_ms, Event::WorkerStarts(number));
        }
        for number in 0..JOB_SETS {
            let wish = Wish::Submit { request_id: format!("request-{number}"), spec: Box::new(spec()) };
            let after_ms = world.random.below(STORM * 3 / 4);
            world.after(after_ms, Event::Wish(wish));
        }
        world.after(0, Event::Upkeep);
        world.after(HOUR, Event::Fault);
        world
    }

    fn after(&mut self, after_ms: u64, event: Event) {
        self.order += 1;
        self.events.insert((self.now_ms + after_ms, self.order), event);
    }

    /// The coordinator's clock.
    fn clock(&self) -> Timestamp {
        Timestamp(1_000_000_000 + self.now_ms as i64 + self.clock_off_ms)
    }

    fn is_stormy(&self) -> bool {
        self.now_ms < STORM
    }

    /// Sends a message on its way, which it may not survive, or may arrive at the end of twice.
    fn send(&mut self, worker: usize, event: Event) {
        if !self.is_stormy() {
            let after_ms = 1 + self.random.below(50);
            return self.after(after_ms, event);
        }
        if self.cut_off_until[worker] > self.now_ms || self.random.chance(0.02) {
            return;
        }
        let copies = if self.random.chance(0.02) { 2 } else { 1 };
        for _ in 0..copies {
            let slowest = if self.random.chance(0.03) { 10 * MINUTE } else { 2 * SECOND };
            let after_ms = 1 + self.random.below(slowest);
            self.after(after_ms, event.clone());
        }
    }

    fn carry_out(&mut self, worker: usize, effects: Vec<Effect>) {
        let process = self.workers[worker].process;
        for effect in effects {
            match effect {
                Effect::Send { number, call } => self.send(worker, Event::Call { worker, process, number, call }),
                Effect::Wake { after_ms, alarm } => self.after(after_ms, Event::Alarm { worker, process, alarm }),
            }
        }
    }

    async fn step(&mut self, event: Event) {
        match event {
            Event::Call { worker, process, number, call } => self.call(worker, process, number, call).await,
            Event::Answer { worker, process, number, answer } => {
                if self.is_there(worker, process, || Event::Answer { worker, process, number, answer: answer.clone() })
                {
                    let effects = self.workers[worker].hear(number, answer);
                    self.carry_out(worker, effects);
                }
            }
            Event::Alarm { worker, process, alarm } => {
                if self.is_there(worker, process, || Event::Alarm { worker, process, alarm }) {
                    let effects = self.workers[worker].wake(alarm);
                    self.carry_out(worker, effects);
                }
            }
            Event::WorkerStarts(worker) => {
                let effects = self.workers[worker].start();
                self.carry_out(worker, effects);
            }
            Event::HubStarts => {
                let now = self.clock();
                self.site = Some(match self.site.take().unwrap() {
                    Site::Down(remains) => Site::Up(remains.start(now).await),
                    up => up,
                });
            }
            Event::Upkeep => self.upkeep().await,
            Event::Wish(wish) => self.wish(wish).await,
            Event::Fault => self.fault().await,
        }
    }

    /// Whether a worker's process hears of something now. One that stands still hears of it when it goes on.
    fn is_there(&mut self, worker: usize, process: u32, event: impl FnOnce() -> Event) -> bool {
        if self.workers[worker].process != process {
            return false;
        }
        let frozen_ms = self.frozen_until[worker].saturating_sub(self.now_ms);
        if frozen_ms > 0 {
            self.after(frozen_ms, event());
        }
        frozen_ms == 0
    }

    async fn call(&mut self, worker: usize, process: u32, number: u64, call: Call) {
        let now = self.clock();
        let name = self.workers[worker].name.clone();
        let dies_within = self.is_stormy() && self.random.chance(0.0003);
        let Some(Site::Up(hub)) = &mut self.site else { return };
        if dies_within {
            self.faults += 1;
            let steps = self.random.below(8) as u32;
            return self.hub_dies(Some((name, call, steps))).await;
        }
        self.calls += 1;
        let answer = hub.answer(now, &name, &call).await;
        self.trace = Digest::of(format!("{} {} {name} {call:?} {answer:?}", self.trace, self.now_ms).as_bytes());
        self.promises.note(&call, &answer);
        // What is committed holds, whether or not its answer ever leaves.
        if self.is_stormy() && self.random.chance(0.0003) {
            self.faults += 1;
            return self.hub_dies(None).await;
        }
        self.send(worker, Event::Answer { worker, process, number, answer });
    }

    async fn hub_dies(&mut self, during: Option<(String, Call, u32)>) {
        let now = self.clock();
        let Some(site) = self.site.take() else { return };
        let Site::Up(hub) = site else {
            self.site = Some(site);
            return;
        };
        let during = during.as_ref().map(|(name, call, steps)| (name.as_str(), call, *steps));
        self.site = Some(Site::Down(hub.crash(now, during).await));
        // On the machine where it starts again, the clock is another one.
        self.clock_off_ms += self.random.between(-10.0, 10.0) as i64 * MINUTE as i64;
        let after_ms = MINUTE + self.random.below(HOUR / 2);
        self.after(after_ms, Event::HubStarts);
    }

    async fn upkeep(&mut self) {
        let now = self.clock();
        if let Some(Site::Up(hub)) = &mut self.site {
            for lease in hub.upkeep(now).await {
                self.promises.note_end(lease);
            }
            self.promises.hold_for_leases(hub);
            for id in &self.job_sets {
                // A budget was used up, or a user had cancelled it or ended it early: somebody looks after it.
                let (state, is_partial) = hub.job_set_state(id).await;
                let wants_more = matches!(state, JobSetState::Failed | JobSetState::Cancelled);
                if wants_more || is_partial && state == JobSetState::Succeeded {
                    hub.grant(now, &Wish::Retry(id.clone())).await.unwrap();
                }
            }
        }
        if !self.is_stormy() {
            self.heal().await;
        }
        self.after(5 * MINUTE, Event::Upkeep);
    }

    /// Nobody is drained and nothing is paused any more.
    async fn heal(&mut self) {
        let now = self.clock();
        let Some(Site::Up(hub)) = &mut self.site else { return };
        for worker in &self.workers {
            // One that never came is not known.
            let _ = hub.grant(now, &Wish::Drain(worker.name.clone(), false)).await;
        }
        for id in &self.job_sets {
            // One that has ended is not paused.
            let _ = hub.grant(now, &Wish::Pause(id.clone(), false)).await;
        }
    }

    async fn wish(&mut self, wish: Wish) {
        let now = self.clock();
        // A user whose wish was not answered asks again; a submission may have been stored all the same.
        let is_lost = self.random.chance(0.1);
        let Some(Site::Up(hub)) = &mut self.site else {
            return self.after(5 * MINUTE, Event::Wish(wish));
        };
        let submitted = match hub.grant(now, &wish).await {
            Ok(submitted) => submitted,
            Err(Error::WrongState(_) | Error::NotFound { .. }) => return,
            Err(error) => panic!("{wish:?}: {error}"),
        };
        self.promises.note_wish(&wish, hub).await;
        if let Some(id) = submitted {
            if is_lost {
                return self.after(MINUTE, Event::Wish(wish));
            }
            self.job_sets.push(id);
        }
    }

    async fn fault(&mut self) {
        if !self.is_stormy() {
            return;
        }
        self.faults += 1;
        let worker = self.random.below(WORKERS as u64) as usize;
        let until = self.now_ms + self.random.below(2 * HOUR);
        match self.random.below(20) {
            0..7 => {
                // It dies: what it is told from now on reaches nobody.
                self.workers[worker].process += 1;
                let after_ms = self.random.below(HOUR);
                self.after(after_ms, Event::WorkerStarts(worker));
            }
            7..11 => self.frozen_until[worker] = until,
            11..14 => self.cut_off_until[worker] = until,
            14 => {
                // Half of them at once.
                for worker in (0..WORKERS).filter(|worker| worker % 2 == 0) {
                    self.cut_off_until[worker] = until;
                }
            }
            15 => self.hub_dies(None).await,
            16 => self.clock_off_ms += self.random.between(-5.0, 30.0) as i64 * MINUTE as i64,
            17 => {
                let name = self.workers[worker].name.clone();
                let draining = self.random.chance(0.5);
                self.after(0, Event::Wish(Wish::Drain(name, draining)));
            }
            _ => self.change_a_mind(),
        }
        let after_ms = self.random.below(5 * MINUTE);
        self.after(after_ms, Event::Fault);
    }

    fn change_a_mind(&mut self) {
        if self.job_sets.is_empty() {
            return;
        }
        let id = self.job_sets[self.random.below(self.job_sets.len() as u64) as usize].clone();
        let wish = match self.random.below(9) {
            0 => Wish::Cancel(id),
            8 => Wish::Finish(id),
            1 => Wish::Retrain(id, Fold(self.random.below(u64::from(FOLDS)) as u8)),
            2..5 => Wish::Pause(id, true),
            _ => Wish::Pause(id, false),
        };
        self.after(0, Event::Wish(wish));
    }

    async fn has_ended(&mut self) -> bool {
        if self.is_stormy() || self.job_sets.len() < JOB_SETS as usize {
            return false;
        }
        let Some(Site::Up(hub)) = &mut self.site else { return false };
        for id in &self.job_sets {
            let (state, is_partial) = hub.job_set_state(id).await;
            if !state.has_ended() || is_partial {
                return false;
            }
        }
        true
    }
}

struct Summary {
    hours: u64,
    calls: u64,
    faults: u64,
    trace: Digest,
}

async fn simulate(seed: u64) -> Summary {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(seed, folder.path()).await;
    while let Some(((at, _), event)) = world.events.pop_first() {
        world.now_ms = at;
        let is_upkeep = matches!(event, Event::Upkeep);
        world.step(event).await;
        if is_upkeep && world.has_ended().await {
            break;
        }
        assert!(at < LONGEST, "it does not come to an end");
    }
    let Some(Site::Up(hub)) = &mut world.site else { panic!("the coordinator is down") };
    promises::hold_in_the_end(hub, &world.job_sets).await;
    Summary { hours: world.now_ms / HOUR, calls: world.calls, faults: world.faults, trace: world.trace }
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn run(seed: u64) -> Summary {
    struct Failing(u64);
    impl Drop for Failing {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("the simulation of SEED={} failed: make simulate ROUNDS=1 SEED={}", self.0, self.0);
            }
        }
    }
    let _failing = Failing(seed);
    // Nothing runs beside it, so that what happens depends on the seed alone.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let summary = runtime.block_on(simulate(seed));
    let Summary { hours, calls, faults, .. } = &summary;
    println!("SEED={seed}: {hours} h of {WORKERS} workers, {calls} calls, {faults} faults");
    summary
}

#[test]
fn what_is_promised_holds_in_every_storm() {
    let (rounds, seed) = (from_environment("ROUNDS", 2), from_environment("SEED", 1));
    let next = AtomicU64::new(seed);
    let run_some = || {
        let mut hours = 0;
        loop {
            let seed_of_round = next.fetch_add(1, Ordering::Relaxed);
            if seed_of_round >= seed + rounds {
                return hours;
            }
            hours += run(seed_of_round).hours;
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let hours: u64 = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(run_some)).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    println!("{hours} simulated hours, {} of workers", hours * WORKERS as u64);
}

#[test]
fn a_seed_runs_again_exactly() {
    let seed = from_environment("SEED", 1);
    assert_eq!(run(seed).trace, run(seed).trace);
}
