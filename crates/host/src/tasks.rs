//! Tasks: who may schedule what, where it runs, and what is told when it stops.
//!
//! A task is a row of an inbox with a time ([`nanoclaw_contract::inbox::Live`]); the inbox goes on with a
//! series by itself. Here are the orders of agents and of `ncl`, and the index over all inboxes, which is
//! written after the inbox and anew after a crash.

use crate::session::Files;
use crate::team::Verdict;
use crate::{Host, HostError, lock};
use nanoclaw_central::{ContainerStatus, Session, TaskEntry, TaskFilter};
use nanoclaw_contract::content::{Missed, Task};
use nanoclaw_contract::dir::SessionDir;
use nanoclaw_contract::ids::{
    self, Address, AgentId, ChannelType, MessageId, OutId, PlatformId, SessionId, ThreadId,
};
use nanoclaw_contract::inbox::{Change, Due, Live, Order, Pushed, TaskRow, check_size};
use nanoclaw_contract::message::{AckStatus, InKind, InStatus, NewIn, Trigger};
use nanoclaw_contract::recur::Schedule;
use nanoclaw_contract::time;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Most live tasks of one session.
const LIVE_MAX: usize = 100;
/// What is due within this time is set to work now.
const AT_ONCE: Duration = Duration::from_secs(60);
/// Most sessions that belong to tasks of one agent.
const OWN_MAX: usize = 1000;
/// The thread of a session that belongs to one task. No platform has such threads.
const OWN: &str = "task:";

/// Whether a thread is no platform's, but the place of a task.
pub(crate) fn is_own(thread: &ThreadId) -> bool {
    thread.as_str().starts_with(OWN)
}

/// An order of an agent. Blocks. The inner error is for the agent.
pub(crate) fn act(
    host: &Arc<Host>,
    session: &Session,
    id: &OutId,
    action: &str,
    fields: &Map<String, Value>,
) -> Result<Result<(), String>, HostError> {
    let text = |key: &str| fields.get(key).and_then(Value::as_str).filter(|t| !t.is_empty());
    if action == "schedule_task" {
        return schedule(host, session, id, fields);
    }
    let Some(task) = text("taskId") else { return Ok(Err(format!("{action} needs a taskId"))) };
    if action == "task_skipped" {
        // The runner ended the run itself; this is for who asks why.
        let why = text("why").unwrap_or("its script said so").chars().take(300).collect::<String>();
        if let Ok(row) = MessageId::parse(task) {
            host.trace("skipped", Some(&row), Some(&session.id), None, &why);
        }
        return Ok(Ok(()));
    }
    let order = match action {
        "cancel_task" => Order::Cancel,
        "pause_task" => Order::Pause,
        "resume_task" => Order::Resume,
        "run_task" => Order::Run,
        _ => match changes(fields) {
            Ok(change) => Order::Update(change),
            Err(why) => return Ok(Err(why)),
        },
    };
    if let Err(why) = may_run(host, &session.agent, &order) {
        return Ok(Err(why));
    }
    // A row that no index knows of yet is this session's own.
    let done = carry_out(host, session, task, &order)?;
    if !matches!(&done, Ok(rows) if rows.is_empty()) {
        return Ok(done.map(drop));
    }
    let which =
        TaskFilter { session: Some(&session.id), agent: Some(&session.agent), id: Some(task) };
    let missing = || format!("{action}: no live task matched id {task:?}");
    let Some(found) = host.central.tasks(&which, 1, 0)?.pop() else { return Ok(Err(missing())) };
    let Some(other) = host.central.session(&found.session)? else { return Ok(Err(missing())) };
    Ok(carry_out(host, &other, task, &order)?
        .and_then(|rows| if rows.is_empty() { Err(missing()) } else { Ok(()) }))
}

/// Whether an agent may set itself to work by this: it counts as a message to itself, and without a person
/// those have an end.
pub(crate) fn may_run(host: &Host, agent: &AgentId, order: &Order) -> Result<(), String> {
    let now = host.clock.now();
    let at_once = match order {
        Order::Run => true,
        Order::Update(change) => change.at.is_some_and(|at| at <= now + AT_ONCE),
        Order::Cancel | Order::Pause | Order::Resume => false,
    };
    if !at_once {
        return Ok(());
    }
    match lock(&host.traffic).admit(agent, agent, now) {
        Verdict::Pass | Verdict::Last => Ok(()),
        Verdict::Wait(_) | Verdict::Braked => Err(
            "you set yourself to work too often without a word from a person; wait ten minutes, \
             or let the task come at its time"
                .into(),
        ),
    }
}

/// What an update says; JSON null takes away.
pub(crate) fn changes(fields: &Map<String, Value>) -> Result<Change, String> {
    let said = |key: &str| match fields.get(key) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(Value::String(text)) => Ok(Some(Some(text.clone()))),
        Some(_) => Err(format!("{key} is a text")),
    };
    let at = said("processAfter")?.or(said("process_after")?).flatten();
    Ok(Change {
        prompt: said("prompt")?.flatten(),
        script: said("script")?,
        recurrence: said("recurrence")?,
        timezone: said("timezone")?,
        at: at.map(|text| time::parse(&text).ok_or_else(|| no_time(&text))).transpose()?,
        missed: said("missed")?.flatten().map(|word| missed(&word)).transpose()?,
    })
}

fn missed(word: &str) -> Result<Missed, String> {
    Missed::parse(word).ok_or_else(|| format!("missed is skip, once or all, not {word:?}"))
}

fn no_time(text: &str) -> String {
    format!("{text:?} is no time; give one such as 2026-02-04T13:30:00Z")
}

/// Reads a task that an agent wants to schedule.
fn read(host: &Host, fields: &Map<String, Value>) -> Result<(Task, Change), String> {
    let change = changes(fields)?;
    let task = Task {
        prompt: change.prompt.clone().filter(|p| !p.is_empty()).ok_or("a task needs a prompt")?,
        script: change.script.clone().flatten().filter(|s| !s.trim().is_empty()),
        timezone: change.timezone.clone().flatten(),
        missed: change.missed,
        ..Task::default()
    };
    check_size(&task)?;
    let zone = task.timezone.as_deref().unwrap_or(&host.config.timezone);
    nanoclaw_contract::recur::zone_of(zone)?;
    let at = match change.recurrence.as_ref().and_then(Option::as_ref) {
        Some(text) => {
            let schedule = Schedule::parse(text, zone)?;
            change.at.or_else(|| schedule.next(host.clock.now()))
        }
        None => change.at,
    };
    let at = at.ok_or("a task needs a time in processAfter, such as 2026-02-04T13:30:00Z")?;
    Ok((task, Change { at: Some(at), ..change }))
}

/// A task is an inbound row with a time.
fn schedule(
    host: &Arc<Host>,
    session: &Session,
    id: &OutId,
    fields: &Map<String, Value>,
) -> Result<Result<(), String>, HostError> {
    let text = |key: &str| fields.get(key).and_then(Value::as_str).filter(|t| !t.is_empty());
    let (mut task, change) = match read(host, fields) {
        Ok(read) => read,
        Err(why) => return Ok(Err(why)),
    };
    if let Err(why) = may_run(host, &session.agent, &Order::Update(change.clone())) {
        return Ok(Err(why));
    }
    let reply = match (
        text("channelType").map(ChannelType::parse),
        text("platformId").map(PlatformId::parse),
    ) {
        (Some(Ok(channel_type)), Some(Ok(platform_id))) => Some(Address {
            channel_type,
            platform_id,
            thread_id: text("threadId").and_then(|t| ThreadId::parse(t).ok()),
        }),
        _ => None,
    };
    let series = match MessageId::parse(text("taskId").unwrap_or(id.as_str())) {
        Ok(series) => series,
        Err(e) => return Ok(Err(e.to_string())),
    };
    let which = TaskFilter { session: Some(&session.id), ..TaskFilter::default() };
    let known = host.central.tasks(&which, LIVE_MAX, 0)?;
    if known.len() >= LIVE_MAX && known.iter().all(|t| t.id != series) {
        return Ok(Err(format!("there are {LIVE_MAX} tasks already; cancel some first")));
    }
    let place = match text("session") {
        None | Some("chat") => session.clone(),
        // One that belongs to a task makes no others.
        Some("own") if session.thread.as_ref().is_some_and(is_own) => session.clone(),
        Some("own") if too_many(host, session)? => {
            return Ok(Err(format!(
                "there are {OWN_MAX} sessions of tasks already; use session chat"
            )));
        }
        Some("own") => {
            task.origin = Some(session.id.clone());
            own_session(host, session, &series)?
        }
        Some(other) => return Ok(Err(format!("session is chat or own, not {other:?}"))),
    };
    let row = NewIn {
        id: series.clone(),
        kind: InKind::Task,
        timestamp: host.clock.now(),
        process_after: change.at,
        recurrence: change.recurrence.flatten(),
        trigger: Trigger::Wake,
        reply,
        content: serde_json::to_string(&task).map_err(|e| HostError::Unknown(e.to_string()))?,
        source: None,
        on_wake: false,
    };
    let files = host.files(&place)?;
    if files.push(row)? == Pushed::Duplicate
        && files.with(|i| i.get(&series))?.is_some_and(|r| r.0.kind != InKind::Task)
    {
        return Ok(Err(format!("the id {series} is taken")));
    }
    nanoclaw_contract::fault::point("host.task.scheduled");
    index(host, &place, &files, Some(&series))?;
    host.wake(&place.id);
    Ok(Ok(()))
}

fn too_many(host: &Host, of: &Session) -> Result<bool, HostError> {
    let all = host.central.sessions_of_agent(&of.agent)?;
    Ok(all.iter().filter(|s| s.thread.as_ref().is_some_and(is_own)).count() >= OWN_MAX)
}

/// The session of one task: of the same chat, so that its answers may go there.
fn own_session(host: &Host, from: &Session, series: &MessageId) -> Result<Session, HostError> {
    let now = host.clock.now();
    let new = Session {
        id: SessionId::parse(ids::mint("sess", now))?,
        // The same name in two sessions is two tasks.
        thread: Some(ThreadId::parse(format!(
            "{OWN}{}",
            ids::stable(&format!("{}\n{series}", from.id))
        ))?),
        container: ContainerStatus::Stopped,
        last_active: None,
        created_at: time::iso(now),
        ..from.clone()
    };
    Ok(host.central.find_or_create_session(&new)?.0)
}

/// Carries an order out in one inbox; says which rows it reached.
fn carry_out(
    host: &Arc<Host>,
    session: &Session,
    id: &str,
    order: &Order,
) -> Result<Result<Vec<Live>, String>, HostError> {
    let files = host.files(session)?;
    let (now, zone) = (host.clock.now(), &host.config.timezone);
    let done = files.with(|inbox| inbox.order_task(id, order, now, zone))?;
    if let Ok(rows) = &done {
        for row in rows {
            index(host, session, &files, Some(&row.series))?;
        }
        if !rows.is_empty() {
            // It notes when there is work next.
            host.wake(&session.id);
        }
    }
    Ok(done)
}

/// Notes what lies in an inbox: one series, or all of them. Says so if one paused itself.
pub(crate) fn index(
    host: &Arc<Host>,
    session: &Session,
    files: &Files,
    series: Option<&MessageId>,
) -> Result<(), HostError> {
    let rows = files.with(|inbox| inbox.live_tasks(series.map(MessageId::as_str)))?;
    let which =
        TaskFilter { session: Some(&session.id), id: series.map(MessageId::as_str), agent: None };
    let mut before = host.central.tasks(&which, LIVE_MAX, 0)?;
    before.retain(|t| t.session == session.id);
    let mut entries: Vec<_> = rows.iter().map(|row| entry(session, row)).collect();
    entries.sort_by(|a, b| {
        (a.next_at.is_none(), a.next_at, &a.id).cmp(&(b.next_at.is_none(), b.next_at, &b.id))
    });
    if entries == before {
        return Ok(());
    }
    for row in rows.iter().filter(|row| row.status == InStatus::Paused) {
        if let Some(why) = &row.task.why
            && !before.contains(&entry(session, row))
        {
            tell(host, session, row, why)?;
        }
    }
    host.central.put_tasks(&session.id, series, &entries)?;
    let mut origins: Vec<_> =
        before.iter().chain(&entries).filter_map(|t| t.origin.as_ref()).collect();
    origins.dedup();
    origins.into_iter().try_for_each(|origin| show_elsewhere(host, origin))
}

/// Moves on what was missed and is not to be made up for. Blocks.
pub(crate) fn skip_missed(
    host: &Arc<Host>,
    session: &Session,
    files: &Files,
) -> Result<(), HostError> {
    let (now, zone) = (host.clock.now(), &host.config.timezone);
    for series in files.with(|inbox| inbox.skip_missed(now, zone))? {
        host.trace(
            "missed runs skipped",
            Some(&series),
            Some(&session.id),
            None,
            "as the task says",
        );
        index(host, session, files, Some(&series))?;
    }
    Ok(())
}

/// The box does not start: what repeats has failed and comes again later. What does not repeat waits. Blocks.
pub(crate) fn fail_due(
    host: &Arc<Host>,
    session: &Session,
    files: &Files,
) -> Result<(), HostError> {
    let now = host.clock.now();
    let due = |t: &Live| {
        t.status == InStatus::Pending && t.recurrence.is_some() && t.at.is_none_or(|at| at <= now)
    };
    let rows = files.with(|inbox| inbox.live_tasks(None))?;
    fail(host, session, files, rows.into_iter().filter(due).map(|t| t.id).collect())
}

/// Gives rows up. Blocks.
pub(crate) fn fail(
    host: &Arc<Host>,
    session: &Session,
    files: &Files,
    rows: Vec<MessageId>,
) -> Result<(), HostError> {
    let acks: Vec<_> = rows.into_iter().map(|id| (id, AckStatus::Failed)).collect();
    let (now, zone) = (host.clock.now(), &host.config.timezone);
    for series in files.with(|inbox| inbox.settle(&[], &acks, now, zone))?.tasks {
        host.trace("task failed", Some(&series), Some(&session.id), None, "given up");
        index(host, session, files, Some(&series))?;
    }
    Ok(())
}

/// After a crash: the index may be behind its inbox. Says when there is work. Blocks.
pub(crate) fn recover(host: &Arc<Host>, session: &Session) -> Result<Due, HostError> {
    let dir = SessionDir::new(&host.config.data, &session.agent, &session.id)?;
    if !dir.inbound().exists() {
        return Ok(Due::Never);
    }
    let files = host.files(session)?;
    index(host, session, &files, None)?;
    files.with(|inbox| inbox.due(host.clock.now(), Duration::ZERO))
}

fn entry(session: &Session, row: &Live) -> TaskEntry {
    TaskEntry {
        id: row.series.clone(),
        session: session.id.clone(),
        agent: session.agent.clone(),
        origin: row.task.origin.clone(),
        status: row.status,
        next_at: row.at,
        recurrence: row.recurrence.clone(),
        timezone: row.task.timezone.clone(),
        missed: row.task.missed,
        script: row.task.script.is_some(),
        fails: row.task.fails,
        why: row.task.why.clone(),
        // As much as the index keeps, or it would never be the same.
        prompt: row.task.prompt.chars().take(500).collect(),
    }
}

/// Shows a session the tasks that it scheduled and that run elsewhere.
fn show_elsewhere(host: &Host, origin: &SessionId) -> Result<(), HostError> {
    let Some(session) = host.central.session(origin)? else { return Ok(()) };
    let which = TaskFilter { session: Some(origin), ..TaskFilter::default() };
    let all: Vec<_> = host
        .central
        .tasks(&which, LIVE_MAX, 0)?
        .into_iter()
        .filter(|t| t.session != *origin)
        .map(|t| TaskRow {
            content: json!({"prompt": t.prompt, "timezone": t.timezone, "why": t.why}).to_string(),
            series: t.id,
            status: t.status,
            process_after: t.next_at.map(time::iso),
            recurrence: t.recurrence,
        })
        .collect();
    host.files(&session)?.with(|inbox| inbox.set_tasks_elsewhere(&all))
}

/// A series that paused itself says so where its answers go, once.
fn tell(host: &Arc<Host>, session: &Session, row: &Live, why: &str) -> Result<(), HostError> {
    let to = match &row.reply {
        Some(to) => Some(to.clone()),
        None => host.home(session)?,
    };
    let Some(to) = to else { return Ok(()) };
    let what: String =
        row.task.prompt.chars().map(|c| if c.is_control() { ' ' } else { c }).take(80).collect();
    let markdown = format!(
        "⏸️ I paused the scheduled task “{what}”: {why}. Ask me to resume it, or run `ncl tasks resume {}`.",
        row.series
    );
    host.say(&format!("task-paused:{}:{}", session.id, row.id), &to, markdown)
}

/// The tasks of all sessions, the next one first. Blocks.
pub(crate) fn list(
    host: &Host,
    which: &TaskFilter<'_>,
    limit: usize,
    offset: usize,
) -> Result<Vec<TaskEntry>, HostError> {
    Ok(host.central.tasks(which, limit, offset)?)
}

/// One task in full. Blocks.
pub(crate) fn get(host: &Host, which: &TaskFilter<'_>) -> Result<Result<Value, String>, HostError> {
    let (entry, session) = match find(host, which)? {
        Ok(found) => found,
        Err(why) => return Ok(Err(why)),
    };
    let rows = host.files(&session)?.with(|inbox| inbox.live_tasks(Some(entry.id.as_str())))?;
    let mut value = serde_json::to_value(&entry).map_err(|e| HostError::Unknown(e.to_string()))?;
    if let (Some(map), Some(row)) = (value.as_object_mut(), rows.first()) {
        map.insert("prompt".into(), row.task.prompt.clone().into());
        map.insert("script".into(), row.task.script.clone().into());
        map.insert("next_run_id".into(), row.id.as_str().into());
    }
    Ok(Ok(value))
}

/// Carries out an order; [`changes`] reads what an update changes. Blocks. The inner results are for who asks.
pub(crate) fn order(
    host: &Arc<Host>,
    which: &TaskFilter<'_>,
    order: &Order,
) -> Result<Result<String, String>, HostError> {
    let (entry, session) = match find(host, which)? {
        Ok(found) => found,
        Err(why) => return Ok(Err(why)),
    };
    let rows = match carry_out(host, &session, entry.id.as_str(), order)? {
        Ok(rows) => rows,
        Err(why) => return Ok(Err(why)),
    };
    let Some(row) = rows.first() else { return Ok(Err(format!("{} has just ended", entry.id))) };
    let word = format!("{order:?}").split('(').next().unwrap_or_default().to_lowercase();
    host.trace("task", Some(&row.id), Some(&session.id), None, &word);
    Ok(Ok(match (order, row.at) {
        (Order::Cancel, _) => format!("{} is cancelled", entry.id),
        (Order::Pause, _) => format!("{} is paused", entry.id),
        (Order::Run, _) => format!("{} runs now", entry.id),
        (Order::Resume | Order::Update(_), Some(at)) => {
            format!("{} is {} and runs at {}", entry.id, row.status, time::iso(at))
        }
        (Order::Resume | Order::Update(_), None) => format!("{} is {}", entry.id, row.status),
    }))
}

/// The one task that is meant.
fn find(
    host: &Host,
    which: &TaskFilter<'_>,
) -> Result<Result<(TaskEntry, Session), String>, HostError> {
    let mut found = host.central.tasks(which, 2, 0)?;
    let named = which.id.unwrap_or_default();
    let Some(entry) = found.pop() else {
        return Ok(Err(format!("there is no live task {named:?}; `ncl tasks list` shows them")));
    };
    if let Some(other) = found.pop() {
        return Ok(Err(format!(
            "{named:?} is a task of {} and of {}; say which with --session",
            other.session, entry.session
        )));
    }
    let session = host.central.session(&entry.session)?;
    Ok(session.map(|s| (entry, s)).ok_or_else(|| format!("the session of {named:?} is gone")))
}
