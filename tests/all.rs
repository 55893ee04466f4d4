//! Every end-to-end test, one binary.

mod claude;
mod compat;
mod docs;
mod hostile;
mod inside;
mod isolation;
mod kill;
mod simulated;
mod story;
mod team;
