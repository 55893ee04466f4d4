//! What people see, through real boxes.

mod channels;
mod first;
mod guest;
mod ncl;
mod tasks;
mod team;

use std::time::Duration;

/// Far beyond what a loaded machine needs.
const SOON: Duration = Duration::from_secs(60);
