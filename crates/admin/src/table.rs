//! Every resource and verb, once: help, parsing and completion read this list.

/// One thing that can be asked.
#[derive(Debug)]
pub struct Verb {
    /// `sessions`, `why` …
    pub resource: &'static str,
    /// `list`, `get` …; empty where the resource is the whole command.
    pub verb: &'static str,
    /// What the positional argument is, if there is one.
    pub positional: Option<&'static str>,
    /// Flags with a value, and what the value is.
    pub flags: &'static [(&'static str, &'static str)],
    /// What it does, one line.
    pub about: &'static str,
    /// Columns of the table that people see; empty: shown as key and value.
    pub columns: &'static [&'static str],
}

impl Verb {
    /// Its name on the wire.
    pub fn command(&self) -> String {
        if self.verb.is_empty() {
            self.resource.to_owned()
        } else {
            format!("{}-{}", self.resource, self.verb)
        }
    }
}

const NONE: &[(&str, &str)] = &[];
const PAGE: &[(&str, &str)] =
    &[("limit", "rows, 200 if not said"), ("offset", "rows to leave out")];

/// The list.
pub const VERBS: &[Verb] = &[
    Verb {
        resource: "status",
        verb: "",
        positional: None,
        flags: NONE,
        about: "channels, boxes, problems",
        columns: &[],
    },
    Verb {
        resource: "why",
        verb: "",
        positional: Some("MESSAGE"),
        flags: NONE,
        about: "the whole story of a message, in or out, by its id or a part of its text",
        columns: &["at", "step", "session", "detail"],
    },
    Verb {
        resource: "sessions",
        verb: "list",
        positional: None,
        flags: PAGE,
        about: "sessions, newest first; a quarantined one shows its reason",
        columns: &["id", "agent", "chat", "thread", "state", "last_active", "reason"],
    },
    Verb {
        resource: "sessions",
        verb: "get",
        positional: Some("SESSION"),
        flags: NONE,
        about: "one session",
        columns: &[],
    },
    Verb {
        resource: "sessions",
        verb: "clear",
        positional: Some("SESSION"),
        flags: NONE,
        about: "ends a quarantine: puts the damaged outbox aside and starts a fresh one",
        columns: &[],
    },
    Verb {
        resource: "sessions",
        verb: "stop",
        positional: Some("SESSION"),
        flags: NONE,
        about: "stops its box; work starts it again",
        columns: &[],
    },
    Verb {
        resource: "dead-letters",
        verb: "list",
        positional: None,
        flags: NONE,
        about: "messages that were given up",
        columns: &["id", "session", "to", "attempts", "last_error", "last_at"],
    },
    Verb {
        resource: "dead-letters",
        verb: "replay",
        positional: Some("MESSAGE|all"),
        flags: NONE,
        about: "tries them again",
        columns: &[],
    },
    Verb {
        resource: "groups",
        verb: "list",
        positional: None,
        flags: NONE,
        about: "agents",
        columns: &["id", "name", "folder", "provider"],
    },
    Verb {
        resource: "messaging-groups",
        verb: "list",
        positional: None,
        flags: NONE,
        about: "chats",
        columns: &["id", "channel", "platform_id", "name", "kind", "policy"],
    },
    Verb {
        resource: "wirings",
        verb: "list",
        positional: None,
        flags: NONE,
        about: "which agent answers in which chat, and when",
        columns: &[
            "id",
            "chat",
            "agent",
            "engage",
            "pattern",
            "session_mode",
            "senders",
            "ignored",
        ],
    },
    Verb {
        resource: "dropped-messages",
        verb: "list",
        positional: None,
        flags: NONE,
        about: "chats whose messages nobody answered, and why",
        columns: &["channel", "platform_id", "sender", "reason", "count", "last_seen"],
    },
];

/// The verb of these words, and how many of them name it. A resource alone means its list.
pub fn find(words: &[String]) -> Option<(&'static Verb, usize)> {
    let first = words.first()?;
    let with = |verb: &str| VERBS.iter().find(|v| v.resource == first && v.verb == verb);
    match words.get(1).and_then(|second| with(second)) {
        Some(verb) if !verb.verb.is_empty() => Some((verb, 2)),
        _ => with("").or_else(|| with("list")).map(|verb| (verb, 1)),
    }
}
