//! What Resend holds.

use crate::people::{BOT, People};
use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mail_parser::{MessageParser, MimeHeaders as _};
use nanoclaw_channel::time::{Clock as _, SystemClock, Timestamp};
use nanoclaw_conformance::{Fault, PeerFile, Say, Seen};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const KEY: &str = "re_a_full_access_key";

/// Why a call is refused: the status, Resend's name for it, and words.
pub(crate) type Refused = (u16, &'static str, String);

/// A mail that came.
struct Came {
    id: String,
    at: Timestamp,
    raw: Vec<u8>,
}

/// A mail of the agent.
pub(crate) struct Went {
    pub(crate) id: String,
    pub(crate) message_id: String,
    key: String,
    pub(crate) mail: Value,
}

pub(crate) struct World {
    base: String,
    people: People,
    came: Vec<Came>,
    pub(crate) went: Vec<Went>,
    /// The mail of each thing that was said.
    pub(crate) mails: BTreeMap<String, String>,
    pub(crate) unlisted: BTreeSet<String>,
    /// Whether mails can be had as they came.
    pub(crate) raw: bool,
    pub(crate) calls: usize,
    pub(crate) fault: Option<(Fault, u32)>,
    pub(crate) cut: bool,
    pub(crate) skew: i64,
    /// Where mail is sent instead of here.
    pub(crate) sends_at: Option<String>,
    last: i64,
}

fn hash(text: &[u8]) -> String {
    nanoclaw_kit::sign::hex(&Sha256::digest(text))
}

/// Resend's ids are UUIDs.
fn uuid(n: i64) -> String {
    let h = hash(n.to_string().as_bytes());
    format!("{}-{}-4{}-8{}-{}", &h[..8], &h[8..12], &h[13..16], &h[17..20], &h[20..32])
}

impl World {
    pub(crate) fn new(base: &str) -> Self {
        let mut world = Self {
            base: base.to_owned(),
            people: People::default(),
            came: Vec::new(),
            went: Vec::new(),
            mails: BTreeMap::new(),
            unlisted: BTreeSet::new(),
            raw: true,
            calls: 0,
            fault: None,
            cut: false,
            skew: 0,
            sends_at: None,
            last: 0,
        };
        // From before the agent.
        let old = b"From: ann@people.test\r\nSubject: old\r\n\r\nlong before\r\n";
        world.skew = -3600;
        world.arrives(old.to_vec());
        world.skew = 0;
        world
    }

    pub(crate) fn says(&mut self, say: &Say) -> (String, Vec<u8>) {
        let now = self.now();
        self.people.compose(say, now)
    }

    fn now(&mut self) -> Timestamp {
        self.last += 1;
        // No two at the same time, or one case would be many.
        let now = SystemClock.now().as_microsecond() + self.skew * 1_000_000 + self.last;
        Timestamp::from_microsecond(now).unwrap()
    }

    pub(crate) fn arrives(&mut self, raw: Vec<u8>) -> String {
        let at = self.now();
        let id = uuid(self.last);
        self.came.push(Came { id: id.clone(), at, raw });
        id
    }

    pub(crate) fn raw_of(&self, id: &str) -> Option<Vec<u8>> {
        self.came.iter().find(|came| came.id == id).map(|came| came.raw.clone())
    }

    /// What a mail of the agent is called by those who got it.
    pub(crate) fn known_as(&self, id: &str) -> String {
        let went = self.went.iter().find(|went| went.id == id);
        went.map_or_else(|| id.to_owned(), |went| went.message_id.clone())
    }

    pub(crate) fn event(&self, id: &str) -> Value {
        let came = self.came.iter().find(|came| came.id == id).unwrap();
        let mut data = self.item(came);
        let data = data.as_object_mut().unwrap();
        data.remove("id");
        data.insert("email_id".into(), came.id.clone().into());
        // Times look otherwise here than in lists.
        data.insert("created_at".into(), came.at.strftime("%FT%T%.6f+00:00").to_string().into());
        json!({ "type": "email.received", "created_at": came.at, "data": data })
    }

    fn item(&self, came: &Came) -> Value {
        let mail = MessageParser::default().parse(&came.raw);
        let mail = mail.as_ref();
        let from = mail.and_then(|m| m.from()).and_then(|from| from.first());
        let files: Vec<Value> = mail
            .iter()
            .flat_map(|mail| mail.attachments())
            .enumerate()
            .map(|(n, part)| {
                json!({ "id": n.to_string(), "filename": part.attachment_name(), "size": part.contents().len(),
                "content_type": part.content_type().map(|t| format!("{}/{}", t.ctype(), t.subtype().unwrap_or("x"))),
                "content_disposition": "attachment", "content_id": null })
            })
            .collect();
        json!({
            "id": came.id, "object": "email", "to": [format!("The Agent <{BOT}>")], "cc": [], "bcc": [], "reply_to": [],
            "from": from.map(|f| format!("{} <{}>", f.name().unwrap_or_default(), f.address().unwrap_or_default())),
            "created_at": came.at.strftime("%F %T%.6f+00").to_string(), "subject": mail.and_then(|m| m.subject()),
            "message_id": mail.and_then(|m| m.message_id()).map(|id| format!("<{id}>")), "attachments": files,
        })
    }

    /// A page of what came, the newest first.
    pub(crate) fn list(&self, query: &BTreeMap<String, String>) -> Result<Value, Refused> {
        let bad = |why: &str| (422, "validation_error", why.to_owned());
        if let Some(other) = query.keys().find(|key| !matches!(key.as_str(), "limit" | "after")) {
            return Err(bad(&format!("unknown {other}")));
        }
        let limit: usize =
            query.get("limit").map_or(Ok(20), |n| n.parse()).map_err(|_| bad("limit"))?;
        if !(1..=100).contains(&limit) {
            return Err(bad("limit"));
        }
        let mut all: Vec<&Came> =
            self.came.iter().filter(|came| !self.unlisted.contains(&came.id)).collect();
        all.sort_by_key(|came| std::cmp::Reverse(came.at));
        let from = match query.get("after") {
            Some(id) => 1 + all.iter().position(|c| c.id == *id).ok_or_else(|| bad("after"))?,
            None => 0,
        };
        let page: Vec<Value> = all.iter().skip(from).take(limit).map(|c| self.item(c)).collect();
        Ok(json!({ "object": "list", "has_more": all.len() > from + limit, "data": page }))
    }

    pub(crate) fn received(&self, id: &str) -> Option<Value> {
        let came = self.came.iter().find(|came| came.id == id)?;
        let mail = MessageParser::default().parse(&came.raw);
        let mut item = self.item(came);
        item["text"] = mail.as_ref().and_then(|m| m.body_text(0)).into();
        item["html"] = Value::Null;
        let headers = mail.iter().flat_map(mail_parser::Message::headers_raw);
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.trim().into()));
        item["headers"] = Value::Object(headers.collect());
        item["raw"] = match self.raw {
            true => json!({ "download_url": format!("{}/cdn/{id}/raw?signature=s", self.base),
                "expires_at": came.at }),
            false => Value::Null,
        };
        Some(item)
    }

    pub(crate) fn attachments(&self, id: &str) -> Option<Value> {
        let came = self.came.iter().find(|came| came.id == id)?;
        let mut files = self.item(came)["attachments"].take();
        for file in files.as_array_mut()? {
            let n = file["id"].as_str()?.to_owned();
            file["download_url"] = format!("{}/cdn/{id}/{n}?signature=s", self.base).into();
        }
        Some(json!({ "object": "list", "has_more": false, "data": files }))
    }

    /// The file behind a link: a whole mail, or one of its files.
    pub(crate) fn file(&self, id: &str, which: &str) -> Option<Vec<u8>> {
        let raw = self.raw_of(id)?;
        if which == "raw" {
            return self.raw.then_some(raw);
        }
        let mail = MessageParser::default().parse(&raw)?;
        mail.attachments().nth(which.parse().ok()?).map(|part| part.contents().to_vec())
    }

    /// Sends a mail, if Resend would.
    pub(crate) fn send(&mut self, key: &str, mail: Value) -> Result<Value, Refused> {
        if key.is_empty() || key.len() > 256 {
            return Err((400, "invalid_idempotency_key", "1 to 256 characters".into()));
        }
        if let Some(went) = self.went.iter().find(|went| went.key == key) {
            return match went.mail == mail {
                true => Ok(json!({ "id": went.id })),
                false => {
                    Err((409, "invalid_idempotent_request", "another mail has this key".into()))
                }
            };
        }
        valid(&mail).map_err(|why| (422, "validation_error", why.to_string()))?;
        self.last += 1;
        let id = uuid(self.last);
        let message_id = format!("010f{:012x}-000000@eu-west-1.amazonses.com", self.last);
        self.went.push(Went { id: id.clone(), message_id, key: key.to_owned(), mail });
        Ok(json!({ "id": id }))
    }

    pub(crate) fn shown(&self) -> Vec<Seen> {
        self.went.iter().map(seen).collect()
    }
}

/// What Resend takes; and what it would take, but no agent should write.
fn valid(mail: &Value) -> Result<()> {
    let known = ["from", "to", "reply_to", "subject", "text", "html", "headers", "attachments"];
    let fields = mail.as_object().into_iter().flatten();
    for (field, _) in fields {
        ensure!(known.contains(&field.as_str()), "unknown field {field}");
    }
    let text = |field: &str| mail[field].as_str().unwrap_or_default();
    ensure!(text("from") == format!("\"Nano the Claw\" <{BOT}>"), "from {:?}", text("from"));
    let to = mail["to"].as_array().map(Vec::as_slice).unwrap_or_default();
    ensure!(matches!(to, [to] if to.as_str().is_some_and(|to| to.contains('@'))), "to {to:?}");
    for field in ["subject", "text", "html"] {
        ensure!(!text(field).trim().is_empty(), "`{field}` is missing");
    }
    ensure!(!text("subject").contains(char::is_control), "the subject has control characters");
    for (name, value) in mail["headers"].as_object().into_iter().flatten() {
        let token = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        ensure!(token && !name.eq_ignore_ascii_case("message-id"), "header {name:?}");
        let value = value.as_str().unwrap_or("\n");
        ensure!(!value.contains(char::is_control), "header {name}: {value:?}");
    }
    let mut all = 0;
    for file in mail["attachments"].as_array().into_iter().flatten() {
        let (name, content) = (file["filename"].as_str(), file["content"].as_str());
        let (name, content) = (name.unwrap_or_default(), content.unwrap_or_default());
        ensure!(!name.is_empty() && !name.contains(['/', '\r', '\n']), "file name {name:?}");
        ensure!(!content.is_empty() && BASE64.decode(content).is_ok(), "{name} has no content");
        all += content.len();
    }
    ensure!(all <= 40 << 20, "more than 40 MB");
    Ok(())
}

fn bare(id: &str) -> String {
    id.trim_matches(['<', '>']).to_owned()
}

/// A mail as its reader sees it.
fn seen(went: &Went) -> Seen {
    let chat = format!("resend:{}", went.mail["to"][0].as_str().unwrap_or_default());
    let header = |name: &str| went.mail["headers"][name].as_str();
    // Its own id is the key, at the agent's domain.
    let own = format!("{}@agents.test", went.key);
    let root = header("References").and_then(|all| all.split(' ').next()).map_or(own, bare);
    let file = |file: &Value| PeerFile {
        name: file["filename"].as_str().unwrap_or_default().to_owned(),
        mime: None,
        bytes: BASE64.decode(file["content"].as_str().unwrap_or_default()).unwrap_or_default(),
        size: None,
    };
    Seen {
        id: went.id.clone(),
        thread: Some(format!("{chat}:{}", &hash(root.as_bytes())[..16])),
        chat,
        text: went.mail["text"].as_str().unwrap_or_default().trim_end().to_owned(),
        files: went.mail["attachments"].as_array().into_iter().flatten().map(file).collect(),
        reply_to: header("In-Reply-To").map(bare),
        ..Seen::default()
    }
}
