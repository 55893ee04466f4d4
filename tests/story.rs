//! What people see, through real boxes.

mod first;
mod tasks;
mod team;
