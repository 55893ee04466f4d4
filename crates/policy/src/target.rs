//! What is asked of a host: the path and the query, in every way that a server may read them.
//!
//! The strict reading is what goes over the wire. The others are what lenient servers make of it: escapes
//! decoded once or until nothing is left to decode, `\` as `/`, `;parameters` dropped, empty segments dropped,
//! dot segments resolved. A rule that blocks holds if it meets any reading, a rule that allows only if it
//! meets every one.
//!
//! Read next: [`PathPattern`](crate::PathPattern) for how a rule meets a reading.

use std::borrow::Cow;

/// Longest path, before and after decoding.
const PATH_MAX: usize = 8 << 10;
/// Longest path with its query.
const TARGET_MAX: usize = 16 << 10;

/// A path and a query that were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    wire: String,
    path_len: usize,
    readings: Vec<String>,
    folded: Vec<String>,
    plain: bool,
}

/// Why something is no target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// Over the limit.
    #[error("the path has more than 8 KiB, or with the query more than 16 KiB")]
    TooLong,
    /// Not of the form `/path?query`.
    #[error("the target does not begin with /")]
    NoPath,
    /// A control character, a space, a letter that is not ASCII, or `#`.
    #[error("a character in the target has to be escaped")]
    Raw,
    /// A `%` without two hexadecimal digits.
    #[error("a % in the path is not followed by two hexadecimal digits")]
    Escape,
    /// `%00`.
    #[error("the path has a NUL in it")]
    Nul,
}

impl Target {
    /// Reads `/path?query`.
    pub fn parse(raw: &str) -> Result<Self, BadTarget> {
        let (path, query) = match raw.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (raw, None),
        };
        if path.len() > PATH_MAX || raw.len() > TARGET_MAX {
            return Err(BadTarget::TooLong);
        }
        if !path.starts_with('/') {
            return Err(BadTarget::NoPath);
        }
        if raw.bytes().any(|b| !b.is_ascii_graphic() || b == b'#') {
            return Err(BadTarget::Raw);
        }
        let strict = strict(path)?;
        let (readings, plain) = readings(&strict);
        let folded = readings.iter().map(|reading| fold(reading).into_owned()).collect();
        let path_len = strict.len();
        let mut wire = strict;
        if let Some(query) = query {
            wire.push('?');
            wire.push_str(query);
        }
        Ok(Self { wire, path_len, readings, folded, plain })
    }

    /// The strict path and the query: the bytes that are sent.
    #[must_use]
    pub fn wire(&self) -> &str {
        &self.wire
    }

    /// The strict path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.wire[..self.path_len]
    }

    /// The query as it came, without the `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.wire[self.path_len..].strip_prefix('?')
    }

    /// The different readings of the path, at most eight; the first is the strict one.
    #[must_use]
    pub fn readings(&self) -> &[String] {
        &self.readings
    }

    /// The readings without regard to capital letters.
    pub(crate) fn folded(&self) -> &[String] {
        &self.folded
    }

    /// Whether the path means one place: no reading has a dot segment or a `\`, and what is escaped is UTF-8.
    #[must_use]
    pub fn plain(&self) -> bool {
        self.plain
    }

    /// The value of `_method` in the query: some servers obey it rather than the method.
    pub(crate) fn method(&self) -> impl Iterator<Item = String> + '_ {
        let pairs = self.query().into_iter().flat_map(|query| query.split(['&', ';']));
        pairs.filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let text = |part: &str| String::from_utf8_lossy(&once(part.as_bytes())).into_owned();
            (text(name).eq_ignore_ascii_case("_method")).then(|| text(value))
        })
    }
}

/// Decodes escapes of unreserved characters, makes the others upper case, changes nothing else.
fn strict(path: &str) -> Result<String, BadTarget> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let byte = after.get(..2).and_then(|two| hex(two.as_bytes())).ok_or(BadTarget::Escape)?;
        match byte {
            0 => return Err(BadTarget::Nul),
            b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => out.push(char::from(b)),
            _ => {
                out.push('%');
                out.extend(after[..2].chars().map(|c| c.to_ascii_uppercase()));
            }
        }
        rest = &after[2..];
    }
    out.push_str(rest);
    Ok(out)
}

fn hex(two: &[u8]) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let [high, low] = two else { return None };
    Some(digit(*high)? << 4 | digit(*low)?)
}

fn readings(strict: &str) -> (Vec<String>, bool) {
    let mut readings = vec![strict.to_owned()];
    let odd = strict.contains(['%', ';', '\\'])
        || strict.contains("//")
        || strict.split('/').any(|segment| segment.ends_with('.'));
    if !odd {
        return (readings, true);
    }
    let (once, full) = (once(strict.as_bytes()), full(strict.as_bytes()));
    let utf8 = std::str::from_utf8(&full).is_ok();
    let [once, full] = [once, full].map(|bytes| look_alike(&String::from_utf8_lossy(&bytes)));
    let bare = self::full(without_parameters(strict).as_bytes());
    let bare = look_alike(&String::from_utf8_lossy(&bare));
    let plain =
        utf8 && !strict.contains('\\') && ![strict, &once, &full, &bare].into_iter().any(dotted);
    let stripped = without_parameters(&full);
    let cut = stripped_at_query(&full);
    let all = [strict, &once, &full, &bare, &stripped, &cut].map(tidy);
    for reading in all.into_iter().chain([full]) {
        if !readings.contains(&reading) {
            readings.push(reading);
        }
    }
    (readings, plain)
}

fn dotted(path: &str) -> bool {
    path.split('/').any(|segment| matches!(name(segment), "." | ".."))
}

/// The reading in which nothing is left to decode.
pub(crate) fn decoded(path: &str) -> String {
    tidy(&look_alike(&String::from_utf8_lossy(&full(path.as_bytes()))))
}

#[cfg(any(test, fuzzing))]
pub(crate) fn decoded_once(path: &str) -> String {
    String::from_utf8_lossy(&once(path.as_bytes())).into_owned()
}

/// Decodes every escape once.
fn once(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(byte) = path.get(at) {
        match path.get(at + 1..at + 3).and_then(hex).filter(|_| *byte == b'%') {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

/// Decodes until there is no escape left: each byte may complete one that began before it.
fn full(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    for byte in path {
        out.push(*byte);
        while let [.., b'%', high, low] = out[..]
            && let Some(decoded) = hex(&[high, low])
        {
            out.truncate(out.len() - 3);
            out.push(decoded);
        }
    }
    out
}

/// Letters that some servers take for others, and those that they drop.
fn look_alike(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        match c {
            '\\' | '\u{2044}' | '\u{2215}' | '\u{29f8}' | '\u{ff0f}' => out.push('/'),
            '\u{2216}' | '\u{29f5}' | '\u{fe68}' | '\u{ff3c}' => out.push('/'),
            '\u{2024}' | '\u{fe52}' | '\u{3002}' | '\u{ff61}' => out.push('.'),
            '\u{2025}' => out.push_str(".."),
            '\u{ff01}'..='\u{ff5e}' => out.extend(char::from_u32(u32::from(c) - 0xfee0)),
            c if c.is_control() || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{feff}') => {
            }
            c => out.push(c),
        }
    }
    out
}

/// A segment without its parameters, and without what some servers drop at the end of a name.
fn name(segment: &str) -> &str {
    let name = segment.split([';', '?', '#']).next().unwrap_or_default();
    if matches!(name, "." | "..") { name } else { name.trim_end_matches(['.', ' ']) }
}

fn without_parameters(path: &str) -> String {
    path.split('/').map(name).collect::<Vec<_>>().join("/")
}

/// What is left for who takes an escaped `?` or `#` for a real one.
fn stripped_at_query(path: &str) -> String {
    without_parameters(path.split(['?', '#']).next().unwrap_or_default())
}

/// Drops empty segments and resolves dot segments; nothing is above the root.
fn tidy(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split(['/', '\\']) {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            name => kept.push(name),
        }
    }
    format!("/{}", kept.join("/"))
}

/// Makes capital letters, and letters that have one only by name, the same.
pub(crate) fn fold(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) {
        return Cow::Borrowed(text);
    }
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests;
