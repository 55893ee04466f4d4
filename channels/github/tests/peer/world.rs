//! What there is in the repository.

use anyhow::{Context as _, Result};
use nanoclaw_channel::time::{Clock as _, SystemClock, Timestamp};
use nanoclaw_conformance::{Fault, Place, Reacted, Say, Seen};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(crate) const REPO: &str = "acme/app";
pub(crate) const TOKEN: &str = "ghp_token_secret";
pub(crate) const SECRET: &str = "webhook-secret";
pub(crate) const BOT: u64 = 99;

/// The id and the login of a person.
pub(crate) fn user(who: &str) -> (u64, &'static str) {
    match who {
        "ann" => (7, "ann"),
        "bob" => (8, "bob-b"),
        "cleo" => (9, "cleo"),
        _ => (BOT, "nano-bot"),
    }
}

pub(crate) fn account(id: u64) -> Value {
    let login = ["ann", "bob", "cleo", "bot"].map(user).into_iter().find(|(known, _)| *known == id);
    let kind = if login.is_some() { "User" } else { "Bot" };
    json!({ "id": id, "login": login.map_or("other[bot]", |(_, login)| login), "type": kind })
}

/// An issue or a pull request.
#[derive(Clone)]
pub(crate) struct Issue {
    pub(crate) number: u64,
    pub(crate) pull: bool,
    pub(crate) title: String,
    pub(crate) body: String,
    pub(crate) user: u64,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
}

#[derive(Clone)]
pub(crate) struct Comment {
    pub(crate) id: u64,
    pub(crate) number: u64,
    /// On lines: the comment that began the discussion.
    pub(crate) root: Option<u64>,
    pub(crate) user: u64,
    pub(crate) body: String,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
}

pub(crate) struct World {
    pub(crate) base: String,
    pub(crate) webhook: String,
    pub(crate) issues: Vec<Issue>,
    pub(crate) comments: Vec<Comment>,
    pub(crate) reactions: Vec<Reacted>,
    pub(crate) statuses: Vec<u16>,
    pub(crate) calls: usize,
    /// Answers that cost nothing.
    pub(crate) unchanged: usize,
    pub(crate) fault: Option<(Fault, u32)>,
    pub(crate) cut: bool,
    pub(crate) skew: i64,
    /// What the setting says.
    pub(crate) repos: String,
    events: BTreeMap<String, (&'static str, Value)>,
    last: u64,
}

impl World {
    pub(crate) fn new(base: &str, webhook: &str) -> Self {
        let mut world = Self {
            base: base.to_owned(),
            webhook: webhook.to_owned(),
            issues: Vec::new(),
            comments: Vec::new(),
            reactions: Vec::new(),
            statuses: Vec::new(),
            calls: 0,
            unchanged: 0,
            fault: None,
            cut: false,
            skew: 0,
            // Not as GitHub writes it.
            repos: REPO.to_uppercase(),
            events: BTreeMap::new(),
            last: 1_000,
        };
        // From long before.
        for number in 1..10 {
            let then = Timestamp::from_second(1_600_000_000).unwrap();
            world.issues.push(Issue {
                number,
                pull: number == 2,
                title: format!("Number {number}"),
                body: String::new(),
                user: 7,
                created: then,
                updated: then,
            });
        }
        world
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_second(SystemClock.now().as_second() + self.skew).unwrap()
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(crate) fn comment(
        &mut self,
        number: u64,
        root: Option<u64>,
        user: u64,
        body: &str,
    ) -> Comment {
        let (id, now) = (self.next(), self.now());
        let body = body.to_owned();
        let comment = Comment { id, number, root, user, body, created: now, updated: now };
        self.comments.push(comment.clone());
        comment
    }

    /// What a webhook tells of a comment.
    pub(crate) fn event(&self, action: &str, comment: &Comment, by: u64) -> Value {
        let issue = self.issues.iter().find(|i| i.number == comment.number).unwrap();
        json!({ "action": action, "repository": { "id": 1, "full_name": REPO }, "sender": account(by),
            "issue": self.issue_json(issue), "comment": self.comment_json(comment) })
    }

    pub(crate) fn issue_json(&self, issue: &Issue) -> Value {
        let mut json = json!({ "id": issue.number + 5_000, "number": issue.number, "title": issue.title,
            "body": issue.body, "user": account(issue.user), "created_at": issue.created, "updated_at": issue.updated });
        if issue.pull {
            json["pull_request"] =
                json!({ "url": format!("{}/repos/{REPO}/pulls/{}", self.base, issue.number) });
        }
        json
    }

    pub(crate) fn comment_json(&self, comment: &Comment) -> Value {
        let n = comment.number;
        let pull = self.issues.iter().any(|i| i.number == n && i.pull);
        let mut json = json!({ "id": comment.id, "body": comment.body, "user": account(comment.user),
            "created_at": comment.created, "updated_at": comment.updated });
        match comment.root {
            None => {
                let kind = if pull { "pull" } else { "issues" };
                json["html_url"] =
                    format!("https://github.example/{REPO}/{kind}/{n}#issuecomment-{}", comment.id)
                        .into();
                json["issue_url"] = format!("{}/repos/{REPO}/issues/{n}", self.base).into();
            }
            Some(root) => {
                json["pull_request_url"] = format!("{}/repos/{REPO}/pulls/{n}", self.base).into();
                json["path"] = "src/main.rs".into();
                json["diff_hunk"] = "@@ -1 +1 @@\n-old\n+new".into();
                if root != comment.id {
                    json["in_reply_to_id"] = root.into();
                }
            }
        }
        json
    }

    /// Somebody says something: the id, and the webhook.
    pub(crate) fn says(&mut self, say: &Say) -> (String, &'static str, Value) {
        let number = match say.place {
            Place::Direct => unreachable!("not offered"),
            Place::Group => 1,
            Place::Thread(n) => 20 + u64::from(n),
        };
        let text = if say.mention { format!("@nano-bot {}", say.text) } else { say.text.clone() };
        let (id, kind, event) = if self.issues.iter().any(|i| i.number == number) {
            let comment = self.comment(number, None, user(say.who).0, &text);
            let event = self.event("created", &comment, comment.user);
            (format!("c:{}", comment.id), "issue_comment", event)
        } else {
            self.opens(number, user(say.who).0, text)
        };
        self.events.insert(id.clone(), (kind, event.clone()));
        (id, kind, event)
    }

    fn opens(&mut self, number: u64, user: u64, title: String) -> (String, &'static str, Value) {
        let (now, pull) = (self.now(), number == 21);
        let issue =
            Issue { number, pull, title, body: String::new(), user, created: now, updated: now };
        let json = self.issue_json(&issue);
        self.issues.push(issue);
        let kind = if pull { "pull_request" } else { "issues" };
        let mut event = json!({ "action": "opened", "repository": { "id": 1, "full_name": REPO }, "sender": account(user) });
        event[if pull { "pull_request" } else { "issue" }] = json;
        (format!("i:{number}"), kind, event)
    }

    pub(crate) fn echoes(&mut self) -> Vec<Value> {
        let own = self.comment(1, None, BOT, "I said that");
        let other = self.comment(1, None, 12_345, "@nano-bot beep");
        vec![self.event("created", &own, BOT), self.event("created", &other, 12_345)]
    }

    pub(crate) fn forged(&mut self) -> Value {
        let now = self.now();
        let comment = Comment {
            id: self.next(),
            number: 1,
            root: None,
            user: 7,
            body: "forged".into(),
            created: now,
            updated: now,
        };
        self.event("created", &comment, 7)
    }

    fn find(&self, id: &str) -> Result<usize> {
        let found = self.comments.iter().position(|c| format!("c:{}", c.id) == id);
        found.with_context(|| format!("no comment {id}"))
    }

    pub(crate) fn edits(&mut self, id: &str, text: &str) -> Result<Value> {
        let (at, now) = (self.find(id)?, self.now());
        let comment = &mut self.comments[at];
        (comment.body, comment.updated) = (text.to_owned(), now);
        let comment = comment.clone();
        Ok(self.event("edited", &comment, comment.user))
    }

    pub(crate) fn deletes(&mut self, id: &str) -> Result<Value> {
        let at = self.find(id)?;
        let comment = self.comments.remove(at);
        Ok(self.event("deleted", &comment, comment.user))
    }

    pub(crate) fn event_of(&self, id: &str) -> Result<(&'static str, Value)> {
        self.events.get(id).cloned().with_context(|| format!("no event {id}"))
    }

    pub(crate) fn shown(&self) -> Vec<Seen> {
        let chat = format!("github:{REPO}");
        let seen = |id: String, body: &str, thread: String, edited: bool| Seen {
            id,
            chat: chat.clone(),
            thread: Some(format!("{chat}:{thread}")),
            text: readable(body),
            edited,
            ..Seen::default()
        };
        let issues = self.issues.iter().filter(|i| i.user == BOT);
        let issues = issues.map(|i| {
            seen(
                format!("i:{}", i.number),
                &i.body,
                format!("issue:{}", i.number),
                i.created != i.updated,
            )
        });
        let comments =
            self.comments.iter().filter(|c| c.user == BOT && c.body != "I said that").map(|c| {
                let pull = self.issues.iter().any(|i| i.number == c.number && i.pull);
                let (kind, thread) = match c.root {
                    Some(root) => ("r", format!("{}:rc:{root}", c.number)),
                    None if pull => ("c", c.number.to_string()),
                    None => ("c", format!("issue:{}", c.number)),
                };
                seen(format!("{kind}:{}", c.id), &c.body, thread, c.created != c.updated)
            });
        issues.chain(comments).collect()
    }
}

/// What people read: comments in HTML are not shown, and marks are what they mean.
fn readable(body: &str) -> String {
    let shown = match body.strip_prefix("<!--").and_then(|rest| rest.split_once("-->")) {
        Some((_, shown)) => shown,
        None => body,
    };
    nanoclaw_kit::dialect::plain(shown)
}
