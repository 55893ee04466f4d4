//! Dummies: what a box holds in place of a value. They look like it and are worth nothing anywhere.
//!
//! The shape (known prefix, length, classes of characters) is taken when the value is stored; the letters
//! come from a keyed code over agent, secret and epoch, so that no two agents share one and each stays the
//! same across rotations: a box that runs goes on.

use crate::kind::{self, Kind};
use crate::seal::Key;
use crate::secrets::SecretId;
use serde::{Deserialize, Serialize};

/// Letters that are not given away by the shape; with fewer, ordinary text could look like a dummy.
const LETTERS_MIN: usize = 24;
const SHAPE_MAX: usize = 512;

/// A dummy of one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dummy {
    /// The text that the box holds.
    pub text: String,
    /// In place of what.
    pub secret: SecretId,
    /// What that is called.
    pub name: String,
}

/// How a dummy looks: `a`, `A` and `0` stand for their class, the rest for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    pub(crate) prefix: String,
    body: String,
    hex: bool,
}

impl Shape {
    pub(crate) fn of(kind: Kind, value: &str) -> Self {
        let free =
            |prefix: &str| Self { prefix: prefix.into(), body: "Aa0".repeat(12), hex: false };
        match kind {
            Kind::GithubApp => return free("ghs_"),
            Kind::Oauth2 => return free(""),
            _ => {}
        }
        let prefix = kind::known(value).map_or("", |known| known.prefix);
        let rest = value.get(prefix.len()..).unwrap_or_default();
        let rest: String = rest.chars().take(SHAPE_MAX).collect();
        let letters = rest.chars().filter(char::is_ascii_alphanumeric).count();
        if letters < LETTERS_MIN {
            return free(prefix);
        }
        let class = |c: char| match c {
            '0'..='9' => '0',
            'A'..='Z' => 'A',
            '-' | '_' | '.' | '=' => c,
            _ => 'a',
        };
        let hex = rest.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f' | '-'));
        Self { prefix: prefix.into(), body: rest.chars().map(class).collect(), hex }
    }

    /// The dummy of one agent.
    pub(crate) fn fill(&self, key: &Key, agent: &str, secret: &SecretId, epoch: u64) -> String {
        let epoch = epoch.to_string();
        let parts = [agent, secret.as_str(), &epoch];
        let mut bytes = (0..).flat_map(|counter| key.code(&parts, counter));
        let mut pick = |from: &str| -> char {
            let byte = bytes.next().unwrap_or_default();
            from.chars().nth(usize::from(byte) % from.len()).unwrap_or('a')
        };
        let mut text = self.prefix.clone();
        for c in self.body.chars() {
            text.push(match c {
                'a' | '0' if self.hex => pick("0123456789abcdef"),
                'a' => pick("abcdefghijklmnopqrstuvwxyz"),
                'A' => pick("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
                '0' => pick("0123456789"),
                other => other,
            });
        }
        text
    }
}
