//! Words to a request.

use crate::table::{self, VERBS, Verb};
use crate::wire::{Code, Failure, Request};
use serde_json::{Map, Value};

/// What the words ask for.
#[derive(Debug, PartialEq)]
pub enum Asked {
    /// Something from the host.
    Do {
        /// The question.
        request: Request,
        /// Whether the answer is for a script.
        json: bool,
    },
    /// This text.
    Help(String),
}

/// Reads the command line, without the program's name.
pub fn parse(words: &[String]) -> Result<Asked, Failure> {
    let json = words.iter().any(|w| w == "--json");
    let words: Vec<_> = words.iter().filter(|w| *w != "--json").cloned().collect();
    if words.is_empty()
        || words.iter().any(|w| w == "--help" || w == "-h")
        || words.first().is_some_and(|w| w == "help")
    {
        return Ok(Asked::Help(help(words.iter().find(|w| !w.starts_with('-') && *w != "help"))));
    }
    let Some((verb, named)) = table::find(&words) else {
        let word = words.first().map_or("", String::as_str);
        return Err(Failure::new(
            Code::UnknownCommand,
            format!("there is no command {word:?}; see `ncl help`"),
        ));
    };
    let args = arguments(verb, words.get(named..).unwrap_or_default())?;
    Ok(Asked::Do { request: Request { id: "1".into(), command: verb.command(), args }, json })
}

fn arguments(verb: &Verb, words: &[String]) -> Result<Map<String, Value>, Failure> {
    let bad = |text: String| Failure::new(Code::InvalidArgs, text);
    let mut args = Map::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--") else {
            if verb.positional.is_none() {
                return Err(bad(format!("`ncl {}` takes no {word:?}", shown(verb))));
            }
            if args.insert("id".into(), word.clone().into()).is_some() {
                return Err(bad(format!(
                    "one {} at a time",
                    verb.positional.unwrap_or("argument")
                )));
            }
            continue;
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, words.next().cloned()),
        };
        let known =
            name == "id" && verb.positional.is_some() || verb.flags.iter().any(|(f, _)| *f == name);
        match value {
            _ if !known => return Err(bad(format!("`ncl {}` has no flag --{name}", shown(verb)))),
            None => return Err(bad(format!("--{name} needs a value"))),
            Some(value) => args.insert(name.into(), value.into()),
        };
    }
    match verb.positional {
        Some(what) if !args.contains_key("id") => {
            Err(bad(format!("which one? `ncl {} {what}`", shown(verb))))
        }
        _ => Ok(args),
    }
}

fn shown(verb: &Verb) -> String {
    format!("{} {}", verb.resource, verb.verb).trim_end().to_owned()
}

/// Help on everything, or on one resource.
fn help(resource: Option<&String>) -> String {
    let wanted: Vec<_> =
        VERBS.iter().filter(|v| resource.is_none_or(|r| v.resource == r)).collect();
    let wanted = if wanted.is_empty() { VERBS.iter().collect() } else { wanted };
    let mut text = String::from("ncl: see and steer this install\n\n");
    for verb in wanted {
        let call = format!("{} {}", shown(verb), verb.positional.unwrap_or_default());
        text.push_str(&format!("  ncl {:<32} {}\n", call.trim_end(), verb.about));
        for (flag, what) in verb.flags {
            text.push_str(&format!("      --{flag:<28} {what}\n"));
        }
    }
    text.push_str("\nEvery command takes --json. Exit codes: 0 done, 1 refused or failed, 2 not understood or no host.\n");
    text
}
