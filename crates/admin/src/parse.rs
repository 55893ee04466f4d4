//! Words to a request.

use crate::args::{canonical, unknown};
use crate::completions::{self, Shell};
use crate::help;
use crate::table::{self, Kind, Verb};
use crate::wire::{Code, Failure, Request};
use serde_json::Value;

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
    Text(String),
    /// Help, on one resource or on everything.
    Help(Option<String>),
}

/// Reads the command line, without the program's name.
pub fn parse(words: &[String]) -> Result<Asked, Failure> {
    let end = words.iter().position(|w| w == "--").unwrap_or(words.len());
    let (options, plain) = words.split_at(end);
    let json = options.iter().any(|w| w == "--json");
    let help = options.iter().any(|w| w == "--help" || w == "-h");
    let words: Vec<String> = options.iter().filter(|w| *w != "--json").cloned().collect();
    let first = words.iter().find(|w| !w.starts_with('-') && *w != "help").cloned();
    let asks_help = |at: usize| words.get(at).is_some_and(|w| w == "help");
    let resource = |r: &&String| table::RESOURCES.iter().any(|(name, _)| *name == r.as_str());
    if (words.is_empty() && plain.is_empty())
        || help
        || asks_help(0)
        || (asks_help(1) && first.as_ref().filter(resource).is_some())
    {
        return Ok(Asked::Help(first));
    }
    if words.first().is_some_and(|w| w == "completions") {
        return completions_for(words.get(1)).map(Asked::Text);
    }
    let Some((verb, named)) = table::find(&words) else {
        return Err(Failure::new(Code::UnknownCommand, unknown_command(&words)));
    };
    let rest = words.get(named..).unwrap_or_default();
    let args = canonical(verb, given(verb, rest, plain.get(1..).unwrap_or_default())?)?;
    // Whose it is, the host fills in for a box; everything else has to be there.
    let mut whole = args.clone();
    if let Some(own) = verb.own_flag() {
        whole.entry(own.into()).or_default();
    }
    crate::args::complete(verb, &mut whole)?;
    let args = args.into_iter().collect();
    Ok(Asked::Do { request: Request { id: "1".into(), command: verb.command(), args }, json })
}

/// The arguments in their order, each with its value.
fn given(verb: &Verb, words: &[String], plain: &[String]) -> Result<Vec<(String, Value)>, Failure> {
    let bad = |text: String| Failure::new(Code::InvalidArgs, text);
    let mut given = Vec::new();
    let positional = |word: &String| match verb.positional {
        Some(name) => Ok((name.to_owned(), Value::from(word.as_str()))),
        None => Err(bad(format!("`ncl {}` takes no {word:?}", verb.words()))),
    };
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--") else {
            given.push(positional(word)?);
            continue;
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        if name == "clear" && verb.flags.iter().any(|f| f.nullable) {
            let field = value.or_else(|| words.next().cloned());
            given.push((field.ok_or_else(|| bad("--clear what?".into()))?, Value::Null));
            continue;
        }
        let Some(known) = verb.flag(name) else { return Err(unknown(verb, name)) };
        let is_word = |w: &&String| {
            matches!(w.as_str(), "true" | "false" | "yes" | "no" | "on" | "off" | "0" | "1")
        };
        let value = match value {
            Some(value) => Some(value),
            None if known.kind == Kind::Switch => {
                Some(words.next_if(is_word).map_or_else(|| "true".into(), Clone::clone))
            }
            None => words.next().cloned(),
        };
        let value = value.ok_or_else(|| bad(format!("--{name} needs a value")))?;
        given.push((name.to_owned(), value.into()));
    }
    for word in plain {
        given.push(positional(word)?);
    }
    Ok(given)
}

fn unknown_command(words: &[String]) -> String {
    let first = words.first().map_or("", String::as_str);
    let verbs = help::verbs_of(first);
    if verbs.is_empty() {
        return format!("there is no command {first:?}; see `ncl help`");
    }
    let said = words.get(1).map_or("", String::as_str);
    format!("there is no command `ncl {first} {said}`; {first} has {}", verbs.join(", "))
}

fn completions_for(shell: Option<&String>) -> Result<String, Failure> {
    let shell = shell.and_then(|name| Shell::parse(name));
    shell.map(completions::script).ok_or_else(|| {
        Failure::new(Code::InvalidArgs, "for which shell? `ncl completions bash`, zsh or fish")
    })
}
