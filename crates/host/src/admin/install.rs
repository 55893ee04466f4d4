//! `ncl status`, `top`, `dropped-messages` and `dead-letters`: how the install is.

use super::given::{Answer, need, page};
use super::why;
use crate::{Host, HostError, blocking};
use nanoclaw_admin::args::Args;
use nanoclaw_admin::table::Verb;
use nanoclaw_central::{BoxRow, Session};
use nanoclaw_contract::pulse::{self, Phase, Pulse};
use nanoclaw_contract::time::{Timestamp, iso};
use nanoclaw_driver::cgroup::Cpu;
use serde_json::{Value, json};
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

/// How long CPU use is measured.
const MEASURE: Duration = Duration::from_millis(200);

pub(crate) fn act(host: &Arc<Host>, verb: &Verb, args: &Args) -> Answer {
    let rows: Vec<Value> = match verb.resource {
        "dropped-messages" => {
            let row = |d: &nanoclaw_central::DropRow| {
                json!({
                    "channel_type": d.channel_type,
                    "platform_id": d.platform_id,
                    "user_id": d.user,
                    "sender_name": d.sender_name.as_ref().or(d.user.as_ref()),
                    "reason": d.reason,
                    "messaging_group_id": d.chat,
                    "agent_group_id": d.agent,
                    "message_count": d.count,
                    "first_seen": d.first_seen,
                    "last_seen": d.last_seen,
                })
            };
            host.central.drops()?.iter().map(row).collect()
        }
        _ => why::dead_letters(host)?,
    };
    Ok(page(verb, args, rows))
}

pub(crate) async fn replay(host: &Arc<Host>, args: &Args) -> Answer {
    let (h, id) = (host.clone(), need(args, "id")?.to_owned());
    let (sessions, lines) = blocking(move || why::replay(&h, &id)).await?;
    for session in &sessions {
        host.revisit(session).await?;
        host.wake(session).dirty();
    }
    Ok(json!({"replayed": sessions.len() + lines}))
}

pub(crate) fn status(host: &Arc<Host>) -> Answer {
    let quarantined: Vec<_> = host
        .central
        .all_quarantined()?
        .iter()
        .map(|q| json!({"session": q.0, "reason": q.1, "since": q.2}))
        .collect();
    let failing: Vec<_> = host
        .central
        .wake_failures()?
        .iter()
        .map(|(id, f)| json!({"session": id, "times": f.count, "last_error": f.last_error}))
        .collect();
    Ok(json!({
        "driver": host.driver.name(),
        "channels": host.channels.status(),
        "boxes": host.slots.held(),
        "boxes_max": host.config.boxes_max,
        "waiting": host.slots.wanted(),
        "sessions": host.central.count_sessions()?,
        "next_due": host.central.next_due()?.map(iso),
        "approvals": host.central.approvals(false, 10_000)?.len(),
        "builds": host.central.builds()?.len(),
        "dead_letters": host.central.dead_letters()?.len() + host.central.dead_mail()?.len(),
        "wake_failures": failing,
        "quarantined": quarantined,
    }))
}

/// Every box that runs.
pub(crate) async fn top(host: &Arc<Host>) -> Answer {
    let h = host.clone();
    let mut boxes = Vec::new();
    for b in blocking(move || Ok(h.central.boxes()?)).await? {
        let meter = host.driver.cpu(&b.name).await;
        let before = meter.as_ref().and_then(Cpu::used);
        boxes.push((b, meter, before));
    }
    let began = tokio::time::Instant::now();
    if boxes.iter().any(|(_, meter, _)| meter.is_some()) {
        tokio::time::sleep(MEASURE).await;
    }
    let (h, took) = (host.clone(), began.elapsed());
    let rows = blocking(move || {
        let row = |(b, meter, before): &(BoxRow, Option<Cpu>, _)| {
            let used = meter.as_ref().and_then(Cpu::used).zip(*before);
            let share = used.map(|(now, before): (Duration, Duration)| {
                now.saturating_sub(before).as_secs_f64() / took.as_secs_f64().max(0.001)
            });
            row(&h, b, share, meter.as_ref().and_then(Cpu::memory))
        };
        boxes.iter().map(row).collect::<Result<Vec<_>, _>>()
    });
    Ok(rows.await?.into_iter().flatten().collect())
}

fn row(
    host: &Host,
    b: &BoxRow,
    cpu: Option<f64>,
    memory: Option<u64>,
) -> Result<Option<Value>, HostError> {
    let Some(session) = host.central.session(&b.session)? else { return Ok(None) };
    let now = host.clock.now();
    let started = nanoclaw_contract::time::parse(&b.started_at).unwrap_or(now);
    Ok(Some(json!({
        "session": b.session,
        "agent": session.agent,
        "age": age(started, now),
        "cpu": cpu.map(|share| format!("{:.0}%", 100.0 * share)),
        "memory": memory.map(|bytes| format!("{} MiB", bytes >> 20)),
        "doing": doing(host, &session, now).unwrap_or_else(|| "starting".into()),
        "box": b.name,
        "started_at": b.started_at,
    })))
}

/// What the runner says it does; it is the box's word.
fn doing(host: &Host, session: &Session, now: Timestamp) -> Option<String> {
    let files = host.files(session).ok()?;
    let file = files.dir.open_from_box(".heartbeat".as_ref(), pulse::BYTES_MAX).ok()?;
    let mut text = String::new();
    file.take(pulse::BYTES_MAX).read_to_string(&mut text).ok()?;
    let pulse: Pulse = serde_json::from_str(&text).ok()?;
    let since = Timestamp::from_millisecond(pulse.since_ms).unwrap_or(now);
    let what = match pulse.phase {
        Phase::Idle => "waits for messages".into(),
        Phase::Starting => "starts its harness".into(),
        Phase::Model => "asks the model".into(),
        Phase::RateLimited => "waits for the model's API".into(),
        Phase::Tool => {
            let tools: Vec<_> = pulse.tools.iter().take(3).map(|t| t.name.as_str()).collect();
            format!("runs {}", tools.join(", ")).chars().take(80).collect::<String>()
        }
    };
    Some(format!("{what}, since {}", age(since, now)))
}

fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}
