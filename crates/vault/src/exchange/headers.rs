//! What may stand in a request's and in an answer's headers.

use crate::head;
use crate::refusal::Refusal;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use hyper::http::request::Parts;
use hyper::{Method, Version};

/// About one connection, not about the request (RFC 9110, 7.6.1).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// What tells where a request came from, or is the vault's own business.
const NEVER_OUT: [&str; 8] = [
    "expect",
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "http2-settings",
];
/// What an upstream says to whoever holds a credential.
const NEVER_IN: [&str; 4] =
    ["set-cookie", "www-authenticate", "authentication-info", "clear-site-data"];
/// Would lead around the vault, or speaks to proxies.
const NEVER_BACK: [&str; 3] = ["alt-svc", "proxy-authenticate", "proxy-authentication-info"];
const EXTENSIONS: HeaderName = HeaderName::from_static("sec-websocket-extensions");

/// Removes hop-by-hop headers, those that `Connection` names, and these.
fn strip(headers: &mut HeaderMap, more: &[&str]) {
    let named: Vec<String> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    for name in named.iter().map(String::as_str).chain(HOP_BY_HOP).chain(more.iter().copied()) {
        headers.remove(name);
    }
}

/// Whether the request asks for a WebSocket; any other protocol is refused.
pub(super) fn websocket(parts: &Parts) -> Result<bool, Refusal> {
    let Some(asked) = parts.headers.get(UPGRADE) else { return Ok(false) };
    let fits = asked.as_bytes().eq_ignore_ascii_case(b"websocket")
        && parts.method == Method::GET
        && parts.version == Version::HTTP_11;
    if fits { Ok(true) } else { Err(head::bad("the only upgrade that is known is a WebSocket")) }
}

/// What the box says about the connection and about itself stays here.
pub(crate) fn clean_request(headers: &mut HeaderMap, socket: bool) {
    // gRPC asks for it, and it says nothing about the connection but that.
    let trailers =
        headers.get("te").is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    strip(headers, &NEVER_OUT);
    if trailers {
        headers.insert("te", HeaderValue::from_static("trailers"));
    }
    if socket {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.remove(EXTENSIONS);
    }
}

/// What the upstream says to whoever holds the credential does not reach the box.
pub(super) fn clean_answer(headers: &mut HeaderMap, hide: bool) {
    strip(headers, &NEVER_BACK);
    if hide {
        NEVER_IN.iter().for_each(|name| drop(headers.remove(*name)));
    }
}

/// Whether pieces of this answer may be far apart.
pub(super) fn streams(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let stream =
        |known: &[u8]| kind.get(..known.len()).is_some_and(|k| k.eq_ignore_ascii_case(known));
    stream(b"text/event-stream") || stream(b"application/grpc") || stream(b"application/x-ndjson")
}
