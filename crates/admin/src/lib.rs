//! `ncl`, the command line of an install: one declarative table of resources, used by host and box.
//!
//! The table ([`table::VERBS`]) says what can be asked; [`parse`] turns words into a [`wire::Request`];
//! [`args`] makes every spelling one; the host executes it; [`mod@print`] shows the answer. Nothing here
//! touches a database or decides who may.

pub mod args;
pub mod client;
pub mod completions;
pub mod help;
pub mod parse;
pub mod print;
pub mod program;
pub mod table;
#[cfg(test)]
mod tests;
pub mod wire;
