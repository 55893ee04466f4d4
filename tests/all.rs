//! Every end-to-end test, one binary.

mod story;
