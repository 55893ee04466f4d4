//! A value: text that is wiped when it is dropped and that nothing prints, copies or writes.
//!
//! What may stand in it depends on where it will stand in a request; that is checked when it is stored, so
//! that no value can end a header or change a path later.

use crate::kind::{Kind, Slot};
use crate::{Result, refused};
use zeroize::Zeroizing;

/// Longest value in bytes.
pub const VALUE_MAX: usize = 10_000;
/// A shorter one could not be told from ordinary text in an answer.
const VALUE_MIN: usize = 8;

/// A secret's text.
pub struct Value(Zeroizing<String>);

impl Value {
    /// Takes over a text as it is.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for the one place where it is used.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The value as a secret of this kind and these slots holds it; refuses what could not stand there.
    pub(crate) fn fit(self, kind: Kind, slots: &[&Slot]) -> Result<Self> {
        let in_header = slots.iter().any(|slot| matches!(slot, Slot::Header { .. }));
        let multi_line = matches!(kind, Kind::Oauth2 | Kind::GithubApp | Kind::HostOnly);
        // White space around a token comes from copying it; in a password it may be meant.
        let trim = in_header || kind.is_token() || multi_line;
        let fitted = if trim { Self::new(self.0.trim().to_owned()) } else { self };
        let text = fitted.expose();
        let least = if kind == Kind::HostOnly { 1 } else { VALUE_MIN };
        if text.is_empty() {
            return refused("the value is empty");
        }
        if !(least..=VALUE_MAX).contains(&text.len()) {
            return refused(format!(
                "a value has {least} to {VALUE_MAX} bytes, this one has {}",
                text.len()
            ));
        }
        if (in_header || kind.is_token()) && !text.bytes().all(|b| b.is_ascii_graphic()) {
            return refused(
                "the value has a space, a line break or a letter outside ASCII in it; copy it again",
            );
        }
        let control = |c: char| c.is_control() && !(multi_line && matches!(c, '\n' | '\r' | '\t'));
        if text.chars().any(control) {
            return refused("the value has a control character in it; copy it again");
        }
        if slots.iter().any(|slot| matches!(slot, Slot::PathSegment))
            && text.trim_matches('.').is_empty()
        {
            return refused("the value is no segment of a path");
        }
        Ok(fitted)
    }
}
