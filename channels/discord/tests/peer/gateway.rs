//! The gateway: hello, identify, resume, heartbeats, events in order.

use super::{APPLICATION, Shared, TOKEN, user};
use anyhow::Result;
use futures_util::{SinkExt as _, StreamExt as _};
use nanoclaw_conformance::Fault;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

pub(crate) async fn open(shared: Arc<Shared>) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let shared = shared.clone();
            let mut cut = shared.cut.subscribe();
            if *cut.borrow() {
                continue;
            }
            tokio::spawn(async move {
                tokio::select! {
                    _ = cut.wait_for(|cut| *cut) => {}
                    _ = serve(&shared, stream) => {}
                }
            });
        }
    });
    Ok(url)
}

async fn serve(shared: &Arc<Shared>, stream: TcpStream) -> Result<()> {
    let mut socket = tokio_tungstenite::accept_async(stream).await?;
    let hello = json!({ "op": 10, "d": { "heartbeat_interval": 41_250 } });
    socket.send(Message::text(hello.to_string())).await?;
    // The number of the next event; nobody is told anything before they said who they are.
    let mut next: Option<usize> = None;
    loop {
        let news = shared.news.notified();
        if let Some(from) = next {
            let events: Vec<Value> = shared.lock().events.iter().skip(from).cloned().collect();
            for event in &events {
                socket.send(Message::text(event.to_string())).await?;
            }
            next = Some(from + events.len());
        }
        let line = tokio::select! {
            () = news => continue,
            line = socket.next() => line,
        };
        let Some(Ok(Message::Text(line))) = line else { return Ok(()) };
        let line: Value = serde_json::from_str(&line)?;
        match line["op"].as_u64() {
            Some(1) => socket.send(Message::text(json!({ "op": 11 }).to_string())).await?,
            Some(op @ (2 | 6)) => {
                let revoked = matches!(shared.lock().faults, Some((Fault::Revoked, _)));
                if line["d"]["token"] != format!("Bot {TOKEN}") || revoked {
                    let frame =
                        CloseFrame { code: 4004.into(), reason: "Authentication failed.".into() };
                    socket.send(Message::Close(Some(frame))).await?;
                    return Ok(());
                }
                let begin = if op == 2 { identify(shared) } else { resume(shared, &line["d"]) };
                let Some((lines, from)) = begin else {
                    socket.send(Message::text(json!({ "op": 9, "d": false }).to_string())).await?;
                    continue;
                };
                for line in lines {
                    socket.send(Message::text(line.to_string())).await?;
                }
                next = Some(from);
                if op == 6 {
                    // What was missed comes first.
                    let events: Vec<Value> =
                        shared.lock().events.iter().skip(from).cloned().collect();
                    for event in &events {
                        socket.send(Message::text(event.to_string())).await?;
                    }
                    next = Some(from + events.len());
                    let n = shared.lock().events.len() as u64 + 2;
                    let resumed = json!({ "op": 0, "s": n, "t": "RESUMED", "d": {} });
                    socket.send(Message::text(resumed.to_string())).await?;
                }
            }
            _ => {}
        }
        shared.bell.notify_waiters();
    }
}

/// A new session: what was said before it is not told.
fn identify(shared: &Shared) -> Option<(Vec<Value>, usize)> {
    let mut state = shared.lock();
    state.session += 1;
    state.events.clear();
    let ready = json!({ "op": 0, "s": 1, "t": "READY", "d": {
        "v": 10, "user": user("andy"), "session_id": state.session.to_string(), "guilds": [],
        "resume_gateway_url": "wss://resume.example", "application": { "id": APPLICATION.to_string(), "flags": 0 },
        "shard": [0, 1] } });
    let guild = json!({ "op": 0, "s": 2, "t": "GUILD_CREATE", "d": state.guild() });
    Some((vec![ready, guild], 0))
}

fn resume(shared: &Shared, of: &Value) -> Option<(Vec<Value>, usize)> {
    let state = shared.lock();
    let known = super::is(&of["session_id"], state.session);
    let seen = usize::try_from(of["seq"].as_u64()?).ok()?;
    if !known || seen > state.events.len() + 2 {
        return None;
    }
    // A session that ended before the server was told begins there.
    let lines = match seen {
        0 | 1 => vec![json!({ "op": 0, "s": 2, "t": "GUILD_CREATE", "d": state.guild() })],
        _ => Vec::new(),
    };
    Some((lines, seen.saturating_sub(2)))
}
