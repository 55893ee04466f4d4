//! What people see, through real boxes.

mod first;
mod ncl;
mod tasks;
mod team;
