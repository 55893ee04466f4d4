//! The channel `telegram`.
