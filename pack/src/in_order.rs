//! Work on several threads, with the results in the order of the items.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread::ScopedJoinHandle;

/// Items in work or waiting for an earlier one, for each thread.
const AHEAD: usize = 4;

/// Calls `work` for each item, on `threads` threads that each have a state of their own, and `take` with the results,
/// in the order of the items and on this thread. Ends early when `take` breaks.
///
/// # Panics
/// When `work` does.
pub(crate) fn in_order<T: Sync, S, R: Send, B>(
    items: &[T],
    threads: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &T) -> R + Sync,
    mut take: impl FnMut(usize, R) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let (jobs, job_receiver) = crossbeam_channel::unbounded();
    let (result_sender, results) = crossbeam_channel::unbounded();
    std::thread::scope(|scope| {
        // Moved in, so that the threads end however this ends.
        let jobs = jobs;
        let _threads: Vec<ScopedJoinHandle<'_, ()>> = (0..threads.max(1))
            .map(|_| {
                let (job_receiver, result_sender) = (job_receiver.clone(), result_sender.clone());
                let (state, work) = (&state, &work);
                scope.spawn(move || {
                    let mut own = state();
                    for place in job_receiver {
                        let result = catch_unwind(AssertUnwindSafe(|| work(&mut own, &items[place])));
                        // Fails when no more results are wanted.
                        let _ = result_sender.send((place, result));
                    }
                })
            })
            .collect();
        let mut unsent = 0..items.len();
        let mut send_next = || unsent.next().map(|place| jobs.send(place));
        for _ in 0..threads.max(1) * AHEAD {
            send_next();
        }
        let mut waiting = BTreeMap::new();
        for next in 0..items.len() {
            let result = loop {
                if let Some(result) = waiting.remove(&next) {
                    break result;
                }
                let Ok((place, result)) = results.recv() else { return ControlFlow::Continue(()) };
                waiting.insert(place, result);
            };
            send_next();
            take(next, result.unwrap_or_else(|panic| resume_unwind(panic)))?;
        }
        ControlFlow::Continue(())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn results_come_in_order_and_not_too_far_ahead() {
        let items: Vec<usize> = (0..500).collect();
        for threads in [1, 3, 8] {
            let (begun, mut taken) = (AtomicUsize::new(0), Vec::new());
            let work = |calls: &mut usize, item: &usize| {
                begun.fetch_add(1, Ordering::SeqCst);
                *calls += 1;
                if item.is_multiple_of(7) {
                    std::thread::yield_now();
                }
                item * 2
            };
            let ended = in_order(
                &items,
                threads,
                || 0,
                work,
                |place, result| {
                    taken.push((place, result));
                    assert!(begun.load(Ordering::SeqCst) <= place + 1 + threads * AHEAD);
                    if place == 400 { ControlFlow::Break("enough") } else { ControlFlow::Continue(()) }
                },
            );
            assert_eq!(ended, ControlFlow::Break("enough"));
            assert_eq!(taken, (0..=400).map(|place| (place, 2 * place)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_panic_is_passed_on() {
        let work = |(): &mut (), item: &u32| assert_ne!(*item, 2, "the second");
        let run = || in_order(&[1, 2, 3], 2, || (), work, |_, ()| ControlFlow::<()>::Continue(()));
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
    }
}
