//! The store under a program of its own.

// Marked so that helpers may unwrap like the tests themselves.
#[cfg(test)]
mod killed;
