//! The cases, in the order in which they run and stand in the documentation.

mod changes;
mod faults;
mod files;
mod life;
mod messages;
mod questions;
mod sending;
mod texts;

use crate::peer::{Offer, Profile};
use crate::rig::Rig;
use anyhow::Result;
use futures_util::future::LocalBoxFuture;

/// A case.
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// Under which heading it stands.
    pub group: &'static str,
    /// What it shows, in words for the documentation.
    pub what: &'static str,
    /// What the platform must offer.
    pub needs: fn(&Profile) -> Vec<Offer>,
    /// Whether the adapter is started before.
    pub started: bool,
    /// The case.
    pub run: for<'a> fn(&'a mut Rig) -> LocalBoxFuture<'a, Result<()>>,
}

/// A case whose adapter is started: name, what it shows, what it needs, function.
macro_rules! case {
    ($group:literal, $name:literal, $what:literal, [$($need:ident),*], $run:path) => {
        $crate::cases::Case {
            name: $name,
            group: $group,
            what: $what,
            needs: |_profile| vec![$(_profile.$need),*],
            started: true,
            run: |rig| Box::pin($run(rig)),
        }
    };
}
pub(crate) use case;

/// All cases.
pub fn all() -> impl Iterator<Item = &'static Case> {
    [
        messages::CASES,
        changes::CASES,
        sending::CASES,
        questions::CASES,
        files::CASES,
        faults::CASES,
        life::CASES,
    ]
    .into_iter()
    .flatten()
}
