//! The process inside a box.

pub mod provider;
pub mod tools;
