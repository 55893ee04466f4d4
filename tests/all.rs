//! Every end-to-end test, one binary.

mod hostile;
mod simulated;
mod story;
