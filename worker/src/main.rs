//! Fivefold's worker: leases fold jobs and trains them with libtorch on the local CUDA device or the CPU.
fn main() {}
