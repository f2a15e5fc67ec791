//! Fivefold's benchmarks: folds, threshold, decode, warp and one training step.
