//! The fivefold command: submit, watch and collect five-fold job sets, and the offline tools.
fn main() {}
