//! What the end-to-end tests and the benchmarks share: a composed host, and an install to run it in.

pub mod compose;
pub mod peers;
pub mod rig;
