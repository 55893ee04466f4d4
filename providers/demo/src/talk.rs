//! What the demo understands, and what it answers.

use crate::prompt::Said;
use crate::{failure, schedule};
use nanoclaw_runner::provider::{ErrorKind, Event, ProviderError, Setup};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;

/// Shown with every answer, so that nobody takes it for a model.
const MARK: &str = "(demo agent)";
const FILE: &str = "a file";
const REMINDER: &str = "Remind the user: ";
const SAY: &str = "Say: ";
const MEMORY_MAX: usize = 50;
/// How long a word takes.
const WORD: Duration = Duration::from_millis(400);
const MEMORY_CHARS_MAX: usize = 300;

const HELLO: &str = "Hello! I am NanoClaw's built-in demo agent. I am not an AI model: I show that \
everything around one works. Try: `send me a file`, `react`, `edit`, `remind me in 2 minutes to stretch`, `every day at 9 say good morning`, `list tasks`, \
`ask me something`, `send a card`, `count to 5`, `stream me a few words`, `ncl help`, `what did I say`, `echo hello`; and with other agents: \
`create an agent called Sam`, `tell sam: …`, `ask sam …`, `send sam a file`. \
To connect a real model, run `nanoclaw setup`.";

/// What was said in this conversation; the continuation is all of it.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    said: Vec<(Option<i64>, String)>,
    /// Agents that it wrote to, and for whom.
    #[serde(default)]
    errands: BTreeMap<String, String>,
}

impl Memory {
    pub(crate) fn read(continuation: Option<&str>) -> Self {
        continuation.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    pub(crate) fn write(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Remembers something, once.
    pub(crate) fn keep(&mut self, said: &Said) {
        if said.kind != "message" || self.said.iter().any(|(id, _)| id.is_some() && *id == said.id)
        {
            return;
        }
        if let (Some((to, _)), Some(from)) = (errand(&said.text), &said.from) {
            self.errands.insert(to.to_owned(), from.clone());
        }
        self.said.push((said.id, said.text.chars().take(MEMORY_CHARS_MAX).collect()));
        let surplus = self.said.len().saturating_sub(MEMORY_MAX);
        self.said.drain(..surplus);
    }

    fn recall(&self) -> String {
        if self.said.is_empty() {
            return "You have not said anything before this.".into();
        }
        let lines: Vec<_> = self.said.iter().map(|(_, text)| format!("- {text}")).collect();
        format!("You said:\n{}", lines.join("\n"))
    }
}

/// One answer in the making.
pub(crate) struct Talk<'a> {
    pub(crate) setup: &'a Setup,
    pub(crate) events: &'a mpsc::Sender<Event>,
    pub(crate) said: &'a Said,
    /// Where the answer goes.
    pub(crate) to: Option<String>,
    pub(crate) key: String,
    pub(crate) calls: u32,
}

impl Talk<'_> {
    /// Finds the answer, doing what was asked for.
    pub(crate) async fn answer(&mut self, memory: &Memory) -> Result<String, ProviderError> {
        let text = self.said.text.clone();
        if self.said.kind == "task" {
            if let Some(what) = text.strip_prefix(SAY) {
                let fails = what.strip_prefix("fail with ").map(|kind| failure(error(kind)));
                return fails.map_or_else(|| Ok(what.to_owned()), Err);
            }
            let what = text.strip_prefix(REMINDER).unwrap_or(&text);
            return Ok(format!("⏰ Reminder: {what}"));
        }
        if self.said.kind == "webhook" {
            return Ok(format!("A webhook came in: {text}"));
        }
        // Another demo has answered: that ends it, or else the two would go on for ever.
        if text.ends_with(MARK) {
            let from = self.said.from.as_deref().unwrap_or_default();
            self.to = memory.errands.get(from).cloned();
            let said = text.trim_end_matches(MARK).trim();
            return Ok(self
                .to
                .as_ref()
                .map(|_| format!("{from} says: {said}"))
                .unwrap_or_default());
        }
        let lower = text.to_lowercase();
        let lower = lower.trim_end_matches(['.', '!', '?']).trim();
        let has = |what: &str| lower.contains(what);
        if let Some(rest) = text.get(..5).filter(|w| w.eq_ignore_ascii_case("echo ")) {
            return Ok(text[rest.len()..].trim().to_owned());
        }
        if let Some(answer) = self.team(&text).await {
            return Ok(answer);
        }
        if let Some(words) = text.strip_prefix("ncl ") {
            return Ok(self.ncl(words).await);
        }
        if let Some(kind) = lower.strip_prefix("fail with ") {
            return Err(failure(error(kind)));
        }
        if let Some(rest) = lower.strip_prefix("sleep ") {
            return Ok(self.sleep(rest).await);
        }
        if let Some(rest) = lower.strip_prefix("count to ") {
            let n: u32 = rest.trim().parse().unwrap_or(5);
            let all: Vec<_> = (1..=n.min(1000)).map(|n| n.to_string()).collect();
            return Ok(all.join(", "));
        }
        if let Some(at) = lower.find("remind me in ") {
            return Ok(self.remind(&lower[at + "remind me in ".len()..]).await);
        }
        if let Some(wish) = schedule::wish(&text) {
            return Ok(self.repeat(wish).await);
        }
        if let Some(order) = schedule::order(lower) {
            return Ok(self.order(&order).await);
        }
        if has("list tasks") || has("my tasks") {
            return Ok(self.tasks().await);
        }
        if has("what did i say") || has("remember") {
            return Ok(memory.recall());
        }
        if has("ask me") {
            return Ok(self.ask().await);
        }
        if has("send me a file") || has("send a file") {
            return Ok(self.file(None).await);
        }
        if has("send a card") || has("send me a card") {
            return Ok(self.card().await);
        }
        match lower.split(|c: char| !c.is_alphanumeric()).next().unwrap_or("") {
            "react" => Ok(self.react().await),
            "stream" => Ok(self.stream(&text).await),
            "edit" => Ok(self.edit().await),
            "hello" | "hi" | "hey" | "help" => Ok(HELLO.into()),
            _ if has("who are you") || has("what can you do") => Ok(HELLO.into()),
            _ => Ok(format!("I am only the demo, but I heard you: “{text}”")),
        }
    }

    /// Says the answer where the message came from.
    pub(crate) async fn say(&mut self, answer: &str) -> Result<(), ProviderError> {
        if answer.is_empty() {
            return Ok(());
        }
        let answer = format!("{answer} {MARK}");
        let Some(from) = self.to.clone() else {
            return self
                .call("send_message", json!({ "text": answer }))
                .await
                .map(|_| ())
                .map_err(|detail| ProviderError { kind: ErrorKind::Other, detail });
        };
        let answer = answer
            .replace("</message", "<\u{200b}/message")
            .replace("internal>", "internal\u{200b}>");
        let text = format!("<message to=\"{from}\">{answer}</message>");
        let event = Event::Text { key: self.key.clone(), text };
        self.events.send(event).await.map_err(|_| failure(ErrorKind::Other))
    }

    async fn call(&mut self, tool: &str, args: Value) -> Result<String, String> {
        self.calls += 1;
        let call = format!("{}-{}", self.key, self.calls);
        let Value::Object(args) = args else { return Err("no arguments".into()) };
        let (id, name) = (call.clone(), tool.to_owned());
        self.tell(Event::ToolStarted { id, name, timeout: None }).await;
        let result = self.setup.tools.call(tool, &args, &call).await;
        self.tell(Event::ToolEnded { id: call }).await;
        result
    }

    async fn tell(&self, event: Event) {
        // A runner that has gone needs no news; the turn's end finds that out.
        self.events.send(event).await.ok();
    }

    async fn sleep(&mut self, rest: &str) -> String {
        let seconds = number(rest).unwrap_or(1.0).min(3600.0);
        let (id, timeout) = (format!("{}-sleep", self.key), Duration::from_secs_f64(seconds));
        let name = "Sleep".to_owned();
        self.tell(Event::ToolStarted { id: id.clone(), name, timeout: Some(timeout) }).await;
        tokio::time::sleep(timeout).await;
        self.tell(Event::ToolEnded { id }).await;
        format!("I slept for {seconds} seconds.")
    }

    /// Says it word by word, where that is shown.
    async fn stream(&self, text: &str) -> String {
        let words = after(text, "stream me ").unwrap_or(text);
        let mut text = format!("<message to=\"{}\">", self.to.as_deref().unwrap_or_default());
        for word in words.split_inclusive(' ').filter(|_| self.setup.previews) {
            text.push_str(word);
            let (key, text) = (self.key.clone(), std::mem::take(&mut text));
            self.tell(Event::Delta { key, text }).await;
            tokio::time::sleep(WORD).await;
        }
        words.to_owned()
    }

    /// Runs the program of the box, as an agent's shell would.
    async fn ncl(&self, words: &str) -> String {
        let mut ncl = tokio::process::Command::new("ncl");
        ncl.args(words.split_whitespace()).env_clear().envs(&self.setup.env);
        let done = match ncl.stdin(std::process::Stdio::null()).output().await {
            Ok(done) => done,
            Err(e) => return format!("I cannot run ncl: {e}"),
        };
        let text = [done.stdout, done.stderr].concat();
        let code = done.status.code().unwrap_or(1);
        format!("```\n{}```\nIt ended with {code}.", String::from_utf8_lossy(&text))
    }

    async fn remind(&mut self, rest: &str) -> String {
        let (when, what) = rest.split_once(" to ").unwrap_or((rest, "look here"));
        let unit = match when.trim_start_matches(|c: char| !c.is_alphabetic()) {
            u if u.starts_with('s') => 1.0,
            u if u.starts_with('h') => 3600.0,
            _ => 60.0,
        };
        let Some(n) = number(when) else {
            return "Tell me when, like this: remind me in 2 minutes to stretch.".into();
        };
        let wait = Duration::from_secs_f64((n * unit).min(31_536_000.0));
        let at = jiff::Timestamp::now().saturating_add(wait);
        let Ok(at) = at else { return "That is too far away.".into() };
        let prompt = format!("{REMINDER}{what}");
        let args = json!({ "prompt": prompt, "processAfter": at.to_string() });
        match self.call("schedule_task", args).await {
            Ok(_) => format!("I will remind you in {when} to {what}."),
            Err(e) => e,
        }
    }

    async fn repeat(&mut self, wish: schedule::Wish) -> String {
        let prompt = format!("{SAY}{}", wish.what);
        let session = if wish.own { "own" } else { "chat" };
        let args = json!({ "prompt": prompt, "recurrence": wish.cron, "session": session });
        match self.call("schedule_task", args).await {
            Ok(_) => format!("I will say it at {}. `list tasks` shows it.", wish.cron),
            Err(e) => e,
        }
    }

    async fn tasks(&mut self) -> String {
        let list = self.call("list_tasks", json!({})).await.unwrap_or_else(|e| e);
        let lines = schedule::listed(&list).into_iter().enumerate();
        let lines: Vec<_> = lines.map(|(n, (_, what))| format!("{}. {what}", n + 1)).collect();
        if lines.is_empty() { list } else { lines.join("\n") }
    }

    async fn order(&mut self, order: &schedule::Order) -> String {
        let list = self.call("list_tasks", json!({})).await.unwrap_or_else(|e| e);
        let wanted = order.number.checked_sub(1);
        match wanted.and_then(|n| schedule::listed(&list).get(n).map(|(id, _)| (*id).to_owned())) {
            Some(id) => {
                let done = self.call(order.tool, json!({ "taskId": id })).await;
                done.map_or_else(|e| e, |_| format!("Done with task {}.", order.number))
            }
            None => format!("There is no task {}; `list tasks` shows them.", order.number),
        }
    }

    async fn ask(&mut self) -> String {
        let args = json!({ "title": "A question", "question": "Which colour do you like best?",
            "options": ["red", "green", "blue"], "timeout": 300 });
        match self.call("ask_user_question", args).await {
            Ok(answer) => format!("You chose {answer}."),
            Err(e) => e,
        }
    }

    /// What has to do with other agents; none if the text does not.
    async fn team(&mut self, text: &str) -> Option<String> {
        if let Some(name) = after(text, "create an agent called ") {
            let name = name.trim_end_matches(['.', '!']);
            let args = json!({ "name": name, "instructions": format!("You are {name}.") });
            return Some(self.call("create_agent", args).await.unwrap_or_else(|e| e));
        }
        let (to, what) = errand(text)?;
        if what == FILE {
            return Some(self.file(Some(to)).await);
        }
        let sent = self.call("send_message", json!({ "to": to, "text": what })).await;
        Some(sent.map_or_else(|e| e, |_| format!("I wrote to {to}.")))
    }

    async fn file(&mut self, to: Option<&str>) -> String {
        let name = "hello-from-nanoclaw.txt";
        let path = self.setup.cwd.join(name);
        if let Err(e) = std::fs::write(&path, "This file was made by NanoClaw's demo agent.\n") {
            return format!("I could not write the file: {e}");
        }
        let args = match to {
            None => json!({ "path": name, "text": format!("Here is a file. {MARK}") }),
            Some(to) => json!({ "to": to, "path": name, "text": "Here is a file." }),
        };
        let whom = to.unwrap_or("you");
        self.call("send_file", args).await.map_or_else(|e| e, |_| format!("I sent {whom} a file."))
    }

    async fn card(&mut self) -> String {
        let args = json!({ "card": { "title": "A card", "description": format!("Cards hold text and links. {MARK}") },
            "fallbackText": "A card: cards hold text and links." });
        self.call("send_card", args).await.map_or_else(|e| e, |_| "I sent a card.".into())
    }

    async fn react(&mut self) -> String {
        let args = json!({ "messageId": self.said.id, "emoji": "thumbs_up" });
        self.call("add_reaction", args)
            .await
            .map_or_else(|e| e, |_| "I reacted to your message.".into())
    }

    async fn edit(&mut self) -> String {
        let args = json!({ "text": format!("This text will change. {MARK}") });
        let sent = match self.call("send_message", args).await {
            Ok(sent) => sent,
            Err(e) => return e,
        };
        let id =
            sent.rsplit("id: ").next().and_then(|id| id.trim_end_matches(')').parse::<i64>().ok());
        let args = json!({ "messageId": id, "text": format!("This text has changed. {MARK}") });
        self.call("edit_message", args).await.map_or_else(|e| e, |_| "I edited a message.".into())
    }
}

/// What follows these words.
fn after<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    let head = text.get(..words.len()).filter(|head| head.eq_ignore_ascii_case(words));
    head.and_then(|head| text.get(head.len()..)).map(str::trim)
}

/// `tell sam: hello`, `ask sam what is new`, `send sam a file`: to whom, and what.
fn errand(text: &str) -> Option<(&str, &str)> {
    let told = after(text, "tell ").and_then(|rest| rest.split_once(':'));
    let asked = || after(text, "ask ").and_then(|rest| rest.split_once(' '));
    let sent = || after(text, "send ")?.split_once(' ').filter(|(_, what)| *what == FILE);
    let (to, what) = told.or_else(asked).or_else(sent)?;
    let to = to.trim();
    (to != "me" && !to.is_empty() && !to.contains(' ')).then(|| (to, what.trim()))
}

fn number(text: &str) -> Option<f64> {
    let digits: String =
        text.trim().chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    digits.parse().ok().filter(|n: &f64| *n >= 0.0)
}

fn error(word: &str) -> ErrorKind {
    match word.split_whitespace().next().unwrap_or("") {
        "auth" => ErrorKind::Auth,
        "ratelimit" | "rate" => ErrorKind::RateLimited { resets_at: None },
        "overloaded" => ErrorKind::Overloaded,
        "badrequest" => ErrorKind::BadRequest,
        "billing" => ErrorKind::Billing,
        "unreachable" => ErrorKind::Unreachable,
        "lostconversation" => ErrorKind::LostConversation,
        "setup" => ErrorKind::Setup,
        _ => ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests;
