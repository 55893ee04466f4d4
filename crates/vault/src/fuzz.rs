//! What holds for any bytes: tried by the fuzzer and, a little, by the tests. No part of an ordinary build.

mod control;
mod hello;
mod requests;

use crate::scan::{Mark, Needles, Scrub, Tripwire, Watch};
use crate::ws::{self, fuzz::heard};
use bytes::Bytes;
use rustls::{ClientConfig, RootCertStore};
use std::sync::{Arc, LazyLock};
use tokio::io::AsyncWriteExt as _;
use tokio::runtime::{Builder, Runtime};

pub use crate::approvals::fuzz::events;
pub use crate::meter::fuzz::answer;
pub use crate::ws::fuzz::messages;
pub use control::control;
pub use hello::hello;
pub use requests::requests;

#[cfg(test)]
mod tests;

const SECRET: &str = "sk-CANARY/+0123456789";
const DUMMY: &str = "sk-dummyd/+9876543210";
/// What a mark in the input stands for: the secret as it is, in hex, in base64 at two places.
const WRITINGS: [&str; 4] = [
    SECRET,
    "736b2d43414e4152592f2b30313233343536373839",
    "c2stQ0FOQVJZLyswMTIzNDU2Nzg5",
    "YXNrLUNBTkFSWS8rMDEyMzQ1Njc4OQ",
];

static NEEDLES: LazyLock<Arc<Needles>> =
    LazyLock::new(|| Arc::new(Needles::new([(SECRET.as_bytes(), DUMMY.as_bytes())])));
static TRIPWIRE: LazyLock<Arc<Tripwire>> = LazyLock::new(|| {
    let mark = Mark { agent: "a".to_owned(), secret: "s".to_owned() };
    Arc::new(Tripwire::new([(DUMMY.to_owned(), mark)]))
});

#[expect(clippy::expect_used, reason = "without it there is nothing to try")]
pub(crate) static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a runtime"));

/// A client that trusts nobody.
#[expect(clippy::expect_used, reason = "without it there is nothing to try")]
static TLS: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions of TLS").with_root_certificates(RootCertStore::empty());
    Arc::new(config.with_no_client_auth())
});

pub(crate) fn scrub() -> Scrub {
    Scrub::new(Arc::clone(&NEEDLES))
}

pub(crate) fn tripwire() -> Arc<Tripwire> {
    Arc::clone(&TRIPWIRE)
}

/// A text in which 0xff and the byte after it stand for a secret or a part of one, and where it is cut.
pub(crate) fn text(data: &[u8]) -> (Vec<Bytes>, Bytes) {
    let (mut text, mut cuts) = (Vec::new(), Vec::new());
    let mut bytes = data.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            0xff => {
                let which = bytes.next().copied().unwrap_or_default();
                let writing = if which & 8 == 0 { WRITINGS[usize::from(which % 4)] } else { DUMMY };
                let length = writing.len() - usize::from(which >> 4) % writing.len();
                text.extend_from_slice(&writing.as_bytes()[..length]);
            }
            0xfe => {
                let back = usize::from(bytes.next().copied().unwrap_or_default());
                cuts.push(text.len() - text.len().min(back));
            }
            other => text.push(*other),
        }
    }
    cuts.sort_unstable();
    let whole = Bytes::from(text);
    let (mut pieces, mut from) = (Vec::new(), 0);
    for to in cuts.into_iter().chain([whole.len()]) {
        pieces.push(whole.slice(from..to));
        from = to;
    }
    (pieces, whole)
}

fn shows(text: &[u8], what: &str) -> bool {
    text.windows(what.len()).any(|window| window == what.as_bytes())
}

/// A search finds the same however the text is cut, and never lets a find through.
pub fn scanner(data: &[u8]) {
    let (pieces, whole) = text(data);
    let run = |pieces: &[Bytes]| {
        let mut window = scrub().window();
        let mut out: Vec<Bytes> = pieces.iter().map(|p| window.push(p.clone())).collect();
        out.push(window.finish());
        (out.concat(), window.finds)
    };
    let (once, many) = (run(std::slice::from_ref(&whole)), run(&pieces));
    assert_eq!(once, many, "cut or not, it is the same");
    assert_eq!(once.0.len(), whole.len(), "the length stays");
    assert!(WRITINGS.iter().all(|writing| !shows(&once.0, writing)), "a secret came through");
    let watch = |pieces: &[Bytes]| {
        let mut watch = Watch::new(tripwire());
        let mut out = Vec::new();
        for piece in pieces {
            out.extend_from_slice(&watch.push(piece.clone()).map_err(|_| out.clone())?);
        }
        out.extend_from_slice(&watch.finish());
        Ok::<_, Vec<u8>>(out)
    };
    match (watch(std::slice::from_ref(&whole)), watch(&pieces)) {
        (Ok(once), Ok(many)) => assert!(once == many && once == whole, "nothing is lost"),
        (Err(_), Err(sent)) => assert!(!shows(&sent, DUMMY), "a placeholder came through"),
        (once, many) => assert_eq!(once, many, "found in one cut only"),
    }
}

/// What a box and an upstream send once a WebSocket is open: it ends, and no secret and no placeholder gets over.
pub fn frames(data: &[u8]) {
    let (from_box, from_upstream) = data.split_at(data.len() / 2);
    RUNTIME.block_on(async {
        let (mut client, inner) = tokio::io::duplex(1 << 20);
        let (mut server, outer) = tokio::io::duplex(1 << 20);
        let relay = ws::relay(inner, outer, tripwire(), scrub());
        let ends = async {
            let (a, b) = (text(from_box).1, text(from_upstream).1);
            drop(tokio::join!(client.write_all(&a), server.write_all(&b)));
            drop(tokio::join!(client.shutdown(), server.shutdown()));
            let heard = tokio::join!(heard(&mut client, false), heard(&mut server, true));
            assert!(heard.0.iter().all(|(_, text)| !shows(text, SECRET)), "a secret came back");
            assert!(heard.1.iter().all(|(_, text)| !shows(text, DUMMY)), "a placeholder went out");
        };
        tokio::join!(relay, ends);
    });
}
