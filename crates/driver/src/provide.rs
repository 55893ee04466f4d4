//! What an agent has in its box beyond the base: Debian and npm packages, made ready once and used by
//! every box of the agent.
//!
//! Names are judged here, by grammar, for whoever asks and once more by the driver: they become
//! arguments of programs. A version, a path, an address or an option is none.

#[cfg(test)]
mod tests;

use crate::{BoxUser, DriverError, Mount};
use nanoclaw_contract::ids::AgentId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Packages of one agent, of both kinds together.
pub const PACKAGES_MAX: usize = 200;
const NAME_BYTES_MAX: usize = 214;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Which install.
    pub install: String,
    /// For which agent.
    pub agent: AgentId,
    /// Debian packages.
    pub apt: Vec<String>,
    /// npm packages.
    pub npm: Vec<String>,
    /// What the image of the agent is built on, if its owner chose one.
    pub image: Option<String>,
    /// A folder of the agent's own, which only the host writes and no box sees as a whole.
    pub folder: PathBuf,
    /// Who runs in its boxes.
    pub user: BoxUser,
    /// Names this set of packages; safe as a part of a file name and of an image's tag. What follows a `-`
    /// tells it from an earlier one of the same packages, of which nothing may be used.
    pub key: String,
}

/// How it gets into a box.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provided {
    /// The image to start from.
    pub image: Option<String>,
    /// Mounts beside those of the plan.
    pub mounts: Vec<Mount>,
    /// Folders to search first, by variable, such as `PATH`.
    pub search: BTreeMap<String, Vec<String>>,
}

/// Takes lines while something is made ready.
pub type Progress<'a> = &'a mut (dyn FnMut(&str) + Send);

/// Whether this can name a Debian package. `name-` and `name+` mean something else to apt.
pub fn is_apt(name: &str) -> bool {
    (2..=NAME_BYTES_MAX).contains(&name.len())
        && begins(name)
        && !name.ends_with('-')
        && name.bytes().all(|b| plain(b) || b"._+-".contains(&b))
}

/// Whether this can name an npm package of the registry. npm takes what ends like an archive for a file.
pub fn is_npm(name: &str) -> bool {
    let part = |part: &str| begins(part) && part.bytes().all(|b| plain(b) || b"._-".contains(&b));
    let archive = [".tgz", ".tar", ".tar.gz"].iter().any(|end| name.ends_with(end));
    let named = match name.strip_prefix('@').map(|rest| rest.split_once('/')) {
        Some(Some((scope, rest))) => part(scope) && part(rest),
        Some(None) => false,
        None => part(name),
    };
    name.len() <= NAME_BYTES_MAX && !archive && named
}

/// Whether this can name an image: nothing in it is read as an option or as a part of a command.
pub fn is_image(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._/:@-".contains(&b))
        && !name.contains("..")
}

fn begins(name: &str) -> bool {
    name.bytes().next().is_some_and(plain)
}

fn plain(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

impl Wanted {
    /// The first thing about these names that cannot be, for people.
    pub fn judge(apt: &[String], npm: &[String]) -> Result<(), String> {
        let shown = |name: &String| name.chars().take(60).collect::<String>();
        if let Some(bad) = apt.iter().find(|name| !is_apt(name)) {
            return Err(format!(
                "{:?} is no name of a Debian package: lowercase letters, digits and . _ + - only",
                shown(bad)
            ));
        }
        if let Some(bad) = npm.iter().find(|name| !is_npm(name)) {
            return Err(format!(
                "{:?} is no name of an npm package: no version, path or address, no characters of a shell",
                shown(bad)
            ));
        }
        match apt.len() + npm.len() {
            0..=PACKAGES_MAX => Ok(()),
            n => Err(format!("{n} packages; at most {PACKAGES_MAX}")),
        }
    }

    /// Whether there is nothing to make ready.
    pub fn is_empty(&self) -> bool {
        self.apt.is_empty() && self.npm.is_empty()
    }

    /// Refuses what no driver may hand to a program.
    pub fn check(&self) -> Result<(), DriverError> {
        let safe = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let image = self.image.as_deref().is_none_or(is_image);
        Self::judge(&self.apt, &self.npm).map_err(DriverError::Other)?;
        match safe(&self.key) && safe(&self.install) && image && self.folder.is_absolute() {
            true => Ok(()),
            false => {
                Err(DriverError::Other("the place or image of the packages is malformed".into()))
            }
        }
    }
}
