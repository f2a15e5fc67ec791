//! A worker of the simulation: what the real one does, with a fake trainer and with three calls under way at most: one of its
//! main line, one report, one for a checkpoint. An unanswered call is made again as it was.

use fivefold_common::artifact::ArtifactKind;
use fivefold_common::ids::{Digest, LeaseRef};
use fivefold_common::job::{FailureCause, JobKind};
use fivefold_common::randomness::Stream;

use fivefold_common::scores::ScoreTable;

use crate::hub::LEASE_SECONDS;
use crate::protocol::{Answer, Call, EPOCHS, Lease, Trainer};
use crate::rig::csv;

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const REPORT_EVERY: u64 = LEASE_SECONDS as u64 * SECOND / 3;

/// Which call is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Main = 0,
    Reports = 1,
    Checkpoints = 2,
}

/// What a worker waits for by the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// A call that should have been answered.
    Resend { lane: Lane, number: u64 },
    /// Time to ask for work again.
    Ask,
    /// Time to report, in this attempt.
    Report(LeaseRef),
    /// An epoch, or the prediction, is done.
    Trained(LeaseRef),
}

/// What a worker wants from the world.
#[derive(Debug)]
pub(crate) enum Effect {
    Send { number: u64, call: Call },
    Wake { after_ms: u64, alarm: Alarm },
}

#[derive(Debug)]
struct Job {
    lease: Lease,
    trainer: Option<Trainer>,
    /// Of the checkpoints that it may go on from: which one is being fetched.
    fetching: usize,
    sequence: u64,
    step: u32,
    unreported: Vec<u32>,
    /// Epochs whose metrics are stored.
    reported_epochs: u32,
    /// A checkpoint that waits to be uploaded.
    waiting: Option<Trainer>,
    releasing: bool,
    finished: bool,
}

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) name: String,
    /// Counts its processes; an answer to an earlier one is nobody's.
    pub(crate) process: u32,
    lanes: [Option<(u64, Call, u32)>; 3],
    job: Option<Job>,
    calls: u64,
    waits: u32,
    random: Stream,
    effects: Vec<Effect>,
    /// How often it fails or hangs, from 0 to 1.
    pub(crate) badness: f64,
}

impl Worker {
    pub(crate) fn new(name: String, random: Stream, badness: f64) -> Self {
        let lanes = [None, None, None];
        Self { name, process: 0, lanes, job: None, calls: 0, waits: 0, random, effects: Vec::new(), badness }
    }

    /// A new process, which remembers nothing.
    pub(crate) fn start(&mut self) -> Vec<Effect> {
        self.process += 1;
        self.lanes = [None, None, None];
        self.job = None;
        self.send(Lane::Main, Call::Register);
        std::mem::take(&mut self.effects)
    }

    pub(crate) fn wake(&mut self, alarm: Alarm) -> Vec<Effect> {
        match alarm {
            Alarm::Resend { lane, number } => self.resend(lane, number),
            Alarm::Ask if self.job.is_none() && self.lanes[Lane::Main as usize].is_none() => self.ask(),
            Alarm::Report(lease) if self.holds(lease) => {
                self.report();
                self.wake_after(REPORT_EVERY, Alarm::Report(lease));
            }
            Alarm::Trained(lease) if self.holds(lease) => self.trained(),
            Alarm::Ask | Alarm::Report(_) | Alarm::Trained(_) => {}
        }
        std::mem::take(&mut self.effects)
    }

    pub(crate) fn hear(&mut self, number: u64, answer: Answer) -> Vec<Effect> {
        let lanes = [Lane::Main, Lane::Reports, Lane::Checkpoints];
        let is_awaited = |lane: &&Lane| self.lanes[**lane as usize].as_ref().is_some_and(|(sent, ..)| *sent == number);
        // An answer that was given up, or came before, is not awaited any more.
        let Some(&lane) = lanes.iter().find(is_awaited) else { return Vec::new() };
        let Some((_, call, _)) = self.lanes[lane as usize].take() else { return Vec::new() };
        if matches!(answer, Answer::Stale | Answer::Cancelled) {
            self.leave(5 * SECOND);
            return std::mem::take(&mut self.effects);
        }
        match (call, answer) {
            (_, Answer::Unknown) => self.send(Lane::Main, Call::Register),
            (Call::Register, _) => self.ask(),
            (Call::Acquire { .. }, Answer::Leased(None)) => self.wake_after(MINUTE, Alarm::Ask),
            (Call::Acquire { .. }, Answer::Leased(Some(lease))) => self.begin(lease),
            (Call::Download { digest, .. }, Answer::Content(content)) => self.fetched(digest, content),
            (Call::Report { epochs, sequence, .. }, Answer::Reported { release }) => {
                self.reported(sequence, &epochs, release)
            }
            (Call::Upload { kind: ArtifactKind::Checkpoint, content, .. }, _) => self.uploaded(&content),
            (Call::Upload { content, .. }, _) => self.complete(&content),
            (Call::Record { .. }, _) => self.next_checkpoint(),
            (Call::Complete { .. } | Call::Fail { .. } | Call::Release { .. }, _) => self.leave(SECOND),
            (call, answer) => panic!("{answer:?} is no answer to {call:?}"),
        }
        std::mem::take(&mut self.effects)
    }

    fn holds(&self, lease: LeaseRef) -> bool {
        self.job.as_ref().is_some_and(|job| job.lease.lease == lease)
    }

    fn wake_after(&mut self, after_ms: u64, alarm: Alarm) {
        self.effects.push(Effect::Wake { after_ms, alarm });
    }

    fn send(&mut self, lane: Lane, call: Call) {
        self.calls += 1;
        let number = self.calls;
        self.lanes[lane as usize] = Some((number, call.clone(), 0));
        self.effects.push(Effect::Send { number, call });
        self.wake_after(20 * SECOND, Alarm::Resend { lane, number });
    }

    fn resend(&mut self, lane: Lane, number: u64) {
        let Some((sent, call, tries)) = &mut self.lanes[lane as usize] else { return };
        if *sent != number {
            return;
        }
        *tries += 1;
        let (call, after_ms) = (call.clone(), (20 * SECOND) << (*tries).min(3));
        self.effects.push(Effect::Send { number, call });
        self.wake_after(after_ms, Alarm::Resend { lane, number });
    }

    fn ask(&mut self) {
        self.waits += 1;
        let request_id = format!("{}-{}-{}", self.name, self.process, self.waits);
        self.send(Lane::Main, Call::Acquire { request_id });
    }

    /// Has no job any more, and asks for another one.
    fn leave(&mut self, after_ms: u64) {
        self.job = None;
        self.lanes = [None, None, None];
        self.wake_after(after_ms, Alarm::Ask);
    }

    fn begin(&mut self, lease: Lease) {
        let held = lease.lease;
        let trainer = (lease.kind == JobKind::Train && lease.checkpoints.is_empty())
            .then(|| Trainer::new(&lease.job_set, lease.fold));
        self.job = Some(Job {
            lease,
            trainer,
            fetching: 0,
            sequence: 0,
            step: 0,
            unreported: Vec::new(),
            reported_epochs: 0,
            waiting: None,
            releasing: false,
            finished: false,
        });
        self.wake_after(0, Alarm::Report(held));
        self.go_on();
    }

    /// Fetches what it goes on from, or trains the next epoch.
    fn go_on(&mut self) {
        let (minutes, roll) = (self.random.between(5.0, 40.0), self.random.unit());
        let Some(job) = &mut self.job else { return };
        let lease = job.lease.lease;
        let Some(trainer) = &job.trainer else {
            let (digest, _) = job.lease.checkpoints[job.fetching];
            return self.send(Lane::Main, Call::Download { lease, digest });
        };
        if job.lease.kind == JobKind::Train && trainer.epoch == EPOCHS {
            job.finished = true;
            return self.finish_when_stored();
        }
        if roll < self.badness {
            let causes = [FailureCause::Error, FailureCause::OutOfMemory, FailureCause::BadData];
            let cause = causes[self.random.below(3) as usize];
            return self.send(Lane::Main, Call::Fail { lease, cause });
        }
        if roll > 1.0 - self.badness {
            // It hangs, and its reports go on.
            return;
        }
        self.wake_after((minutes * MINUTE as f64) as u64, Alarm::Trained(lease));
    }

    fn fetched(&mut self, digest: Digest, content: Option<String>) {
        let Some(job) = &mut self.job else { return };
        let content = content.unwrap_or_else(|| panic!("the checkpoint {digest} of {:?} is lost", job.lease));
        assert_eq!(Digest::of(content.as_bytes()), digest);
        let trainer = Trainer::from_checkpoint(&content);
        assert_eq!(trainer.epoch, job.lease.checkpoints[job.fetching].1);
        job.reported_epochs = trainer.epoch;
        job.trainer = Some(trainer);
        self.go_on();
    }

    fn trained(&mut self) {
        let Some(job) = &mut self.job else { return };
        let Some(trainer) = &mut job.trainer else { return };
        if job.releasing {
            return;
        }
        if job.lease.kind == JobKind::Predict {
            let (lease, content) = (job.lease.lease, text(&trainer.predictions(job.lease.fold)));
            return self.send(Lane::Main, Call::Upload { lease, kind: ArtifactKind::Predictions, content });
        }
        job.unreported.push(trainer.epoch);
        trainer.train_epoch();
        job.step += 1;
        job.waiting = Some(trainer.clone());
        self.report();
        self.next_checkpoint();
        self.go_on();
    }

    fn report(&mut self) {
        if self.lanes[Lane::Reports as usize].is_some() {
            return;
        }
        let Some(job) = &mut self.job else { return };
        let (sequence, epochs) = (job.sequence + 1, std::mem::take(&mut job.unreported));
        let call = Call::Report { lease: job.lease.lease, sequence, step: job.step, epochs };
        self.send(Lane::Reports, call);
    }

    fn reported(&mut self, sequence: u64, epochs: &[u32], release: bool) {
        let Some(job) = &mut self.job else { return };
        job.sequence = sequence;
        job.releasing |= release;
        if let Some(last) = epochs.last() {
            job.reported_epochs = last + 1;
        }
        if !job.unreported.is_empty() {
            self.report();
        }
        self.next_checkpoint();
        self.finish_when_stored();
    }

    /// Uploads the checkpoint that waits, if none is under way.
    fn next_checkpoint(&mut self) {
        if self.lanes[Lane::Checkpoints as usize].is_some() {
            return;
        }
        let Some(job) = &mut self.job else { return };
        // It is named only when its epochs' metrics are stored, and a newer one may come until then.
        let is_reported = |trainer: &mut Trainer| trainer.epoch <= job.reported_epochs;
        let Some(trainer) = job.waiting.take_if(is_reported) else { return self.finish_when_stored() };
        let call =
            Call::Upload { lease: job.lease.lease, kind: ArtifactKind::Checkpoint, content: trainer.checkpoint() };
        self.send(Lane::Checkpoints, call);
    }

    fn uploaded(&mut self, content: &str) {
        let Some(job) = &self.job else { return };
        let (digest, epoch) = (Digest::of(content.as_bytes()), Trainer::from_checkpoint(content).epoch);
        self.send(Lane::Checkpoints, Call::Record { lease: job.lease.lease, digest, epoch });
    }

    /// When every checkpoint is with the coordinator: releases what was asked for, or delivers what is finished.
    fn finish_when_stored(&mut self) {
        let is_busy = self.lanes[Lane::Main as usize].is_some() || self.lanes[Lane::Checkpoints as usize].is_some();
        let Some(job) = &self.job else { return };
        let Some(trainer) = &job.trainer else { return };
        if is_busy || job.waiting.is_some() || !job.unreported.is_empty() {
            return;
        }
        let lease = job.lease.lease;
        if job.finished {
            let content = text(&trainer.oof(job.lease.fold));
            self.send(Lane::Main, Call::Upload { lease, kind: ArtifactKind::Oof, content });
        } else if job.releasing {
            self.send(Lane::Main, Call::Release { lease });
        }
    }

    fn complete(&mut self, content: &str) {
        let Some(job) = &self.job else { return };
        let (lease, digest) = (job.lease.lease, Digest::of(content.as_bytes()));
        let checkpoint = match (&job.trainer, job.lease.kind) {
            (Some(trainer), JobKind::Train) => Some(Digest::of(trainer.checkpoint().as_bytes())),
            _ => None,
        };
        self.send(Lane::Main, Call::Complete { lease, digest, checkpoint });
    }
}

fn text(table: &ScoreTable) -> String {
    String::from_utf8(csv(table)).unwrap()
}
