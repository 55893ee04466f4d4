//! Every end-to-end test, one binary.

mod claude;
mod compat;
mod hostile;
mod simulated;
mod story;
