//! The channel `slack`.
