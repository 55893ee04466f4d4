//! End-to-end tests; the crate itself is empty.
