use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use hyper::{HeaderMap, Response};
use std::collections::VecDeque;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

const SECRET: &str = "sk-ant-api03-CANARY/+\"\\~0123456789abcdefXYZ";
const DUMMY: &str = "sk-ant-api03-dummyd/+\"\\~9876543210fedcbaQRS";
const ELSE: &str = "ghp_AnotherAgentsDummy0123456789";

type Piece = Result<Frame<Bytes>, &'static str>;

/// A body in these pieces.
struct Pieces(VecDeque<Piece>);

impl Pieces {
    fn of(pieces: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let data = |p: &[u8]| Ok(Frame::data(Bytes::copy_from_slice(p)));
        Self(pieces.into_iter().map(|p| data(p.as_ref())).collect())
    }

    fn and(mut self, piece: Piece) -> Self {
        self.0.push_back(piece);
        self
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.0.pop_front().map(|piece| piece.map_err(BoxError::from)))
    }
}

/// Everything that comes out, piece by piece, and the error it ends with.
async fn drained<B>(mut body: B) -> (Vec<Bytes>, Option<HeaderMap>, Option<Cut>)
where
    B: Body<Data = Bytes, Error = Cut> + Unpin,
{
    let (mut data, mut trailers) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(piece)) => data.push(piece),
            Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
            Err(e) => return (data, trailers, Some(e)),
        }
    }
    (data, trailers, None)
}

fn tripwire() -> Arc<Tripwire> {
    static TRIPWIRE: LazyLock<Arc<Tripwire>> = LazyLock::new(|| {
        let mark = |agent: &str, secret: &str| Mark { agent: agent.into(), secret: secret.into() };
        Arc::new(Tripwire::new([
            (DUMMY.to_owned(), mark("ours", "anthropic")),
            (ELSE.to_owned(), mark("theirs", "github")),
        ]))
    });
    Arc::clone(&TRIPWIRE)
}

fn scrub() -> Scrub {
    static NEEDLES: LazyLock<Arc<Needles>> =
        LazyLock::new(|| Arc::new(Needles::new([(SECRET.as_bytes(), DUMMY.as_bytes())])));
    Scrub::new(Arc::clone(&NEEDLES))
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

#[test]
fn a_placeholder_in_the_head_is_a_leak_wherever_it_stands() {
    let basic = format!("Basic {}", STANDARD.encode(format!("user:{DUMMY}")));
    let escaped: String = DUMMY.bytes().map(|b| format!("%{b:02X}")).collect();
    let cases = [
        (format!("/v1/{DUMMY}/x"), "", "", "target"),
        (format!("/?key={DUMMY}"), "", "", "target"),
        (format!("/?key={escaped}"), "", "", "target"),
        (DUMMY.to_ascii_lowercase(), "", "", "target"),
        ("/".into(), "x-api-key", DUMMY, "x-api-key"),
        ("/".into(), "cookie", &format!("a=b; c={DUMMY}; d"), "cookie"),
        ("/".into(), "authorization", &format!("Bearer {DUMMY}"), "authorization"),
        ("/".into(), "authorization", &basic, "authorization"),
    ];
    for (target, name, value, place) in cases {
        let head = if name.is_empty() { HeaderMap::new() } else { headers(&[(name, value)]) };
        let leak = tripwire().head(&target, &head).unwrap_err();
        assert_eq!(
            (leak.place.as_str(), leak.mark.agent.as_str()),
            (place, "ours"),
            "{target} {value}"
        );
        assert!(!leak.to_string().contains("dummyd"), "{leak}");
    }
    let fine = headers(&[("authorization", "Bearer something-else"), ("x", "Basic !!!")]);
    assert_eq!(tripwire().head("/v1/messages?beta=true&x=%zz%4", &fine), Ok(()));
    assert_eq!(Tripwire::new([]).head(DUMMY, &fine), Ok(()));
}

#[test]
fn a_placeholder_of_another_agent_says_whose_it_is() {
    let leak = tripwire().head("/", &headers(&[("x", ELSE)])).unwrap_err();
    assert_eq!(leak.mark, Mark { agent: "theirs".into(), secret: "github".into() });
}

#[tokio::test]
async fn a_placeholder_in_a_body_is_seen_however_it_is_cut_and_never_let_through() {
    let json = format!(r#"{{"text":"{ELSE}"}}"#);
    let form = format!("a=1&token={ELSE}");
    let multipart =
        format!("--x\r\ncontent-disposition: form-data; name=\"f\"\r\n\r\n{ELSE}\r\n--x--");
    for body in [json, form, multipart, ELSE.to_owned()] {
        for cut in 0..=body.len() {
            let (a, b) = body.split_at(cut);
            let (data, _, end) = drained(Guarded::new(Pieces::of([a, b]), tripwire())).await;
            assert!(matches!(end, Some(Cut::Leak(_))), "{cut}: {end:?}");
            let sent = String::from_utf8(data.concat()).unwrap();
            assert!(!sent.contains(ELSE) && body.starts_with(&sent), "{sent}");
        }
        let bytes = body.bytes().map(|b| [b]);
        let (_, _, end) = drained(Guarded::new(Pieces::of(bytes), tripwire())).await;
        assert!(matches!(end, Some(Cut::Leak(_))), "{end:?}");
    }
}

#[tokio::test]
async fn a_body_without_a_placeholder_arrives_as_it_was_with_its_trailers() {
    let almost = &ELSE[..ELSE.len() - 1];
    let trailers = headers(&[("x-sum", "1")]);
    let body = Pieces::of(["a", almost]).and(Ok(Frame::trailers(trailers.clone())));
    let (data, got, end) = drained(Guarded::new(body, tripwire())).await;
    assert_eq!((data.concat(), got), ([b"a", almost.as_bytes()].concat(), Some(trailers)));
    assert!(end.is_none());
    let leaking = Pieces::of(["a"]).and(Ok(Frame::trailers(headers(&[("x", ELSE)]))));
    let (_, got, end) = drained(Guarded::new(leaking, tripwire())).await;
    assert!(got.is_none() && matches!(end, Some(Cut::Leak(leak)) if leak.place == "trailers"));
}

#[test]
fn a_packed_request_cannot_be_searched() {
    for coding in ["gzip", "br", "deflate", "zstd", "identity, gzip", "x"] {
        assert!(!scannable(&headers(&[("content-encoding", coding)])), "{coding}");
    }
    assert!(scannable(&headers(&[("content-encoding", " Identity")])));
    assert!(scannable(&HeaderMap::new()));
}

/// The secret as an upstream may write it.
fn reflections() -> Vec<(&'static str, Vec<u8>)> {
    let text = |name, text: String| (name, text.into_bytes());
    let json = serde_json::json!({ "echo": SECRET }).to_string();
    let mut all = vec![
        text("plain", format!("<p>{SECRET}</p>")),
        text("json", json.clone()),
        text("json with \\/", json.replace('/', "\\/")),
        text("hex", SECRET.bytes().map(|b| format!("{b:02x}")).collect()),
        text("HEX", SECRET.bytes().map(|b| format!("{b:02X}")).collect()),
        text("twice", format!("{SECRET}{SECRET}")),
        text("overlapping", format!("sk-ant-{SECRET}-api03-{SECRET}")),
        text("sse", format!("event: x\ndata: {SECRET}\n\n")),
    ];
    for (at, before) in ["", "a", "ab", "abc"].iter().enumerate() {
        let name = ["base64 0", "base64 1", "base64 2", "base64 3"][at];
        let padded = format!("{before}{SECRET}!");
        all.push(text(name, STANDARD.encode(&padded)));
        all.push(text(name, base64::engine::general_purpose::URL_SAFE.encode(&padded)));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let url = |b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    let small = |b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02x}") };
    all.push(text(
        "url",
        format!("https://x/?a={}&b=", SECRET.bytes().map(url).collect::<String>()),
    ));
    all.push(text("url, small", SECRET.bytes().map(small).collect()));
    all
}

/// Nothing from which the secret can be read: none of its letters that the dummy does not have.
fn shows_secret(text: &[u8]) -> bool {
    static FORMS: LazyLock<Vec<forms::Pair>> =
        LazyLock::new(|| forms::all(SECRET.as_bytes(), DUMMY.as_bytes()));
    FORMS.iter().any(|(form, _)| text.windows(form.len()).any(|window| window == form.as_slice()))
}

#[tokio::test]
async fn a_reflected_secret_comes_back_as_its_placeholder_in_every_writing_and_cut() {
    for (name, body) in reflections() {
        assert!(shows_secret(&body), "{name} is a reflection");
        for cut in 0..=body.len() {
            let scrub = scrub();
            let (a, b) = body.split_at(cut);
            let answer = scrub.answer(Response::new(Pieces::of([a, b]))).unwrap();
            let (data, _, end) = drained(answer.into_body()).await;
            let came = data.concat();
            assert!(end.is_none() && came.len() == body.len(), "{name} {cut}");
            assert!(!shows_secret(&came), "{name} {cut}: {}", String::from_utf8_lossy(&came));
            assert!(scrub.finds() > 0, "{name} {cut}");
        }
        let bytes = body.iter().map(|b| [*b]);
        let answer = scrub().answer(Response::new(Pieces::of(bytes))).unwrap();
        let (data, _, _) = drained(answer.into_body()).await;
        assert!(!shows_secret(&data.concat()), "{name}, byte by byte");
    }
    let answer = scrub().answer(Response::new(Pieces::of([format!("x {SECRET} y")]))).unwrap();
    let (data, _, _) = drained(answer.into_body()).await;
    assert_eq!(data.concat(), format!("x {DUMMY} y").as_bytes());
}

#[tokio::test]
async fn a_secret_in_headers_and_trailers_is_replaced_too() {
    let scrub = scrub();
    let mut answer = Response::new(
        Pieces::of(["ok"]).and(Ok(Frame::trailers(headers(&[("x-token", "ab sk-no")])))),
    );
    let url = "https://evil.example/?k=sk-ant-api03-CANARY%2F%2B%22%5C~0123456789abcdefXYZ";
    *answer.headers_mut() = headers(&[("location", url), ("refresh", &format!("0;url={url}"))]);
    let secret = SECRET.parse().unwrap();
    answer.headers_mut().insert("x-echo", secret);
    let answer = scrub.answer(answer).unwrap();
    assert_eq!(answer.headers()["x-echo"], DUMMY);
    assert_eq!(
        answer.headers()["location"],
        url.replace("CANARY", "dummyd").replace("0123456789abcdefXYZ", "9876543210fedcbaQRS")
    );
    assert!(!answer.headers().values().any(|v| shows_secret(v.as_bytes())));
    assert_eq!(scrub.finds(), 3);
    let echoing = headers(&[("x-t", "a"), ("x-u", "b")]);
    let mut trailers = echoing.clone();
    trailers.insert("x-t", SECRET.parse().unwrap());
    let body = Pieces::of(["ok"]).and(Ok(Frame::trailers(trailers)));
    let (_, got, _) = drained(scrub.answer(Response::new(body)).unwrap().into_body()).await;
    assert_eq!(got.unwrap()["x-t"], DUMMY);
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut to = GzEncoder::new(Vec::new(), Compression::default());
    to.write_all(data).unwrap();
    to.finish().unwrap()
}

fn zlib(data: &[u8]) -> Vec<u8> {
    let mut to = ZlibEncoder::new(Vec::new(), Compression::default());
    to.write_all(data).unwrap();
    to.finish().unwrap()
}

fn bare(data: &[u8]) -> Vec<u8> {
    let mut to = DeflateEncoder::new(Vec::new(), Compression::default());
    to.write_all(data).unwrap();
    to.finish().unwrap()
}

/// Brotli without compression (RFC 7932, 9.2): a window of 64 KiB, one block as it is, an empty last one.
fn brotli(data: &[u8]) -> Vec<u8> {
    let head = (data.len() as u32 - 1) << 4 | 1 << 20;
    [&head.to_le_bytes()[..3], data, &[3]].concat()
}

fn packed(coding: &str, body: &[u8], cut: usize) -> Response<Pieces> {
    let (a, b) = body.split_at(cut.min(body.len()));
    let mut answer = Response::new(Pieces::of([a, b]));
    *answer.headers_mut() = headers(&[("content-encoding", coding), ("content-length", "9")]);
    answer
}

#[tokio::test]
async fn a_packed_answer_is_unpacked_searched_and_sent_plain() {
    let text = format!("{{\"echo\":\"{SECRET}\"}}").repeat(3);
    let expected = text.replace(SECRET, DUMMY);
    let text = text.as_bytes();
    let codings: [(&str, Vec<u8>); 5] = [
        ("gzip", gzip(text)),
        ("GZIP", [gzip(&text[..70]), gzip(&text[70..])].concat()),
        ("deflate", zlib(text)),
        ("deflate", bare(text)),
        ("br", brotli(text)),
    ];
    for (coding, body) in codings {
        for cut in 0..=body.len() {
            let scrub = scrub();
            let answer = scrub.answer(packed(coding, &body, cut)).unwrap();
            assert!(!answer.headers().contains_key(CONTENT_ENCODING));
            assert!(!answer.headers().contains_key(CONTENT_LENGTH));
            let (data, _, end) = drained(answer.into_body()).await;
            assert!(end.is_none(), "{coding} {cut}: {end:?}");
            assert_eq!(String::from_utf8(data.concat()).unwrap(), expected, "{coding} {cut}");
        }
    }
    let (data, _, end) = drained(scrub().answer(packed("gzip", b"", 0)).unwrap().into_body()).await;
    assert!(data.is_empty() && end.is_none(), "an answer to HEAD");
}

#[tokio::test]
async fn what_cannot_be_searched_is_cut() {
    for coding in ["zstd", "compress", "gzip, gzip", "aes128gcm"] {
        let refused = scrub().answer(packed(coding, b"x", 0)).err();
        assert!(matches!(refused, Some(Cut::Coding(_))), "{coding}");
    }
    let mut twice = packed("gzip", b"x", 0);
    twice.headers_mut().append(CONTENT_ENCODING, "br".parse().unwrap());
    assert!(scrub().answer(twice).is_err());
    let text = [b"harmless ".repeat(20), SECRET.into()].concat();
    let broken = |name: &'static str, body: Vec<u8>| (name, body);
    let codings = [
        broken("gzip", gzip(&text)),
        broken("deflate", zlib(&text)),
        broken("deflate", bare(&text)),
        broken("br", brotli(&text)),
    ];
    for (coding, body) in codings {
        for length in 1..body.len() {
            let answer = scrub().answer(packed(coding, &body[..length], 7)).unwrap();
            let (data, _, end) = drained(answer.into_body()).await;
            assert!(matches!(end, Some(Cut::Broken(_))), "{coding} {length}: {end:?}");
            assert!(!shows_secret(&data.concat()), "{coding} {length}");
        }
        let junk = scrub().answer(packed(coding, b"\x9fnot packed at all, really", 3)).unwrap();
        assert!(drained(junk.into_body()).await.2.is_some(), "{coding}");
    }
}

#[tokio::test]
async fn an_error_in_the_middle_of_a_find_lets_nothing_of_it_through() {
    let half = &SECRET[..SECRET.len() - 1];
    for first in [vec![half], vec!["text ", half], vec!["text", half, ""]] {
        let body = Pieces::of(first).and(Err("reset"));
        let (data, _, end) =
            drained(scrub().answer(Response::new(body)).unwrap().into_body()).await;
        assert!(matches!(end, Some(Cut::Sender(_))));
        let came = String::from_utf8(data.concat()).unwrap();
        assert!(!came.contains("sk-"), "{came}");
    }
    let body = Pieces::of([SECRET]).and(Err("reset"));
    let (data, _, end) = drained(scrub().answer(Response::new(body)).unwrap().into_body()).await;
    assert_eq!((data.concat(), end.is_some()), (DUMMY.as_bytes().to_vec(), true));
}

#[tokio::test]
async fn a_bomb_is_cut_while_it_is_small() {
    let zeros = vec![0; 4 << 20];
    for (coding, body) in [("gzip", gzip(&zeros)), ("deflate", zlib(&zeros))] {
        let answer = scrub().answer(packed(coding, &body, body.len())).unwrap();
        let (data, _, end) = drained(answer.into_body()).await;
        assert!(matches!(end, Some(Cut::Bomb)), "{end:?}");
        let most = (body.len() as u64 * unpack::RATIO_MAX).max(1 << 20);
        assert!(data.iter().map(|d| d.len() as u64).sum::<u64>() <= most);
    }
}

#[tokio::test]
async fn an_event_is_never_held_back() {
    let events: Vec<String> =
        (0..1000).map(|n| format!("event: s\ndata: {{\"n\":{n}}}\n\n")).collect();
    let scrub = scrub();
    let mut body = scrub.answer(Response::new(Pieces::of(&events))).unwrap().into_body();
    for event in &events {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(frame, event.as_bytes());
    }
    assert!(body.frame().await.is_none());
    // Packed events come out one by one too.
    let mut to = GzEncoder::new(Vec::new(), Compression::default());
    let mut pieces = VecDeque::new();
    for event in &events[..50] {
        to.write_all(event.as_bytes()).unwrap();
        to.flush().unwrap();
        pieces.push_back(Ok(Frame::data(Bytes::from(std::mem::take(to.get_mut())))));
    }
    let mut answer = Response::new(Pieces(pieces));
    *answer.headers_mut() = headers(&[("content-encoding", "gzip")]);
    let mut body = scrub.answer(answer).unwrap().into_body();
    for event in &events[..50] {
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), event.as_bytes());
    }
}
