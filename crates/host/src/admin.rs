//! Answers `ncl` on `data/ncl.sock`: for the operator's own user id only.

use crate::{Host, HostError, blocking, lock, why};
use nanoclaw_admin::wire::{Code, Failure, Frame, LINE_BYTES_MAX, Request};
use nanoclaw_central::Session;
use nanoclaw_contract::dir::SessionDir;
use nanoclaw_contract::ids::SessionId;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

const LIST_MAX: usize = 200;

/// Opens the socket; the returned task serves it.
pub(crate) fn listen(host: &Arc<Host>) -> Result<impl Future<Output = ()> + use<>, HostError> {
    let path = host.config.data.join("ncl.sock");
    let open = || {
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    let listener = open().map_err(|e| HostError::Io(format!("listen on {}", path.display()), e))?;
    let host = host.clone();
    Ok(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(serve(host.clone(), stream));
                }
                Err(e) => {
                    tracing::error!(error = %e, "ncl is not accepted");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            }
        }
    })
}

async fn serve(host: Arc<Host>, stream: UnixStream) {
    let me = rustix::process::geteuid().as_raw();
    if !stream.peer_cred().is_ok_and(|peer| peer.uid() == me || peer.uid() == 0) {
        return tracing::warn!("ncl from another user was refused");
    }
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = String::new();
        match (&mut reader).take(LINE_BYTES_MAX as u64).read_line(&mut line).await {
            Ok(n) if n > 0 => {}
            _ => return,
        }
        let frame = match serde_json::from_str::<Request>(&line) {
            Ok(request) => {
                let id = request.id.clone();
                Frame::of(id, run(&host, request).await)
            }
            Err(e) => {
                Frame::of("", Err(Failure::new(Code::InvalidArgs, format!("not a request: {e}"))))
            }
        };
        let Ok(mut text) = serde_json::to_string(&frame) else { return };
        text.push('\n');
        if writer.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

type Answer = Result<Value, Failure>;

async fn run(host: &Arc<Host>, request: Request) -> Answer {
    let result = match request.command.as_str() {
        "sessions-stop" => stop(host, &request).await,
        "sessions-clear" => clear(host, &request).await,
        "dead-letters-replay" => replay(host, &request).await,
        _ => {
            let host = host.clone();
            blocking(move || read(&host, &request)).await
        }
    };
    result.unwrap_or_else(|e| Err(Failure::new(Code::HandlerError, e.to_string())))
}

/// What only looks. Blocks.
fn read(host: &Host, request: &Request) -> Result<Answer, HostError> {
    let of = |key: &str| request.args.get(key).and_then(Value::as_str).unwrap_or_default();
    let number = |key: &str| of(key).parse::<usize>().ok();
    let central = &host.central;
    Ok(Ok(match request.command.as_str() {
        "status" => status(host)?,
        "why" => return why::why(host, of("id")),
        "sessions-list" => {
            let quarantined = central.all_quarantined()?;
            let rows = central.sessions(number("limit").unwrap_or(LIST_MAX).min(10_000), number("offset").unwrap_or(0))?;
            rows.iter().map(|s| session(host, s, quarantined.iter().find(|q| q.0 == s.id).map(|q| q.1.as_str()))).collect()
        }
        "sessions-get" => match SessionId::parse(of("id")).ok().map(|id| central.session(&id)).transpose()?.flatten() {
            Some(s) => session_in_full(host, &s)?,
            None => return Ok(Err(not_found(of("id")))),
        },
        "dead-letters-list" => why::dead_letters(host)?,
        "groups-list" => central
            .agents()?
            .iter()
            .map(|a| json!({"id": a.id, "name": a.name, "folder": a.folder, "provider": provider_of(host, a)}))
            .collect(),
        "messaging-groups-list" => central
            .chats()?
            .iter()
            .map(|c| {
                json!({"id": c.id, "channel": c.channel_type, "platform_id": c.platform_id, "name": c.name,
                       "kind": format!("{:?}", c.kind).to_lowercase(), "policy": c.policy.as_str()})
            })
            .collect(),
        "wirings-list" => central.wirings()?.iter().map(wiring).collect(),
        "dropped-messages-list" => central
            .drops()?
            .iter()
            .map(|d| {
                json!({"channel": d.channel_type, "platform_id": d.platform_id, "sender": d.sender_name.as_ref().or(d.user.as_ref()),
                       "reason": d.reason, "count": d.count, "last_seen": d.last_seen})
            })
            .collect(),
        other => return Ok(Err(Failure::new(Code::UnknownCommand, format!("the host knows no {other:?}")))),
    }))
}

fn not_found(id: &str) -> Failure {
    Failure::new(Code::NotFound, format!("there is no {id:?}; `ncl sessions` lists what there is"))
}

fn provider_of(host: &Host, agent: &nanoclaw_central::Agent) -> Option<String> {
    let config = host.central.config(&agent.id).ok().flatten();
    config.and_then(|c| c.provider).or_else(|| agent.provider.clone())
}

fn wiring(w: &Result<nanoclaw_central::Wiring, nanoclaw_central::BrokenRow>) -> Value {
    match w {
        Ok(w) => {
            json!({"id": w.id, "chat": w.chat, "agent": w.agent, "engage": w.engage_mode.map(nanoclaw_central::EngageMode::as_str),
                        "pattern": w.engage_pattern, "session_mode": w.session_mode.as_str(),
                        "senders": w.sender_scope.as_str(), "ignored": w.ignored.as_str()})
        }
        Err(broken) => {
            json!({"id": broken.id, "chat": "", "agent": "", "engage": format!("broken: {}", broken.why)})
        }
    }
}

fn status(host: &Host) -> Result<Value, HostError> {
    let quarantined: Vec<_> = host
        .central
        .all_quarantined()?
        .iter()
        .map(|q| json!({"session": q.0, "reason": q.1, "since": q.2}))
        .collect();
    Ok(json!({
        "driver": host.driver.name(),
        "channels": host.channels.status(),
        "boxes": host.slots.held(),
        "boxes_max": host.config.boxes_max,
        "waiting": host.slots.wanted(),
        "sessions": host.central.count_sessions()?,
        "dead_letters": host.central.dead_letters()?.len() + host.central.dead_mail()?.len(),
        "quarantined": quarantined,
    }))
}

fn session(host: &Host, s: &Session, quarantine: Option<&str>) -> Value {
    let state = match (quarantine, lock(&host.live).contains_key(&s.id)) {
        (Some(_), _) => "quarantined",
        (None, true) => s.container.as_str(),
        (None, false) => "asleep",
    };
    json!({"id": s.id, "agent": s.agent, "chat": s.chat, "thread": s.thread, "state": state,
           "last_active": s.last_active, "reason": quarantine})
}

fn session_in_full(host: &Host, s: &Session) -> Result<Value, HostError> {
    let quarantine = host.central.quarantined(&s.id)?;
    let mut value = session(host, s, quarantine.as_ref().map(|q| q.0.as_str()));
    let (all, waiting) = host.files(s)?.with(|inbox| inbox.counts())?;
    if let Value::Object(map) = &mut value {
        map.insert("messages".into(), all.into());
        map.insert("waiting".into(), waiting.into());
        map.insert("undelivered".into(), host.central.pending_deliveries(&s.id)?.len().into());
        map.insert(
            "wake_failures".into(),
            host.central.wake_failure(&s.id)?.map(|f| f.last_error).into(),
        );
        map.insert(
            "folder".into(),
            SessionDir::new(&host.config.data, &s.agent, &s.id)?
                .root()
                .display()
                .to_string()
                .into(),
        );
    }
    Ok(value)
}

fn wanted(request: &Request) -> String {
    request.args.get("id").and_then(Value::as_str).unwrap_or_default().to_owned()
}

async fn find(host: &Arc<Host>, id: &str) -> Result<Option<Session>, HostError> {
    let Ok(id) = SessionId::parse(id) else { return Ok(None) };
    let host = host.clone();
    blocking(move || Ok(host.central.session(&id)?)).await
}

async fn stop(host: &Arc<Host>, request: &Request) -> Result<Answer, HostError> {
    let id = wanted(request);
    let Some(session) = find(host, &id).await? else { return Ok(Err(not_found(&id))) };
    host.wake(&session.id).stop();
    Ok(Ok(json!({"stopping": session.id})))
}

/// Ends a quarantine: what the box wrote is put aside, the inbox stays as it is.
async fn clear(host: &Arc<Host>, request: &Request) -> Result<Answer, HostError> {
    let id = wanted(request);
    let Some(session) = find(host, &id).await? else { return Ok(Err(not_found(&id))) };
    let (h, s) = (host.clone(), session.clone());
    let cleared = blocking(move || {
        if h.central.quarantined(&s.id)?.is_none() {
            return Ok(Err(Failure::new(
                Code::InvalidArgs,
                format!("{} is not in quarantine", s.id),
            )));
        }
        if h.central.boxes()?.iter().any(|b| b.session == s.id) {
            return Ok(Err(Failure::new(
                Code::InvalidArgs,
                "its box is still stopping; try again in a moment",
            )));
        }
        let dir = SessionDir::new(&h.config.data, &s.agent, &s.id)?;
        let aside = dir.root().join(format!("quarantined-{}", h.clock.now().as_millisecond()));
        put_aside(&h, &dir, &aside)?;
        h.central.set_out_cursor(&s.id, 0)?;
        h.central.release(&s.id)?;
        h.trace("cleared", None, Some(&s.id), None, &aside.display().to_string());
        Ok(Ok(json!({"cleared": s.id, "kept": aside.display().to_string()})))
    })
    .await?;
    if cleared.is_ok() {
        host.wake(&session.id).dirty();
    }
    Ok(cleared)
}

fn put_aside(host: &Host, dir: &SessionDir, aside: &Path) -> Result<(), HostError> {
    std::fs::rename(dir.writable(), aside)
        .map_err(|e| HostError::Io(format!("put {} aside", dir.writable().display()), e))?;
    dir.create()?;
    host.own_by_box(&[&dir.writable(), &dir.writable().join("outbox"), &dir.outbound()])
}

async fn replay(host: &Arc<Host>, request: &Request) -> Result<Answer, HostError> {
    let (h, id) = (host.clone(), wanted(request));
    let (sessions, lines) = blocking(move || why::replay(&h, &id)).await?;
    for session in &sessions {
        host.revisit(session).await?;
        host.wake(session).dirty();
    }
    Ok(Ok(json!({"replayed": sessions.len() + lines})))
}

/// Runs a command of an agent's own `ncl` that somebody approved.
pub(crate) async fn run_approved(
    _host: &Arc<Host>,
    _agent: &nanoclaw_contract::ids::AgentId,
    command: &str,
    _args: &std::collections::BTreeMap<String, Value>,
) -> Result<String, String> {
    std::future::ready(Err(format!("{command} cannot be run from inside a box yet"))).await
}
