//! The channel `matrix`.
