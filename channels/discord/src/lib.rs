//! The channel `discord`.
