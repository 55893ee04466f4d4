//! What handlers share: typed access to canonical arguments, and the answer.

use crate::HostError;
use nanoclaw_admin::args::Args;
use nanoclaw_admin::table::Verb;
use nanoclaw_admin::wire::{Code, Failure};
use serde_json::Value;
use std::str::FromStr;

/// What a handler comes to.
pub(crate) type Answer = Result<Value, No>;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) struct No(Failure);

impl No {
    pub(crate) fn because(code: Code, text: impl Into<String>) -> Self {
        Self(Failure::new(code, text))
    }

    /// Something about the arguments.
    pub(crate) fn bad(text: impl Into<String>) -> Self {
        Self::because(Code::InvalidArgs, text)
    }

    /// There is no such thing.
    pub(crate) fn missing(what: &str, id: &str, list: &str) -> Self {
        let text = format!("{what} not found: {id}; `ncl {list}` lists what there is");
        Self::because(Code::NotFound, text)
    }

    /// It failed on the way.
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::because(Code::HandlerError, text)
    }

    pub(crate) fn into_failure(self) -> Failure {
        self.0
    }
}

impl From<Failure> for No {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl From<HostError> for No {
    fn from(e: HostError) -> Self {
        Self::failed(e.to_string())
    }
}

impl From<nanoclaw_central::Error> for No {
    fn from(e: nanoclaw_central::Error) -> Self {
        Self::failed(e.to_string())
    }
}

/// A text that was given.
pub(crate) fn text<'a>(args: &'a Args, name: &str) -> Option<&'a str> {
    args.get(name).and_then(Value::as_str)
}

/// A text that has to be there: the table says so.
pub(crate) fn need<'a>(args: &'a Args, name: &str) -> Result<&'a str, No> {
    text(args, name).ok_or_else(|| No::bad(format!("--{} is required", name.replace('_', "-"))))
}

/// An id, a time, a word … that has to be there.
pub(crate) fn parse<T: FromStr<Err: std::fmt::Display>>(args: &Args, name: &str) -> Result<T, No> {
    let text = need(args, name)?;
    text.parse().map_err(|e| No::bad(format!("--{}: {e}", name.replace('_', "-"))))
}

/// An id that may be there.
pub(crate) fn maybe<T: FromStr<Err: std::fmt::Display>>(
    args: &Args,
    name: &str,
) -> Result<Option<T>, No> {
    text(args, name).map(|_| parse(args, name)).transpose()
}

/// A number.
pub(crate) fn number(args: &Args, name: &str) -> Option<i64> {
    args.get(name).and_then(Value::as_i64)
}

/// Whether a switch is on.
pub(crate) fn on(args: &Args, name: &str) -> bool {
    args.get(name).and_then(Value::as_bool) == Some(true)
}

/// A text to be changed: none if it stays, an inner none if it is cleared.
pub(crate) fn change(args: &Args, name: &str) -> Option<Option<String>> {
    args.get(name).map(|value| value.as_str().map(str::to_owned))
}

/// The page of a list that was asked for.
pub(crate) fn page_of(args: &Args) -> (usize, usize) {
    let of = |name, or| number(args, name).and_then(|n| usize::try_from(n).ok()).unwrap_or(or);
    (of("limit", 200), of("offset", 0))
}

/// The rows that fit every argument, of these the page that was asked for.
pub(crate) fn page(verb: &Verb, args: &Args, rows: Vec<Value>) -> Value {
    let fits = |row: &Value| {
        verb.flags.iter().filter(|f| !matches!(f.name, "limit" | "offset")).all(|flag| {
            let Some(wanted) = args.get(flag.name) else { return true };
            row.get(flag.name).or_else(|| row.get(flag.alias)) == Some(wanted)
        })
    };
    let (limit, offset) = page_of(args);
    rows.into_iter().filter(fits).skip(offset).take(limit).collect()
}

/// A name that people see.
pub(crate) fn name(args: &Args, key: &str) -> Result<String, No> {
    const CHARS_MAX: usize = 100;
    let name = need(args, key)?.trim();
    if name.chars().any(char::is_control) || name.chars().count() > CHARS_MAX {
        let text = format!("--{key} takes up to {CHARS_MAX} characters on one line");
        return Err(No::bad(text));
    }
    Ok(name.to_owned())
}
