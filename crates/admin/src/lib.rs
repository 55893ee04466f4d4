//! `ncl`, the command line of an install: one declarative table of resources, used by host and box.
//!
//! The table ([`table::VERBS`]) says what can be asked; [`parse`] turns words into a [`wire::Request`];
//! the host executes it; [`mod@print`] shows the answer. Nothing here touches a database.

pub mod client;
pub mod parse;
pub mod print;
pub mod table;
#[cfg(test)]
mod tests;
pub mod wire;
