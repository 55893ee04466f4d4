//! Messages that keep the protocol.

use super::*;
use crate::fuzz::{RUNTIME, scrub, text, tripwire};
use tokio::io::DuplexStream;

/// Messages, 0xfd between them, each with a byte that says how it is sent, from the box or (first byte odd) from
/// the upstream: they arrive as they were sent but for secrets, or a placeholder ends it.
pub fn messages(data: &[u8]) {
    let [way, rest @ ..] = data else { return };
    let back = way % 2 == 1;
    let said: Vec<_> = rest.split(|byte| *byte == 0xfd).filter_map(<[u8]>::split_first).collect();
    let said: Vec<_> = said.into_iter().map(|(how, message)| (*how, text(message))).collect();
    let expected: Result<Vec<_>, Leak> =
        said.iter().map(|(how, (_, whole))| Ok((kind(*how), arrives(back, whole)?))).collect();
    let (heard, ended) = RUNTIME.block_on(async {
        let (client, inner) = tokio::io::duplex(4 << 20);
        let (server, outer) = tokio::io::duplex(4 << 20);
        let (mut from, mut to) = if back { (server, client) } else { (client, server) };
        let relay = relay(inner, outer, tripwire(), scrub());
        let talk = async {
            for (how, (pieces, _)) in &said {
                say(&mut from, !back, *how, pieces).await;
            }
            let close = || Head { last: true, kind: CLOSE, length: 0, key: [1, 2, 3, 4] };
            drop(send(&mut from, !back, close(), Bytes::new()).await);
            drop(send(&mut to, back, close(), Bytes::new()).await);
            let mut heard = heard(&mut to, !back).await;
            heard.retain(|(kind, _)| *kind < CLOSE);
            heard
        };
        let (ended, heard) = tokio::join!(relay, talk);
        (heard, ended)
    });
    match expected {
        Ok(expected) => {
            assert_eq!((heard, ended.code), (expected, None));
            let bytes = said.iter().map(|(_, (_, whole))| whole.len() as u64).sum();
            assert_eq!((ended.up, ended.down), if back { (0, bytes) } else { (bytes, 0) });
        }
        Err(_) => {
            assert_eq!((ended.code, ended.leak.is_some()), (Some(1008), true));
            assert!(heard.len() <= said.len());
            let clean =
                |(_, message): &(u8, Vec<u8>)| tripwire().look("a message", message).is_ok();
            assert!(heard.iter().all(clean), "a placeholder went out");
        }
    }
}

fn kind(how: u8) -> u8 {
    if how & 1 == 0 { TEXT } else { BINARY }
}

fn arrives(back: bool, whole: &Bytes) -> Result<Vec<u8>, Leak> {
    if back {
        let mut window = scrub().window();
        return Ok([window.push(whole.clone()), window.finish()].concat());
    }
    let mut watch = Watch::new(tripwire());
    Ok([watch.push(whole.clone())?, watch.finish()].concat())
}

async fn say(to: &mut DuplexStream, masked: bool, how: u8, pieces: &[Bytes]) {
    let key = [how, 7, 0, 255];
    for (at, piece) in pieces.iter().enumerate() {
        let kind = if at == 0 { kind(how) } else { CONTINUATION };
        // An empty frame may be the last one.
        let last = at + 1 == pieces.len() && how & 2 == 0;
        let head = Head { last, kind, length: 0, key };
        drop(send(to, masked, head, piece.clone()).await);
        if how & 4 != 0 {
            let ping = Head { last: true, kind: PING, length: 0, key };
            drop(send(to, masked, ping, Bytes::from_static(b"there?")).await);
        }
    }
    if how & 2 != 0 {
        let head = Head { last: true, kind: CONTINUATION, length: 0, key };
        drop(send(to, masked, head, Bytes::new()).await);
    }
}

/// What arrives until the end, messages put together by the rules.
pub(crate) async fn heard(from: &mut DuplexStream, masked: bool) -> Vec<(u8, Vec<u8>)> {
    let (mut whole, mut open) = (Vec::new(), None);
    while let Ok(head) = head(from, masked).await {
        let data = piece(from, head.length).await.unwrap_or_default();
        assert_eq!(data.len() as u64, head.length, "a frame has its end");
        let data = unmask(data, head.key, 0);
        if head.kind >= CLOSE {
            assert!(head.last && head.length <= CONTROL_MAX);
            whole.push((head.kind, data.to_vec()));
            continue;
        }
        let begins = head.kind != CONTINUATION;
        assert_eq!(begins, open.is_none(), "in order");
        let (_, message) = open.get_or_insert((head.kind, Vec::new()));
        message.extend_from_slice(&data);
        if head.last {
            whole.extend(open.take());
        }
    }
    whole.extend(open);
    whole
}
