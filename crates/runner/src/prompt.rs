//! Writes inbound rows as the text that the model reads. Pure but for a look at the size of pictures.
//!
//! Everything that came from outside is escaped, so that no message can pretend to be another, a
//! task or the end of its own frame, and `@path` is defused, so that nobody can attach a file of the
//! box by typing its name.

use crate::provider::Image;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use nanoclaw_contract::content::{Attachment, Chat, Task};
use nanoclaw_contract::ids::ThreadId;
use nanoclaw_contract::message::{AGENT_CHANNEL, Destination, InKind, InRow, Target};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Component, Path};

/// Largest picture that is shown to the model.
const IMAGE_BYTES_MAX: u64 = 5 << 20;
/// Most pictures in one prompt.
const IMAGES_MAX: usize = 20;

/// What a prompt is made with.
pub(crate) struct Scene<'a> {
    /// The names that the agent knows.
    pub(crate) destinations: &'a [Destination],
    /// The thread that the session is of; messages of others name theirs.
    pub(crate) thread: Option<&'a ThreadId>,
    /// The zone that times are shown in.
    pub(crate) zone: &'a TimeZone,
    /// The session folder.
    pub(crate) workspace: &'a Path,
}

/// Writes the rows, in order, behind notes of the runner's own.
pub(crate) fn text(scene: &Scene<'_>, notes: &[String], rows: &[InRow]) -> String {
    let zone = scene.zone.iana_name().unwrap_or("UTC");
    let mut out = format!("<context timezone=\"{}\" />\n", escape(zone));
    for note in notes {
        writeln!(out, "<note>{}</note>", escape(note)).ok();
    }
    let is_chat = |row: &InRow| matches!(row.kind, InKind::Chat | InKind::ChatSdk);
    let sections: Vec<String> = rows
        .chunk_by(|a, b| is_chat(a) && is_chat(b))
        .map(|run| match run {
            [row] => section(scene, row),
            many => {
                let all: Vec<_> = many.iter().map(|row| section(scene, row)).collect();
                format!("<messages>\n{}\n</messages>", all.join("\n"))
            }
        })
        .collect();
    out + &sections.join("\n\n")
}

/// Pictures that came with the rows.
pub(crate) fn images(scene: &Scene<'_>, rows: &[InRow]) -> Vec<Image> {
    rows.iter()
        .filter(|row| matches!(row.kind, InKind::Chat | InKind::ChatSdk))
        .flat_map(|row| Chat::parse(&row.content).attachments)
        .filter_map(|a| image(scene.workspace, &a))
        .take(IMAGES_MAX)
        .collect()
}

fn image(workspace: &Path, attachment: &Attachment) -> Option<Image> {
    let local = Path::new(attachment.local_path.as_deref()?);
    if !local.components().all(|c| matches!(c, Component::Normal(_))) {
        return None;
    }
    let by_name = match local.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        _ => "",
    };
    let mime = attachment.mime.as_deref().unwrap_or(by_name);
    let known = ["image/png", "image/jpeg", "image/gif", "image/webp"].contains(&mime);
    let path = workspace.join(local);
    let meta = path.metadata().ok()?;
    (known && meta.is_file() && meta.len() <= IMAGE_BYTES_MAX)
        .then(|| Image { mime: mime.to_owned(), path })
}

fn section(scene: &Scene<'_>, row: &InRow) -> String {
    match row.kind {
        InKind::Chat | InKind::ChatSdk => chat(scene, row),
        InKind::Task => task(scene, row),
        InKind::Webhook => webhook(scene, row),
        InKind::System => system(scene, row),
    }
}

fn chat(scene: &Scene<'_>, row: &InRow) -> String {
    let chat = Chat::parse(&row.content);
    let mut out = String::from("<message");
    if row.seq > 0 {
        attribute(&mut out, "id", &row.seq.to_string());
    }
    from(&mut out, scene, row);
    attribute(&mut out, "sender", &chat.sender);
    attribute(&mut out, "time", &time(scene, row));
    let quote = chat.reply_to.unwrap_or_default();
    if let Some(id) = &quote.id {
        attribute(&mut out, "reply_to", id);
    }
    out.push('>');
    if let (Some(sender), Some(text)) = (&quote.sender, &quote.text) {
        write!(
            out,
            "\n  <quoted_message from=\"{}\">{}</quoted_message>\n",
            escape(sender),
            escape(text)
        )
        .ok();
    }
    out.push_str(&escape(&chat.text));
    for a in &chat.attachments {
        let place = match (&a.local_path, &a.url, &a.missing) {
            (Some(path), ..) => format!(" — saved to /workspace/{path}"),
            (None, Some(url), _) => format!(" ({url})"),
            (None, None, Some(why)) => format!(" — not here: {why}"),
            (None, None, None) => String::new(),
        };
        write!(out, "\n[{}]", escape(&format!("{}: {}{place}", a.kind, a.name))).ok();
    }
    out + "</message>"
}

fn task(scene: &Scene<'_>, row: &InRow) -> String {
    let task: Task = serde_json::from_str(&row.content).unwrap_or_else(|_| Task {
        // Content of another shape is shown as it is rather than lost.
        prompt: row.content.clone(),
        ..Task::default()
    });
    let mut out = String::from("<task");
    from(&mut out, scene, row);
    attribute(&mut out, "time", &time(scene, row));
    out.push('>');
    let content: Value = serde_json::from_str(&row.content).unwrap_or_default();
    if let Some(data) = content.get("scriptOutput") {
        write!(out, "Script output:\n{}\n\n", escape(&pretty(data))).ok();
    }
    write!(out, "Instructions:\n{}</task>", escape(&task.prompt)).ok();
    out
}

fn webhook(scene: &Scene<'_>, row: &InRow) -> String {
    let content: Value =
        serde_json::from_str(&row.content).unwrap_or_else(|_| Value::String(row.content.clone()));
    let word = |key: &str| content.get(key).and_then(Value::as_str).unwrap_or("unknown").to_owned();
    let mut out = String::from("<webhook");
    from(&mut out, scene, row);
    attribute(&mut out, "source", &word("source"));
    attribute(&mut out, "event", &word("event"));
    let payload = content.get("payload").unwrap_or(&content);
    write!(out, ">{}</webhook>", escape(&pretty(payload))).ok();
    out
}

fn system(scene: &Scene<'_>, row: &InRow) -> String {
    let content: Value = serde_json::from_str(&row.content).unwrap_or_default();
    let word = |key: &str| content.get(key).and_then(Value::as_str).unwrap_or("unknown").to_owned();
    let mut out = String::from("<system_response");
    from(&mut out, scene, row);
    attribute(&mut out, "action", &word("action"));
    attribute(&mut out, "status", &word("status"));
    let result = content.get("result").unwrap_or(&Value::Null);
    write!(out, ">{}</system_response>", escape(&result.to_string())).ok();
    out
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn from(out: &mut String, scene: &Scene<'_>, row: &InRow) {
    let channel = row.channel_type.as_ref().map_or("", |c| c.as_str());
    let platform = row.platform_id.as_ref().map_or("", |p| p.as_str());
    if channel.is_empty() && platform.is_empty() {
        return;
    }
    let named = scene.destinations.iter().find(|d| match &d.target {
        Target::Channel { channel_type, platform_id } => {
            channel_type.as_str() == channel && platform_id.as_str() == platform
        }
        Target::Agent(agent) => channel == AGENT_CHANNEL && agent.as_str() == platform,
    });
    let name = named.map_or_else(|| format!("unknown:{channel}:{platform}"), |d| d.name.clone());
    attribute(out, "from", &name);
    if let Some(thread) = row.thread_id.as_ref().filter(|t| Some(*t) != scene.thread) {
        attribute(out, "thread", thread.as_str());
    }
}

fn time(scene: &Scene<'_>, row: &InRow) -> String {
    nanoclaw_contract::time::parse(&row.timestamp)
        .map_or_else(|| row.timestamp.clone(), |at| local_time(at, scene.zone))
}

/// `Feb 4, 2026, 1:30 PM` in the zone.
pub(crate) fn local_time(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%b %-d, %Y, %-I:%M %p").to_string()
}

/// The zone of this name, or UTC.
pub(crate) fn zone(name: Option<&str>) -> TimeZone {
    name.filter(|n| !n.is_empty())
        .and_then(|n| TimeZone::get(n.trim_start_matches(':')).ok())
        .unwrap_or(TimeZone::UTC)
}

fn attribute(out: &mut String, name: &str, value: &str) {
    write!(out, " {name}=\"{}\"", escape(value)).ok();
}

/// Escapes text for the model and takes the teeth out of `@path`.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\0' => {}
            _ => out.push(c),
        }
        if c == '@' && !before.is_alphanumeric() && names_a_path(&text[at + 1..]) {
            out.push('\u{200b}');
        }
        before = c;
    }
    out
}

fn names_a_path(after: &str) -> bool {
    let word = after.split(char::is_whitespace).next().unwrap_or("");
    let word = word.trim_end_matches(['.', ',', ';', ':', '!', '?', ')']);
    word.starts_with(['"', '~']) || word.contains(['/', '\\', '.'])
}

#[cfg(test)]
mod tests;
