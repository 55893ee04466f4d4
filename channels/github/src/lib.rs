//! The channel `github`.
