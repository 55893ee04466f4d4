//! Help, and the page of the documentation, from the table.

use crate::table::{Access, Flag, Kind, RESOURCES, Reach, VERBS, Verb};
use std::fmt::Write as _;

const END: &str = "\nEvery command takes --json. `ncl RESOURCE --help` shows its arguments.\n\
Exit codes: 0 done, 1 refused or failed, 2 not understood or no host.\n";

/// The verbs of a resource.
pub(crate) fn verbs_of(resource: &str) -> Vec<&'static str> {
    VERBS.iter().filter(|v| v.resource == resource).map(|v| v.verb).collect()
}

/// Help on everything, or on one resource; only of what the caller may ask for.
pub fn help(resource: Option<&str>, may: impl Fn(&Verb) -> bool) -> String {
    if let Some((name, about)) = RESOURCES.iter().find(|(name, _)| Some(*name) == resource) {
        let mut text = format!("{name}: {about}\n");
        for verb in of(name, &may) {
            text.push_str(&usage(verb));
        }
        return text + END;
    }
    let mut text = String::from("ncl: see and steer this install\n\n");
    for (name, about) in RESOURCES {
        let verbs: Vec<_> = of(name, &may).collect();
        if verbs.is_empty() {
            continue;
        }
        text.push_str(&format!("  {name:<18}{about}\n"));
        let names: Vec<_> = verbs.iter().map(|v| v.verb).filter(|v| !v.is_empty()).collect();
        let mut line = String::new();
        for name in names {
            if line.len() + name.len() > 58 {
                text.push_str(&format!("{:20}{line}\n", ""));
                line.clear();
            }
            line.push_str(if line.is_empty() { "" } else { ", " });
            line.push_str(name);
        }
        if !line.is_empty() {
            text.push_str(&format!("{:20}{line}\n", ""));
        }
    }
    text.push_str("  completions       for bash, zsh or fish: source <(ncl completions bash)\n");
    text + END
}

fn of(resource: &'static str, may: impl Fn(&Verb) -> bool) -> impl Iterator<Item = &'static Verb> {
    VERBS.iter().filter(move |v| v.resource == resource && may(v))
}

fn usage(verb: &Verb) -> String {
    let mark = match verb.access {
        Access::Read => "",
        Access::Write | Access::Own => " *",
    };
    let mut text = format!("\n  ncl {}{mark}\n      {}\n", call(verb), verb.about);
    for flag in verb.flags {
        text.push_str(&format!("      {:<30}{}\n", argument(flag), tags(flag)));
    }
    text
}

/// `sessions get ID`.
fn call(verb: &Verb) -> String {
    let positional = verb.positional.map(str::to_uppercase).unwrap_or_default();
    format!("{} {positional}", verb.words()).trim_end().to_owned()
}

fn argument(flag: &Flag) -> String {
    let value = match flag.kind {
        Kind::Text => " TEXT",
        Kind::Number => " N",
        Kind::Switch => "",
        Kind::Word(_) => " WORD",
        Kind::List | Kind::Map => " JSON",
    };
    flag.spelt() + value
}

fn tags(flag: &Flag) -> String {
    let mut text = flag.about.to_owned();
    if let Kind::Word(words) = flag.kind {
        text.push_str(&format!(": {}", words.join(", ")));
    }
    let notes = [
        flag.required.then(|| "required".to_owned()),
        flag.default.map(|d| format!("default {d}")),
        flag.nullable.then(|| "can be cleared".to_owned()),
        (!flag.alias.is_empty()).then(|| format!("also --{}", flag.alias.replace('_', "-"))),
    ];
    let notes: Vec<_> = notes.into_iter().flatten().collect();
    if !notes.is_empty() {
        text.push_str(&format!(" ({})", notes.join(", ")));
    }
    text
}

/// The table as Markdown, for `docs/ncl.md`.
pub fn reference() -> String {
    let mut text = String::new();
    for (name, about) in RESOURCES {
        // What is written into a text cannot fail.
        writeln!(text, "\n### `{name}`\n\n{}.\n", capital(about)).ok();
        writeln!(text, "| command | what it does | arguments | from a box |\n|---|---|---|---|")
            .ok();
        for verb in VERBS.iter().filter(|v| v.resource == *name) {
            let named = |f: &&Flag| verb.positional != Some(f.name);
            let flags: Vec<_> = verb.flags.iter().filter(named).map(short).collect();
            writeln!(
                text,
                "| `{}` | {} | {} | {} |",
                call(verb),
                verb.about,
                flags.join(" "),
                from_box(verb)
            )
            .ok();
        }
    }
    text
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(char::to_uppercase).into_iter().flatten().chain(chars).collect()
}

fn short(flag: &Flag) -> String {
    let name = flag.spelt();
    if flag.required { format!("**`{name}`**") } else { format!("`{name}`") }
}

fn from_box(verb: &Verb) -> &'static str {
    match (verb.reach, verb.access) {
        (Reach::Operator, _) => "never",
        (Reach::Global, Access::Read) => "scope global",
        (Reach::Global, Access::Write | Access::Own) => "scope global, with approval",
        (Reach::Group(_), Access::Read) => "its own",
        (Reach::Group(_), Access::Own) => "its own, without approval",
        (Reach::Group(_), Access::Write) => "its own, with approval",
    }
}
