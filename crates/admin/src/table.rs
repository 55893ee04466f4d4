//! Every resource and verb, once: parsing, checking, help, completions and the documentation read this.
//!
//! [`VERBS`] is the list; the entries are in [`mod@self::verbs`]. A verb says what it takes, whether it
//! changes anything and whose boxes may ask for it; how it is done is the host's business.

mod verbs;

pub use verbs::{RESOURCES, VERBS};

/// One thing that can be asked.
#[derive(Debug)]
pub struct Verb {
    /// `sessions`, `why` …
    pub resource: &'static str,
    /// `list`, `config get` …; empty where the resource is the whole command.
    pub verb: &'static str,
    /// What it does, one line.
    pub about: &'static str,
    /// Which argument may be given without its name.
    pub positional: Option<&'static str>,
    /// Its arguments.
    pub flags: &'static [Flag],
    /// Whether it changes anything.
    pub access: Access,
    /// Whose boxes may ask for it.
    pub reach: Reach,
    /// Columns of the table that people see; empty: shown as key and value.
    pub columns: &'static [&'static str],
}

/// One argument.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Its name in an argument map; on the command line `_` is `-`.
    pub name: &'static str,
    /// Another name that is as good.
    pub alias: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Whether there is nothing to do without it.
    pub required: bool,
    /// Whether it can be said to be nothing: by an empty text, or with `--clear`.
    pub nullable: bool,
    /// Its value when it is left out.
    pub default: Option<&'static str>,
    /// What it is for.
    pub about: &'static str,
}

/// What an argument takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A whole number, 0 or more.
    Number,
    /// Yes or no; on the command line its name is enough.
    Switch,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A JSON array of texts.
    List,
    /// A JSON object of texts.
    Map,
}

/// Whether a verb changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It only looks.
    Read,
    /// It changes something: an agent needs somebody's approval.
    Write,
    /// It changes something; what is an agent's own it may change without asking.
    Own,
}

/// Whose boxes may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nobody's: for the operator alone.
    Operator,
    /// Those of agents whose scope is global.
    Global,
    /// Those of any agent, for what is its own.
    Group(Own),
}

/// How it is told what is an agent's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    /// It concerns nobody.
    Nothing,
    /// By this argument, which must be the agent's id and is filled in.
    Flag(&'static str),
    /// By the session that `id` names.
    Session,
}

impl Verb {
    const fn new(
        access: Access,
        resource: &'static str,
        verb: &'static str,
        about: &'static str,
    ) -> Self {
        let (positional, flags, reach, columns) = (None, &[] as &[_], Reach::Global, &[] as &[_]);
        Self { resource, verb, about, positional, flags, access, reach, columns }
    }

    const fn takes(mut self, positional: &'static str, flags: &'static [Flag]) -> Self {
        self.positional = Some(positional);
        self.flags = flags;
        self
    }

    const fn with(mut self, flags: &'static [Flag]) -> Self {
        self.flags = flags;
        self
    }

    const fn reach(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    const fn own(self, own: Own) -> Self {
        self.reach(Reach::Group(own))
    }

    const fn shows(mut self, columns: &'static [&'static str]) -> Self {
        self.columns = columns;
        self
    }

    /// Its name on the wire: `groups-config-get`.
    pub fn command(&self) -> String {
        self.words().replace(' ', "-")
    }

    /// Its name on the command line: `groups config get`.
    pub fn words(&self) -> String {
        format!("{} {}", self.resource, self.verb).trim_end().to_owned()
    }

    /// The argument of this name, however it is spelt.
    pub fn flag(&self, name: &str) -> Option<&'static Flag> {
        let name = name.replace('-', "_");
        self.flags.iter().find(|f| f.name == name || (!f.alias.is_empty() && f.alias == name))
    }

    /// The argument that says whose it is.
    pub fn own_flag(&self) -> Option<&'static str> {
        match self.reach {
            Reach::Group(Own::Flag(name)) => Some(name),
            Reach::Operator | Reach::Global | Reach::Group(Own::Nothing | Own::Session) => None,
        }
    }
}

impl Flag {
    const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        let (alias, required, nullable, default) = ("", false, false, None);
        Self { name, alias, kind, required, nullable, default, about }
    }

    const fn needed(mut self) -> Self {
        self.required = true;
        self
    }

    const fn or_none(mut self) -> Self {
        self.nullable = true;
        self
    }

    const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    const fn also(mut self, alias: &'static str) -> Self {
        self.alias = alias;
        self
    }

    /// How it is spelt on the command line, without the value.
    pub fn spelt(&self) -> String {
        format!("--{}", self.name.replace('_', "-"))
    }
}

/// The verb that these words begin with, and how many of them name it. A resource alone means its list.
pub fn find(words: &[String]) -> Option<(&'static Verb, usize)> {
    let named = |verb: &Verb| {
        let name = verb.words();
        let count = name.split(' ').count();
        let same = words.len() >= count && name.split(' ').zip(words).all(|(a, b)| a == b);
        same.then_some(count)
    };
    let found = VERBS.iter().filter_map(|v| Some((v, named(v)?))).max_by_key(|(_, count)| *count);
    let first = words.first()?;
    found.or_else(|| {
        // `ncl sessions --limit 5`, but not `ncl sessions nonsense`.
        let alone = words.get(1).is_none_or(|w| w.starts_with('-'));
        let list = VERBS.iter().find(|v| v.resource == first && v.verb == "list");
        list.filter(|_| alone).map(|v| (v, 1))
    })
}

/// The verb of a name on the wire, and what follows it: v2's client joins a positional argument with `-`.
pub fn find_command(command: &str) -> Option<(&'static Verb, Option<&str>)> {
    let rest = |verb: &Verb| {
        let rest = command.strip_prefix(&verb.command())?;
        match rest.strip_prefix('-') {
            Some(given) if verb.positional.is_some() && !given.is_empty() => Some(Some(given)),
            _ => rest.is_empty().then_some(None),
        }
    };
    let found = VERBS.iter().filter_map(|v| Some((v, rest(v)?)));
    found.max_by_key(|(v, _)| v.command().len()).or_else(|| {
        let list = |v: &&Verb| v.resource == command && v.verb == "list";
        VERBS.iter().find(list).map(|v| (v, None))
    })
}
