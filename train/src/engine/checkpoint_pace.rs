//! When a checkpoint is due: often enough that little is lost, and not so often that training slows down.

use std::time::{Duration, Instant};

use fivefold_common::spec::JobSetSpec;

/// The largest share of the time of training that checkpoints take, unless they would be too far apart.
const LARGEST_SHARE: f64 = 0.02;

/// The time between the checkpoints of a training, by the time that they take.
#[derive(Debug, Clone)]
pub(crate) struct CheckpointPace {
    /// The longest time between two checkpoints; `None` for one after each epoch.
    longest: Option<Duration>,
    /// Start of the training, or of this attempt at it.
    began: Instant,
    /// End of the last checkpoint, or `began`.
    saved: Instant,
    /// Time of the last checkpoint.
    cost: Duration,
    total_cost: Duration,
}

impl CheckpointPace {
    /// The pace of a training that begins or resumes `now`.
    pub(crate) fn new(spec: &JobSetSpec, now: Instant) -> Self {
        let minutes = u64::from(spec.checkpoint_minutes);
        let longest = (minutes > 0).then(|| Duration::from_secs(60 * minutes));
        Self { longest, began: now, saved: now, cost: Duration::ZERO, total_cost: Duration::ZERO }
    }

    /// Whether a checkpoint is due at the end of an epoch.
    pub(crate) fn is_due_after_epoch(&self, now: Instant) -> bool {
        let least = self.cost.mul_f64(1.0 / LARGEST_SHARE - 1.0);
        self.longest.is_none_or(|longest| now - self.saved >= least.min(longest))
    }

    /// Whether a checkpoint is due within an epoch, where `ahead` is the time until the next opportunity.
    pub(crate) fn is_due_within_epoch(&self, now: Instant, ahead: Duration) -> bool {
        self.longest.is_some_and(|longest| now - self.saved + ahead > longest)
    }

    /// Notes a checkpoint.
    pub(crate) fn note(&mut self, began: Instant, ended: Instant) {
        self.saved = ended;
        self.cost = ended - began;
        self.total_cost += self.cost;
    }

    /// The share of the time that checkpoints have taken.
    pub(crate) fn share(&self, now: Instant) -> f64 {
        self.total_cost.as_secs_f64() / (now - self.began).as_secs_f64().max(1e-9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The checkpoints of a fold, in virtual time.
    struct Fold {
        batch: Duration,
        batches: u32,
        validation: Duration,
        cost: Duration,
    }

    struct Outcome {
        checkpoints: u32,
        longest_gap: Duration,
        share: f64,
    }

    impl Fold {
        fn train(&self, spec: &JobSetSpec, epochs: u32) -> Outcome {
            let began = Instant::now();
            let (mut now, mut saved) = (began, began);
            let mut pace = CheckpointPace::new(spec, began);
            let mut outcome = Outcome { checkpoints: 0, longest_gap: Duration::ZERO, share: 0.0 };
            let mut save = |pace: &mut CheckpointPace, now: &mut Instant| {
                outcome.longest_gap = outcome.longest_gap.max(*now - saved);
                outcome.checkpoints += 1;
                pace.note(*now, *now + self.cost);
                *now += self.cost;
                saved = *now;
            };
            for _ in 0..epochs {
                for batch in 1..=self.batches {
                    now += self.batch;
                    let ahead = if batch == self.batches { self.validation } else { self.batch };
                    if pace.is_due_within_epoch(now, ahead) {
                        save(&mut pace, &mut now);
                    }
                }
                now += self.validation;
                if pace.is_due_after_epoch(now) {
                    save(&mut pace, &mut now);
                }
            }
            Outcome { share: pace.share(now), ..outcome }
        }
    }

    #[test]
    fn at_most_ten_minutes_are_lost_and_two_percent_are_spent() {
        let spec = JobSetSpec::default();
        for (batch_milliseconds, batches, cost_milliseconds) in
            [(50, 800, 1000), (50, 800, 5), (500, 100, 10_000), (3000, 800, 2000), (10, 40, 900), (60_000, 5, 8000)]
        {
            let batch = Duration::from_millis(batch_milliseconds);
            let cost = Duration::from_millis(cost_milliseconds);
            let fold = Fold { batch, batches, validation: batch * 5, cost };
            let epochs = (36_000 * SECOND).as_millis() / (batch * batches).as_millis();
            let Outcome { checkpoints, longest_gap, share } = fold.train(&spec, epochs as u32 + 1);
            let what = format!("{batch:?} a batch: {checkpoints} checkpoints, {longest_gap:?} apart, share {share}");
            assert!(longest_gap <= 600 * SECOND && share <= 0.0201 && checkpoints >= 59, "{what}");
        }
    }

    #[test]
    fn cheap_checkpoints_are_made_after_each_epoch_and_dear_ones_every_ten_minutes() {
        let spec = JobSetSpec::default();
        let fold = Fold { batch: SECOND, batches: 45, validation: 5 * SECOND, cost: SECOND / 10 };
        assert_eq!(fold.train(&spec, 100).checkpoints, 100);
        // A share above the limit, since more would be lost otherwise.
        let dear = Fold { cost: 60 * SECOND, ..fold };
        let Outcome { longest_gap, share, .. } = dear.train(&spec, 100);
        assert!(longest_gap <= 600 * SECOND && longest_gap > 500 * SECOND, "{longest_gap:?}");
        assert!((0.08..0.12).contains(&share), "{share}");
    }

    #[test]
    fn without_a_limit_every_epoch_has_its_checkpoint() {
        let spec = JobSetSpec { checkpoint_minutes: 0, ..JobSetSpec::default() };
        let fold = Fold { batch: 60 * SECOND, batches: 30, validation: SECOND, cost: 60 * SECOND };
        assert_eq!(fold.train(&spec, 7).checkpoints, 7);
    }
}
