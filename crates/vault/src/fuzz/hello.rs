//! The first bytes inside a tunnel.

use super::TLS;
use crate::tunnel::peek;
use rustls::pki_types::ServerName;
use std::sync::Arc;

/// A TLS client's first bytes: the name that is found in them is the one that stands there, however they come.
///
/// Where the first byte is odd, the rest is such bytes; else it is a name, a zero and how the hello of a real
/// client for this name is cut into records.
pub fn hello(data: &[u8]) {
    match data {
        [how, raw @ ..] if how % 2 == 1 => any(raw),
        [_, said @ ..] => real(said),
        [] => {}
    }
}

fn any(raw: &[u8]) {
    let whole = peek(raw);
    let cuts = [1, 5, 6, 9, 43, raw.len() / 2, raw.len().saturating_sub(1)];
    for part in cuts.into_iter().filter_map(|at| raw.get(..at)) {
        match peek(part) {
            Ok(None) => {}
            known => assert_eq!(known, whole, "more bytes change nothing"),
        }
    }
    if let Ok(Some(found)) = whole {
        let stands = name(&handshake(raw)).and_then(|name| String::from_utf8(name).ok());
        let address = |name: &String| name.parse::<std::net::IpAddr>().is_ok();
        let stands = stands.filter(|name| !address(name));
        assert_eq!(
            found.map(|name| name.to_ascii_lowercase()),
            stands.map(|name| name.to_ascii_lowercase())
        );
    }
}

fn real(said: &[u8]) {
    let mut parts = said.splitn(2, |byte| *byte == 0);
    let text = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let Ok(to) = ServerName::try_from(text) else { return };
    let expected = match &to {
        ServerName::DnsName(name) => Some(name.as_ref().trim_end_matches('.').to_ascii_lowercase()),
        _ => None,
    };
    let Ok(mut client) = rustls::ClientConnection::new(Arc::clone(&TLS), to) else { return };
    let mut first = Vec::new();
    if client.write_tls(&mut first).is_err() {
        return;
    }
    let (message, mut raw) = (handshake(&first), Vec::new());
    let mut sizes = parts.next().unwrap_or_default().iter();
    let mut left = message.as_slice();
    while !left.is_empty() {
        assert_eq!(peek(&raw), Ok(None), "a part is no hello");
        let size = sizes.next().map_or(left.len(), |size| usize::from(*size).max(1));
        let (record, rest) = left.split_at(size.min(left.len()));
        raw.extend_from_slice(&[22, 3, 1]);
        raw.extend_from_slice(&(record.len() as u16).to_be_bytes());
        raw.extend_from_slice(record);
        left = rest;
    }
    let found =
        peek(&raw).map(|found| found.map(|name| name.map(|name| name.to_ascii_lowercase())));
    assert_eq!(found, Ok(Some(expected)));
    any(&raw);
}

/// What the records carry.
fn handshake(mut raw: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    while let [22, _, _, high, low, rest @ ..] = raw {
        let (record, rest) =
            rest.split_at(usize::from(u16::from_be_bytes([*high, *low])).min(rest.len()));
        message.extend_from_slice(record);
        raw = rest;
    }
    message
}

/// The server's name in a ClientHello (RFC 8446, 4.1.2, and RFC 6066, 3).
fn name(message: &[u8]) -> Option<Vec<u8>> {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
    let mut rest = message.get(4..4 + number(message.get(1..4)?))?.get(34..)?;
    // A session's id, suites, compressions.
    for width in [1, 2, 1] {
        let size = number(rest.get(..width)?);
        rest = rest.get(width + size..)?;
    }
    let mut extensions = rest.get(2..)?;
    while let [a, b, c, d, rest @ ..] = extensions {
        let (body, rest) = rest.split_at_checked(number(&[*c, *d]))?;
        if (*a, *b) == (0, 0) {
            let entry = body.get(2..)?;
            return entry.get(3..3 + number(entry.get(1..3)?)).map(<[u8]>::to_vec);
        }
        extensions = rest;
    }
    None
}
