//! Fivefold's coordinator: the SQLite queue of fold jobs, the artifact store, the threshold and the submission.
fn main() {}
