//! Schedules: requests to the host, which keeps and runs them.

use super::args::Args;
use super::say::{failed, write};
use crate::prompt::local_time;
use crate::session::{Session, out_id};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use nanoclaw_contract::content::Task;
use nanoclaw_contract::ids::Address;
use nanoclaw_contract::message::{InStatus, NewOut, OutKind};
use nanoclaw_contract::recur::Schedule;
use nanoclaw_contract::time;
use serde_json::{Map, Value, json};

pub(super) fn schedule(session: &Session, args: Args<'_>, call: &str) -> Result<String, String> {
    const WANTED: &str = "prompt and processAfter are required";
    let prompt = args.text("prompt").ok_or(WANTED)?;
    let recurrence = args.text("recurrence");
    let schedule = recurrence.map(|text| Schedule::parse(text, zone(session, args))).transpose()?;
    let at = match (args.text("processAfter"), &schedule) {
        (Some(text), _) => after(text, &session.zone)?,
        (None, Some(schedule)) => schedule.next(session.clock.now()).ok_or(WANTED)?,
        (None, None) => return Err(WANTED.into()),
    };
    one_of(args, "missed", &["skip", "once", "all"])?;
    one_of(args, "session", &["chat", "own"])?;
    let inbox = session.inbox().map_err(failed)?;
    let (to, _) = session.here(&inbox).map_err(failed)?;
    let id = out_id("task", &format!("tool/{call}"));
    let mut content = json!({ "action": "schedule_task", "taskId": id, "prompt": prompt,
        "script": args.text("script"), "processAfter": time::iso(at), "recurrence": recurrence,
        "platformId": to.as_ref().map(|a| &a.platform_id),
        "channelType": to.as_ref().map(|a| &a.channel_type),
        "threadId": to.as_ref().and_then(|a| a.thread_id.as_ref()) });
    for key in ["timezone", "missed", "session"] {
        if let Some(word) = args.text(key) {
            content[key] = word.into();
        }
    }
    let every = recurrence.map(|r| format!(", recurrence: {r}")).unwrap_or_default();
    let done = format!("Task scheduled (id: {id}, runs at: {}{every})", time::iso(at));
    request(session, id, to, &content)?;
    Ok(done)
}

/// The zone that a schedule is meant in.
fn zone<'a>(session: &'a Session, args: Args<'a>) -> &'a str {
    args.text("timezone").or(session.zone.iana_name()).unwrap_or("UTC")
}

fn one_of(args: Args<'_>, key: &str, words: &[&str]) -> Result<(), String> {
    match args.text(key) {
        Some(word) if !words.contains(&word) => {
            Err(format!("{key} is one of {}", words.join(", ")))
        }
        Some(_) | None => Ok(()),
    }
}

/// A time with a zone, or wall-clock time in the user's zone.
pub(super) fn after(text: &str, zone: &TimeZone) -> Result<Timestamp, String> {
    let text = text.trim();
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    // `+0200` without a colon is an offset too.
    if let Some(cut) = text.len().checked_sub(2).filter(|cut| text.is_char_boundary(*cut))
        && let Ok(at) = format!("{}:{}", &text[..cut], &text[cut..]).parse::<Timestamp>()
    {
        return Ok(at);
    }
    let bad = || format!("invalid processAfter: {text}");
    let local: DateTime = text.parse().map_err(|_| bad())?;
    local.to_zoned(zone.clone()).map(|z| z.timestamp()).map_err(|_| bad())
}

pub(super) fn list(session: &Session, args: Args<'_>) -> Result<String, String> {
    let status = match args.text("status") {
        None => None,
        Some(word) => {
            Some(InStatus::parse(word).ok_or("status is pending, paused, completed or failed")?)
        }
    };
    let tasks = session.inbox().and_then(|inbox| inbox.tasks(status)).map_err(failed)?;
    let lines: Vec<String> = tasks
        .into_iter()
        .map(|t| {
            let task: Task = serde_json::from_str(&t.content).unwrap_or_default();
            let every = t.recurrence.map(|r| format!("recur={r} ")).unwrap_or_default();
            let at = t.process_after.as_deref().and_then(time::parse);
            let at = at.map_or_else(|| "now".into(), |at| local_time(at, &session.zone));
            let zone = task.timezone.map(|z| format!("in {z} ")).unwrap_or_default();
            let why = task.why.map(|w| format!(" ({w})")).unwrap_or_default();
            let prompt: String = task.prompt.chars().take(80).collect();
            format!("- {} [{}{why}] at={at} {every}{zone}→ {prompt}", t.series, t.status)
        })
        .collect();
    Ok(if lines.is_empty() { "No tasks found.".into() } else { lines.join("\n") })
}

/// What to do with a task as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Cancel,
    Pause,
    Resume,
    Run,
}

pub(super) fn order(
    session: &Session,
    args: Args<'_>,
    call: &str,
    order: Order,
) -> Result<String, String> {
    let task = args.text("taskId").ok_or("taskId is required")?;
    let (action, word) = match order {
        Order::Cancel => ("cancel_task", "cancellation"),
        Order::Pause => ("pause_task", "pause"),
        Order::Resume => ("resume_task", "resume"),
        Order::Run => ("run_task", "run"),
    };
    let id = out_id("sys", &format!("tool/{call}"));
    request(session, id, None, &json!({ "action": action, "taskId": task }))?;
    Ok(format!("Task {word} requested: {task}"))
}

pub(super) fn update(session: &Session, args: Args<'_>, call: &str) -> Result<String, String> {
    let task = args.text("taskId").ok_or("taskId is required")?;
    let mut fields = Map::new();
    fields.insert("action".into(), "update_task".into());
    fields.insert("taskId".into(), task.into());
    let fixed = fields.len();
    if let Some(prompt) = args.given("prompt") {
        fields.insert("prompt".into(), prompt.into());
    }
    if let Some(at) = args.text("processAfter") {
        fields.insert("processAfter".into(), time::iso(after(at, &session.zone)?).into());
    }
    if let Some(text) = args.text("recurrence") {
        Schedule::parse(text, zone(session, args))?;
    }
    one_of(args, "missed", &["skip", "once", "all"])?;
    if let Some(word) = args.text("missed") {
        fields.insert("missed".into(), word.into());
    }
    // An empty text takes it away.
    for key in ["recurrence", "script", "timezone"] {
        if let Some(text) = args.given(key) {
            let value = if text.is_empty() { Value::Null } else { text.into() };
            fields.insert(key.into(), value);
        }
    }
    if fields.len() == fixed {
        return Err("at least one field to update is required".into());
    }
    request(session, out_id("sys", &format!("tool/{call}")), None, &Value::Object(fields))?;
    Ok(format!("Task update requested: {task}"))
}

pub(super) fn request(
    session: &Session,
    id: nanoclaw_contract::ids::OutId,
    to: Option<Address>,
    content: &Value,
) -> Result<(), String> {
    let content = content.to_string();
    let row = NewOut { id, in_reply_to: None, kind: OutKind::System, to, content };
    write(session, row).map(|_| ())
}
