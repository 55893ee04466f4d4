//! Asks a person on the terminal for a secret, without showing it.

use rustix::termios::{LocalModes, OptionalActions, isatty, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};

/// Whether a person is there to be asked.
pub fn is_possible() -> bool {
    isatty(std::io::stdin()) && isatty(std::io::stderr())
}

/// Shows `label`, reads one line with the echo off; `None` when it is empty or cannot be asked.
pub fn secret(label: &str) -> Option<String> {
    let mut tty = File::options().read(true).write(true).open("/dev/tty").ok()?;
    write!(tty, "{label}").ok()?;
    let before = tcgetattr(&tty).ok()?;
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&tty, OptionalActions::Now, &quiet).ok()?;
    let mut line = String::new();
    let read = BufReader::new(&tty).read_line(&mut line);
    tcsetattr(&tty, OptionalActions::Now, &before).ok()?;
    writeln!(tty).ok()?;
    read.ok()?;
    Some(line.trim().to_owned()).filter(|text| !text.is_empty())
}
