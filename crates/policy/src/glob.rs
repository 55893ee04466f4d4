//! Patterns for hosts, paths and agents. None takes longer than pattern times text.

use crate::authority::Host;
use crate::file::AgentNames;
use crate::target::{Target, decoded, fold};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const PATTERN_MAX: usize = 1024;
/// One bit each of a `u64`, and one for the end.
const SEGMENTS_MAX: usize = 63;

/// Why something is no pattern, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadPattern(pub(crate) String);

/// Which hosts: one, all below a domain, or any.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostPattern {
    /// `*`
    Any,
    /// `*.example.com`: at least one label more.
    Below(String),
    /// `example.com`
    Exact(Host),
}

impl HostPattern {
    /// Whether `host` is meant.
    #[must_use]
    pub fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Exact(this), host) => this == host,
            (Self::Below(domain), Host::Name(name)) => {
                name.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.'))
            }
            (Self::Below(_), Host::Ip(_)) => false,
        }
    }
}

impl FromStr for HostPattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let wrong = |why: &str| BadPattern(format!("{text:?} is no host: {why}"));
        if text == "*" {
            return Ok(Self::Any);
        }
        let (below, name) = match text.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, text),
        };
        if name.contains(['/', '@']) || (name.contains(':') && !name.starts_with('[')) {
            return Err(wrong(
                "write the name alone, as in \"api.example.com\", and a port beside it",
            ));
        }
        if name.contains('*') {
            return Err(wrong(
                "a * stands for whole labels at the beginning, as in \"*.example.com\"",
            ));
        }
        let host = match name.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')) {
            Some(ip) => Host::Ip(ip.parse().map_err(|_| wrong("no IPv6 address in [ ]"))?),
            None if name.is_ascii() => Host::parse(name).map_err(|e| wrong(&e.to_string()))?,
            None => {
                let ascii =
                    idna::domain_to_ascii(name).map_err(|_| wrong("not a name of a host"))?;
                Host::parse(&ascii).map_err(|e| wrong(&e.to_string()))?
            }
        };
        match host {
            Host::Name(domain) if below => {
                if psl::suffix_str(&domain) == Some(domain.as_str()) {
                    return Err(wrong(
                        "anybody can have a name below it; name a domain of one owner",
                    ));
                }
                Ok(Self::Below(domain))
            }
            Host::Ip(_) if below => Err(wrong("nothing is below an address")),
            host => Ok(Self::Exact(host)),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(domain) => write!(f, "*.{domain}"),
            Self::Exact(host) => host.fmt(f),
        }
    }
}

/// Which paths: `*` is a segment or a part of one, `**` any number of segments; a `/` at the end makes no
/// difference.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPattern {
    text: String,
    /// As it is sent, and decoded for readings that are.
    exact: [Vec<String>; 2],
    folded: [Vec<String>; 2],
}

impl PathPattern {
    /// Whether some reading of the target matches, capital or not: what a rule against something asks.
    #[must_use]
    pub fn any_reading(&self, target: &Target) -> bool {
        let meets = |path: &String| self.folded.iter().any(|pattern| matches(pattern, path));
        target.folded().iter().any(meets)
    }

    /// Whether every reading matches, letter by letter: what a rule for something asks.
    #[must_use]
    pub fn every_reading(&self, target: &Target) -> bool {
        let meets = |path: &String| self.exact.iter().any(|pattern| matches(pattern, path));
        matches(&self.exact[0], target.path()) && target.readings().iter().all(meets)
    }
}

impl Default for PathPattern {
    fn default() -> Self {
        let every = [vec!["**".to_owned()], vec!["**".to_owned()]];
        Self { text: "/**".to_owned(), exact: every.clone(), folded: every }
    }
}

impl FromStr for PathPattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let wrong = |why: &str| BadPattern(format!("{text:?} is no path: {why}"));
        if text.len() > PATTERN_MAX {
            return Err(wrong("it has more than 1,024 characters"));
        }
        if text.contains('?') {
            return Err(wrong("a pattern is for the path alone; leave out the ? and what follows"));
        }
        let read = Target::parse(text)
            .map_err(|e| wrong(&format!("{e}; write it as it is sent, as in \"/v1/items/*\"")))?;
        let path = read.path();
        let exact = segments(path);
        if exact.len() > SEGMENTS_MAX {
            return Err(wrong("it has more than 63 segments"));
        }
        let odd = |segment: &String| {
            matches!(segment.as_str(), "." | "..")
                || (segment.is_empty() && exact.len() > 1)
                || (segment.contains("**") && segment != "**")
                || segment.contains(['\\', ';'])
        };
        if exact.iter().any(odd) {
            return Err(wrong("no . or .. or empty segments, no \\ and no ;, and ** stands alone"));
        }
        let exact = [exact, segments(&decoded(path))];
        let fold_all = |part: &Vec<String>| part.iter().map(|s| fold(s).into_owned()).collect();
        let folded = exact.each_ref().map(fold_all);
        Ok(Self { text: path.to_owned(), exact, folded })
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn segments(path: &str) -> Vec<String> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.strip_suffix('/').unwrap_or(path).split('/').map(str::to_owned).collect()
}

/// Follows every way through the pattern at once: bit `i` says that `i` parts of it are used up.
fn matches(pattern: &[String], path: &str) -> bool {
    let skip = |mut reached: u64| {
        for (i, part) in pattern.iter().enumerate() {
            if part == "**" && reached & (1 << i) != 0 {
                reached |= 1 << (i + 1);
            }
        }
        reached
    };
    let path = path.strip_prefix('/').unwrap_or(path);
    let mut reached = skip(1);
    for segment in path.strip_suffix('/').unwrap_or(path).split('/') {
        let mut next = 0;
        for (i, part) in pattern.iter().enumerate().filter(|(i, _)| reached & (1 << i) != 0) {
            if part == "**" {
                next |= 1 << i;
            } else if wild(part, segment) {
                next |= 1 << (i + 1);
            }
        }
        reached = skip(next);
        if reached == 0 {
            return false;
        }
    }
    reached & (1 << pattern.len()) != 0
}

/// Whether `text` is `pattern`, in which `*` is any number of letters.
fn wild(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    false
}

/// Which agents: an id, a folder, or a folder with `*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentPattern(String);

impl AgentPattern {
    /// Whether this agent is meant.
    #[must_use]
    pub fn matches(&self, agent: &AgentNames) -> bool {
        self.0 == agent.id || wild(&self.0, &agent.folder)
    }
}

impl FromStr for AgentPattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let odd = |c: char| c.is_control() || c.is_whitespace() || c == '/';
        if text.is_empty() || text.len() > 128 || text.contains(odd) {
            let say = "write its id, its folder, or a folder with *, as in \"dev-*\"";
            return Err(BadPattern(format!("{text:?} is no agent: {say}")));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for AgentPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! as_text {
    ($($pattern:ty),+) => {$(
        impl TryFrom<String> for $pattern {
            type Error = BadPattern;
            fn try_from(text: String) -> Result<Self, BadPattern> {
                text.parse()
            }
        }
        impl From<$pattern> for String {
            fn from(pattern: $pattern) -> Self {
                pattern.to_string()
            }
        }
    )+};
}
as_text!(HostPattern, PathPattern, AgentPattern);

#[cfg(test)]
mod tests;
