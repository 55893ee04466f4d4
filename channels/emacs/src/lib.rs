//! The channel `emacs`.
