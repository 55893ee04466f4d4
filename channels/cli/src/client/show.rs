//! How a message looks: as text with marks, as text alone, or as JSON.

use super::Ended;
use crate::wire::Message;
use nanoclaw_channel::ask;
use nanoclaw_channel::markdown::{ANSI, Dialect, PLAIN, printable, printable_line, render};
use serde_json::json;
use std::io::{IsTerminal as _, Write};

/// Where a single turn is shown.
pub(super) trait Show {
    fn received(&mut self, id: &str);
    fn typing(&mut self, typing: bool);
    fn message(&mut self, message: &Message);
    /// The last word; gives the exit code on.
    fn end(&mut self, ended: Ended, why: &str) -> Ended;
}

/// Marks where somebody reads them, nothing but text elsewhere.
pub(super) fn dialect() -> &'static Dialect {
    let set = |name| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    if std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb { &ANSI } else { &PLAIN }
}

/// A message as lines of text.
pub(super) fn message(message: &Message, dialect: &Dialect) -> String {
    let faint = |text: &str| format!("{}{text}{}", dialect.faint.0, dialect.faint.1);
    let mut parts = Vec::new();
    if message.edit_of.is_some() {
        parts.push(faint("(changed)"));
    }
    if !message.markdown.trim().is_empty() {
        parts.push(render(&message.markdown, dialect));
    }
    if let Some(reaction) = &message.reaction {
        parts.push(faint(&format!("reacted: {}", printable_line(&reaction.emoji))));
    }
    if let Some(question) = &message.question {
        parts.push(ask::text(question, dialect));
    }
    for file in &message.files {
        let (name, path) = (printable_line(&file.name), printable_line(&file.path));
        parts.push(format!("{} {path}", faint(&format!("file {name}:"))));
    }
    parts.join("\n")
}

/// For people.
pub(super) struct Text {
    dialect: &'static Dialect,
    agent: String,
    status: bool,
    on_screen: bool,
}

impl Text {
    pub(super) fn new(agent: Option<&str>) -> Self {
        Self {
            dialect: dialect(),
            agent: printable_line(agent.unwrap_or("the agent")),
            status: std::io::stderr().is_terminal(),
            on_screen: false,
        }
    }
}

impl Show for Text {
    fn received(&mut self, _id: &str) {}

    fn typing(&mut self, typing: bool) {
        if !self.status || typing == self.on_screen {
            return;
        }
        self.on_screen = typing;
        let mut out = std::io::stderr();
        let shown = if typing {
            write!(out, "\r{} is typing…", self.agent)
        } else {
            write!(out, "\r\x1b[2K")
        };
        // The status is a courtesy.
        shown.and_then(|()| out.flush()).ok();
    }

    fn message(&mut self, message: &Message) {
        let typing = self.on_screen;
        self.typing(false);
        // A reader that went away is no failure of the turn.
        writeln!(std::io::stdout(), "{}", self::message(message, self.dialect)).ok();
        self.typing(typing);
    }

    fn end(&mut self, ended: Ended, why: &str) -> Ended {
        self.typing(false);
        if !why.is_empty() {
            super::complain(ended, &printable(why));
        }
        ended
    }
}

/// For programs.
pub(super) struct Json<W>(pub(super) W);

impl<W: Write> Json<W> {
    fn line(&mut self, value: &serde_json::Value) {
        // As above: who reads no longer needs no more.
        writeln!(self.0, "{value}").and_then(|()| self.0.flush()).ok();
    }
}

impl<W: Write> Show for Json<W> {
    fn received(&mut self, id: &str) {
        self.line(&json!({ "type": "received", "id": id }));
    }

    fn typing(&mut self, typing: bool) {
        self.line(&json!({ "type": "typing", "typing": typing }));
    }

    fn message(&mut self, message: &Message) {
        let mut value = json!({ "type": "message" });
        if let (Some(map), Ok(serde_json::Value::Object(fields))) =
            (value.as_object_mut(), serde_json::to_value(message))
        {
            map.extend(fields);
            map.insert("text".into(), self::message(message, &PLAIN).into());
        }
        self.line(&value);
    }

    fn end(&mut self, ended: Ended, why: &str) -> Ended {
        let status = match ended {
            Ended::Well => "answered",
            Ended::Usage => "usage",
            Ended::Unreachable => "unreachable",
            Ended::TimedOut => "timeout",
            Ended::Refused => "refused",
        };
        let mut value = json!({ "type": "end", "status": status, "code": ended as u8 });
        if let Some(map) = value.as_object_mut().filter(|_| !why.is_empty()) {
            map.insert("why".into(), why.into());
        }
        self.line(&value);
        ended
    }
}
