//! The log: lines on standard error, which the host keeps.

use std::io::Write as _;

/// Writes one line. Never fails: there is nowhere else to complain.
pub(crate) fn line(what: std::fmt::Arguments<'_>) {
    std::io::stderr().write_all(format!("[runner] {what}\n").as_bytes()).ok();
}

/// Writes one line of the log.
macro_rules! log {
    ($($arg:tt)*) => { $crate::log::line(format_args!($($arg)*)) };
}
pub(crate) use log;
