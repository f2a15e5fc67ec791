//! End-to-end tests: the three real programs as processes, and the rules that hold across crates.
