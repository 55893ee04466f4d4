//! Socket Mode: Slack's events over a WebSocket that we open.
//!
//! ```text
//! open ──▶ hello ──▶ events, each acknowledged when it is on disk ──▶ disconnect ──▶ open the next one first
//!   ▲                                          │                          (the old one is read to its end)
//!   └──── backoff ◀── silence, error, end ◀────┘  and then: catch up
//! ```

use crate::api::{Api, start_error};
use crate::wire::{Connection, Frame};
use crate::{Hub, NAME};
use futures_util::{SinkExt as _, StreamExt as _};
use nanoclaw_channel::{Health, StartError};
use nanoclaw_kit::backoff::Backoff;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const FRAME_MAX: usize = 4 << 20;
/// Longest wait for a new connection and its greeting.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is asked whether the other end lives, and how often it may stay silent.
const PING: Duration = Duration::from_secs(5);
const SILENT_MAX: u32 = 3;
/// A connection that held for so long was a good one.
const STEADY: Duration = Duration::from_secs(60);
/// How long to wait for somebody to mend what only people can.
const BROKEN: Duration = Duration::from_secs(600);
/// How often it is written down how far we are.
const MARK: Duration = Duration::from_secs(5);

/// Opens a connection and waits until Slack greets.
pub(crate) async fn open(app: &Api) -> Result<Socket, StartError> {
    let to: Connection = app.call("apps.connections.open", &[]).await.map_err(start_error)?;
    let lost =
        |e: &dyn std::fmt::Display| StartError::Unreachable(format!("Slack's Socket Mode: {e}"));
    if !(to.url.starts_with("wss://") || app.is_plain()) {
        return Err(lost(&"it offers a connection without TLS"));
    }
    let config = WebSocketConfig::default()
        .max_message_size(Some(FRAME_MAX))
        .max_frame_size(Some(FRAME_MAX));
    let opened = async {
        let (mut socket, _) = connect_async_with_config(&to.url, Some(config), true)
            .await
            .map_err(|_| "no connection")?;
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(text) = message
                && matches!(serde_json::from_str(&text), Ok(Frame::Hello))
            {
                return Ok(socket);
            }
        }
        Err("it closed the connection before a greeting")
    };
    match timeout(PATIENCE, opened).await {
        Ok(socket) => socket.map_err(|e| lost(&e)),
        Err(_) => Err(lost(&"no greeting in time")),
    }
}

/// Listens until it is dropped; one connection follows the other.
pub(crate) async fn listen(hub: Arc<Hub>, app: Api, first: Socket) {
    let mut old = JoinSet::new();
    let mut socket = first;
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    let mut missed = true;
    loop {
        if missed && let Err(error) = hub.catch_up().await {
            tracing::warn!(channel = NAME, %error, "what was missed is asked for again");
            hub.behind.notify_one();
        }
        (hub.report)(Health::Up);
        let begun = Instant::now();
        let (renew, mut renewed) = oneshot::channel();
        let reading = old.spawn(read(Arc::clone(&hub), socket, renew));
        missed = tend(&hub, &mut renewed, &mut backoff).await;
        if missed {
            let why = "The connection to Slack was lost".to_owned();
            (hub.report)(Health::Reconnecting { why });
        }
        // One that breaks again and again is not opened again and again at once.
        match begun.elapsed() > STEADY {
            true => backoff.reset(),
            false if missed => tokio::time::sleep(backoff.next()).await,
            false => {}
        }
        socket = loop {
            let wait = match open(&app).await {
                Ok(socket) => break socket,
                Err(StartError::Unreachable(why)) => {
                    if missed || reading.is_finished() {
                        (hub.report)(Health::Reconnecting { why });
                    }
                    backoff.next()
                }
                Err(error) => {
                    (hub.report)(Health::Broken { why: error.to_string() });
                    BROKEN
                }
            };
            tokio::time::sleep(wait).await;
        };
        // If the old one ended before this one began, something may lie between them.
        missed |= reading.is_finished();
        while old.try_join_next().is_some() {}
    }
}

/// Keeps the books while a connection is read; returns when it needs a successor, and whether it is lost.
async fn tend(hub: &Arc<Hub>, renewed: &mut oneshot::Receiver<()>, backoff: &mut Backoff) -> bool {
    let mut tick = interval(MARK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            renew = &mut *renewed => return renew.is_err(),
            _ = tick.tick() => hub.keep_mark().await,
            () = hub.behind.notified() => {
                tokio::time::sleep(backoff.next()).await;
                match hub.catch_up().await {
                    Ok(()) => backoff.reset(),
                    Err(error) => {
                        tracing::warn!(channel = NAME, %error, "what was missed is asked for again");
                        hub.behind.notify_one();
                    }
                }
            }
        }
    }
}

/// Reads one connection to its end. `renew` is told when Slack wants another; dropped, it was lost.
async fn read(hub: Arc<Hub>, socket: Socket, renew: oneshot::Sender<()>) {
    let (mut out, mut frames) = socket.split();
    let (acknowledge, mut acknowledged) = mpsc::unbounded_channel::<String>();
    let mut renew = Some(renew);
    let mut tick = interval(PING);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent = 0;
    loop {
        let written = tokio::select! {
            frame = frames.next() => {
                silent = 0;
                match frame {
                    Some(Ok(Message::Text(text))) => {
                        if matches!(take(&hub, &text, &acknowledge), Some(Frame::Disconnect)) {
                            renew.take().and_then(|renew| renew.send(()).ok());
                        }
                        Ok(())
                    }
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => out.flush().await,
                }
            }
            Some(id) = acknowledged.recv() => {
                let text = serde_json::json!({ "envelope_id": id }).to_string();
                out.send(Message::text(text)).await
            }
            _ = tick.tick() => {
                silent += 1;
                if silent > SILENT_MAX {
                    tracing::warn!(channel = NAME, "the connection is silent; opening another");
                    return;
                }
                out.send(Message::Ping(Vec::new().into())).await
            }
        };
        if written.is_err() {
            return;
        }
    }
}

/// Takes a frame; what is to be acknowledged is, as soon as it is on disk.
fn take(hub: &Arc<Hub>, text: &str, acknowledge: &mpsc::UnboundedSender<String>) -> Option<Frame> {
    let frame = match serde_json::from_str(text) {
        Ok(frame) => frame,
        Err(error) => {
            tracing::warn!(channel = NAME, %error, "a frame that cannot be read is left out");
            return None;
        }
    };
    let acknowledge = acknowledge.clone();
    match frame {
        Frame::EventsApi { envelope_id, payload } => {
            let event = payload.event.unwrap_or(crate::wire::Event::Other);
            hub.enqueue(event, text.len(), move |taken| {
                if taken {
                    drop(acknowledge.send(envelope_id));
                }
            });
            None
        }
        Frame::Interactive { envelope_id, payload } => {
            hub.enqueue_click(payload, text.len(), move |taken| {
                if taken {
                    drop(acknowledge.send(envelope_id));
                }
            });
            None
        }
        frame => Some(frame),
    }
}
