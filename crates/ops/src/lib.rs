//! The life of an install: configured, set up, started, watched, stopped.
//!
//! It names no channel, provider or driver: `install/` passes those in as lists. It never runs in a box and
//! never sees a message. Read next: [`config`] for what can be set, [`setup`] for the first agent,
//! [`service`] for start and stop.

pub mod config;
pub mod doctor;
pub mod drivers;
pub mod logs;
pub mod prompt;
pub mod service;
pub mod setup;
pub mod status;
pub mod tools;

use std::fmt;

/// Receives one line of progress for people.
pub type Say<'a> = &'a (dyn Fn(&str) + Sync);

/// What failed, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What failed and why, as a sentence.
    pub what: String,
    /// The next step, if there is one that helps.
    pub next: Option<String>,
}

impl Error {
    /// An error without a next step.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), next: None }
    }

    /// The same error with the next step.
    #[must_use]
    pub fn next(mut self, step: impl Into<String>) -> Self {
        self.next = Some(step.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match &self.next {
            Some(step) => write!(f, "\nnext: {step}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Says what was being done when something failed.
pub(crate) trait During<T> {
    fn during(self, what: impl fmt::Display) -> Result<T, Error>;
}

impl<T, E: fmt::Display> During<T> for Result<T, E> {
    fn during(self, what: impl fmt::Display) -> Result<T, Error> {
        self.map_err(|e| Error::new(format!("{what}: {e}")))
    }
}
