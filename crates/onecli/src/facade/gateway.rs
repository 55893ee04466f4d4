//! The gateway's part of the port: an agent's token opens the socket of that agent's own session.
//!
//! From there on everything is judged as it is for a box; nothing is decided here.

use super::Facade;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const PROXY_AUTHORIZATION: &str = "proxy-authorization";
const WHO: &str = "HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic realm=\"OneCLI Gateway\"\r\n\
                   content-length: 0\r\nconnection: close\r\n\r\n";
const BROKEN: &str =
    "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Whether a head asks for a proxy.
pub(super) fn is_for(head: &[u8]) -> bool {
    let target = head.split(|b| *b == b' ').nth(1).unwrap_or_default();
    head.starts_with(b"CONNECT ") || !target.starts_with(b"/")
}

/// Carries one connection to the session of whoever shows a token.
pub(super) async fn carry(facade: &Arc<Facade>, mut stream: TcpStream, head: &[u8]) {
    let refusal = match enter(facade, head).await {
        Ok((mut session, head)) => {
            if session.write_all(&head).await.is_ok() {
                // Either end may break off at any time; the other learns it from that.
                drop(tokio::io::copy_bidirectional(&mut stream, &mut session).await);
            }
            return;
        }
        Err(refusal) => refusal,
    };
    // Who does not wait for it does not miss it.
    drop(stream.write_all(refusal.as_bytes()).await);
}

type Entered = (tokio::net::UnixStream, Vec<u8>);

async fn enter(facade: &Arc<Facade>, head: &[u8]) -> Result<Entered, &'static str> {
    let end = head.windows(4).position(|w| w == b"\r\n\r\n").ok_or(BROKEN)?;
    let (text, rest) = head.split_at(end);
    let text = std::str::from_utf8(text).map_err(|_| BROKEN)?;
    let (first, lines) = text.split_once("\r\n").unwrap_or((text, ""));
    let is_ours = |line: &&str| {
        let name = line.split_once(':').map_or("", |(name, _)| name);
        name.eq_ignore_ascii_case(PROXY_AUTHORIZATION)
    };
    let mut given = lines.split("\r\n").filter(is_ours);
    let token = given.next().and_then(token).filter(|_| given.next().is_none()).ok_or(WHO)?;
    let me = Arc::clone(facade);
    let found = tokio::task::spawn_blocking(move || me.agents.owner(&token)).await;
    let agent = found.ok().and_then(Result::ok).flatten().ok_or(WHO)?;
    let dir = facade.place(&agent);
    let entered = facade.vault.enter(&agent.identifier, agent.names(), &dir).await;
    let (session, token) = entered.map_err(|e| {
        tracing::warn!("OneCLI's gateway: {e}");
        BROKEN
    })?;
    let shown = STANDARD.encode(format!("box:{token}"));
    let others = lines.split("\r\n").filter(|line| !line.is_empty() && !is_ours(line));
    let mut head = format!("{first}\r\n{PROXY_AUTHORIZATION}: Basic {shown}\r\n");
    others.for_each(|line| head.extend([line, "\r\n"]));
    Ok((session, [head.as_bytes(), rest.get(2..).unwrap_or_default()].concat()))
}

fn token(line: &str) -> Option<String> {
    let (scheme, word) = line.split_once(':')?.1.trim().split_once(' ')?;
    let bytes =
        STANDARD.decode(word.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    Some(String::from_utf8(bytes).ok()?.split_once(':')?.1.to_owned())
}
