//! `ncl sessions`.

use super::given::{Answer, No, maybe, page_of, parse, text};
use crate::{Host, HostError, blocking, lock};
use nanoclaw_admin::args::Args;
use nanoclaw_admin::table::Verb;
use nanoclaw_central::{Session, SessionFilter};
use nanoclaw_contract::dir::SessionDir;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

pub(crate) fn act(host: &Arc<Host>, verb: &Verb, args: &Args) -> Answer {
    match verb.verb {
        "list" => list(host, args),
        _ => in_full(host, &find(host, args)?),
    }
}

fn list(host: &Host, args: &Args) -> Answer {
    let only = SessionFilter {
        agent: maybe(args, "agent_group_id")?,
        chat: maybe(args, "messaging_group_id")?,
        active: text(args, "status").map(|word| word == "active"),
    };
    let (limit, offset) = page_of(args);
    let quarantined = host.central.all_quarantined()?;
    let reason = |s: &Session| quarantined.iter().find(|q| q.0 == s.id).map(|q| q.1.as_str());
    let rows = host.central.sessions_where(&only, limit.min(10_000), offset)?;
    Ok(rows.iter().map(|s| row(host, s, reason(s))).collect())
}

fn row(host: &Host, s: &Session, quarantine: Option<&str>) -> Value {
    let state = match (quarantine, lock(&host.live).contains_key(&s.id)) {
        (Some(_), _) => "quarantined",
        (None, true) => s.container.as_str(),
        (None, false) => "asleep",
    };
    json!({
        "id": s.id,
        "agent_group_id": s.agent,
        "messaging_group_id": s.chat,
        "thread_id": s.thread,
        "agent_provider": s.provider,
        "status": if s.active { "active" } else { "closed" },
        "container_status": s.container.as_str(),
        "last_active": s.last_active,
        "created_at": s.created_at,
        "state": state,
        "reason": quarantine,
    })
}

fn find(host: &Host, args: &Args) -> Result<Session, No> {
    let missing = || No::missing("session", text(args, "id").unwrap_or_default(), "sessions");
    host.central.session(&parse(args, "id")?)?.ok_or_else(missing)
}

fn in_full(host: &Host, s: &Session) -> Answer {
    let quarantine = host.central.quarantined(&s.id)?;
    let mut value = row(host, s, quarantine.as_ref().map(|q| q.0.as_str()));
    let (all, waiting) = host.files(s)?.with(|inbox| inbox.counts())?;
    if let Value::Object(map) = &mut value {
        map.insert("messages".into(), all.into());
        map.insert("waiting".into(), waiting.into());
        map.insert("undelivered".into(), host.central.pending_deliveries(&s.id)?.len().into());
        let failed = host.central.wake_failure(&s.id)?.map(|f| f.last_error);
        map.insert("wake_failures".into(), failed.into());
        let dir = SessionDir::new(&host.config.data, &s.agent, &s.id).map_err(HostError::from)?;
        map.insert("folder".into(), dir.root().display().to_string().into());
    }
    Ok(value)
}

async fn found(host: &Arc<Host>, args: &Args) -> Result<Session, No> {
    let (host, args) = (host.clone(), args.clone());
    blocking(move || Ok(find(&host, &args))).await?
}

pub(crate) async fn stop(host: &Arc<Host>, args: &Args) -> Answer {
    let session = found(host, args).await?;
    host.wake(&session.id).stop();
    Ok(json!({"stopping": session.id}))
}

/// Ends a quarantine: what the box wrote is put aside, the inbox stays as it is.
pub(crate) async fn clear(host: &Arc<Host>, args: &Args) -> Answer {
    let session = found(host, args).await?;
    let (h, s) = (host.clone(), session.clone());
    let cleared = blocking(move || Ok(clear_files(&h, &s))).await??;
    host.wake(&session.id).dirty();
    Ok(cleared)
}

fn clear_files(host: &Host, s: &Session) -> Answer {
    if host.central.quarantined(&s.id)?.is_none() {
        return Err(No::bad(format!("{} is not in quarantine", s.id)));
    }
    if host.central.boxes()?.iter().any(|b| b.session == s.id) {
        return Err(No::bad("its box is still stopping; try again in a moment"));
    }
    let dir = SessionDir::new(&host.config.data, &s.agent, &s.id).map_err(HostError::from)?;
    let aside = dir.root().join(format!("quarantined-{}", host.clock.now().as_millisecond()));
    put_aside(host, &dir, &aside)?;
    host.central.set_out_cursor(&s.id, 0)?;
    host.central.release(&s.id)?;
    host.trace("cleared", None, Some(&s.id), None, &aside.display().to_string());
    Ok(json!({"cleared": s.id, "kept": aside.display().to_string()}))
}

fn put_aside(host: &Host, dir: &SessionDir, aside: &Path) -> Result<(), HostError> {
    std::fs::rename(dir.writable(), aside)
        .map_err(|e| HostError::Io(format!("put {} aside", dir.writable().display()), e))?;
    dir.create()?;
    host.own_by_box(&[&dir.writable(), &dir.writable().join("outbox"), &dir.outbound()])
}
