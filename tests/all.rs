//! Every end-to-end test, one binary.

mod simulated;
mod story;
