//! P21, P22, P31, P33 in HTTP/2: the same walls, and what only this protocol can do to them.

use crate::cases_world::*;
use crate::kit::{agent, soon};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use hyper::{HeaderMap, Request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio_rustls::client::TlsStream;

/// What an attack may leave behind in the vault's memory, in KiB: buffers that an allocator keeps.
const GROWTH: u64 = 24 << 10;

fn frames(pieces: &[&str], last: Option<(&'static str, &str)>) -> Frames {
    let mut all: Vec<_> =
        pieces.iter().map(|piece| Frame::data(Bytes::copy_from_slice(piece.as_bytes()))).collect();
    if let Some((name, value)) = last {
        let mut trailers = HeaderMap::new();
        trailers.insert(name, value.parse().unwrap());
        all.push(Frame::trailers(trailers));
    }
    Frames(all.into())
}

/// Status and everything that came, or the status 0 when the stream was reset.
async fn ask(world: &World, host: &str, request: Request<Frames>) -> (u16, String) {
    let mut sender = world.h2(host).await;
    let Ok(answer) = soon(sender.send_request(request)).await else { return (0, String::new()) };
    let (parts, body) = answer.into_parts();
    let mut text = format!("{:?}\n", parts.headers);
    if let Ok(body) = soon(body.collect()).await {
        text += &format!("{:?}\n", body.trailers());
        text += &String::from_utf8_lossy(&body.to_bytes());
    }
    world.told(text.as_bytes());
    (parts.status.as_u16(), text)
}

fn post(world: &World, host: &str, body: Frames) -> Request<Frames> {
    let uri = format!("https://{}/", world.place(host));
    Request::post(uri).body(body).unwrap()
}

#[tokio::test]
async fn p31_both_legs_speak_it_and_the_walls_are_the_same() {
    for alpn in [&[&b"h2"[..]][..], &[&b"http/1.1"[..]]] {
        let world = World::speaking("mode = \"open\"", alpn).await;
        let bearer = format!("Bearer {}", world.dummy);
        let mut request = post(&world, GOOD, frames(&["1111", "2222"], None));
        request.headers_mut().insert("authorization", bearer.parse().unwrap());
        let (status, text) = ask(&world, GOOD, request).await;
        assert!(status == 200 && text.contains("1111") && text.contains("2222"), "{status} {text}");
        // The server's trailer says the credential again.
        assert!(text.contains(&world.dummy) && !text.contains(CANARY), "{text}");
        let got = world.server.seen().pop().unwrap();
        assert_eq!(got.header("authorization"), Some(format!("Bearer {CANARY}")));
        let version = if alpn[0] == b"h2" { "HTTP/2.0" } else { "HTTP/1.1" };
        assert!(got.text().lines().next().unwrap().ends_with(version), "{}", got.text());
        let (one, two) = world.dummy.split_at(9);
        for (body, name) in [
            (frames(&[&world.dummy], None), "whole"),
            (frames(&["a", one, "", two, "z"], None), "in two frames"),
            (frames(&["a"], Some(("x-any", &world.dummy))), "in a trailer"),
        ] {
            let (status, text) = ask(&world, EVIL, post(&world, EVIL, body)).await;
            assert!(status == 403 && text.contains("placeholder_leak"), "{name}: {status} {text}");
        }
        let mut elsewhere = post(&world, EVIL, frames(&[], None));
        elsewhere.headers_mut().insert("authorization", bearer.parse().unwrap());
        let (status, text) = ask(&world, GOOD, elsewhere).await;
        assert!(status == 421, "{status} {text}");
        let mut two_hosts = post(&world, GOOD, frames(&[], None));
        two_hosts.headers_mut().insert("host", world.place(EVIL).parse().unwrap());
        let (status, text) = ask(&world, GOOD, two_hosts).await;
        assert!(matches!(status, 421 | 400 | 0), "{status} {text}");
        let seen = world.server.seen();
        assert!(seen.iter().all(|got| find(&got.bytes, world.dummy.as_bytes()).is_none()));
        assert!(seen.iter().all(|got| got.sni == GOOD || !got.text().contains("CANARY")));
        world.end().await;
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header as it is, kept in no table.
fn literal(first: u8, name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![first];
    for text in [name, value] {
        // Lengths below 127 are a byte, above it seven bits at a time.
        let mut rest = text.len();
        if rest < 127 {
            out.push(rest as u8);
        } else {
            out.push(127);
            rest -= 127;
            while rest > 127 {
                out.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            out.push(rest as u8);
        }
        out.extend(text.as_bytes());
    }
    out
}

fn head(authority: &str) -> Vec<u8> {
    let pairs =
        [(":method", "POST"), (":scheme", "https"), (":authority", authority), (":path", "/")];
    pairs.iter().flat_map(|(name, value)| literal(0, name, value)).collect()
}

/// A connection of the attacker, and everything that it was told.
struct Attack {
    io: TlsStream<UnixStream>,
    place: String,
}

impl Attack {
    async fn new(world: &World, settings: &[u8]) -> Self {
        let mut io = world.h2_of(&world.grant, GOOD).await;
        let hello = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, settings)];
        io.write_all(&hello.concat()).await.unwrap();
        Self { io, place: world.place(GOOD) }
    }

    /// Says all of it and hears whatever comes; whether the vault ended the connection.
    async fn says(&mut self, frames: impl Iterator<Item = Vec<u8>>) -> bool {
        let (mut read, mut write) = tokio::io::split(&mut self.io);
        let saying = async {
            for frame in frames {
                if write.write_all(&frame).await.is_err() {
                    return;
                }
            }
            drop(write.flush().await);
            // What follows everything else: it is answered when all of it was looked at.
            drop(write.write_all(&frame(PING, 0, 0, b"the last")).await);
            drop(write.flush().await);
        };
        let hearing = async {
            let mut got = Vec::new();
            loop {
                match read.read_buf(&mut got).await {
                    Ok(n) if n > 0 => {}
                    _ => return true,
                }
                while let Some(length) = got.get(..3) {
                    let length = usize::from(length[0]) << 16
                        | usize::from(length[1]) << 8
                        | usize::from(length[2]);
                    let Some(one) = got.get(..9 + length) else { break };
                    if one[3] == GOAWAY {
                        return true;
                    }
                    if one[3] == PING && one[4] == 1 && &one[9..] == b"the last" {
                        return false;
                    }
                    drop(got.drain(..9 + length));
                }
            }
        };
        soon(async { tokio::join!(saying, hearing).1 }).await
    }

    fn open(&self, stream: u32, flags: u8) -> Vec<u8> {
        frame(HEADERS, flags, stream, &head(&self.place))
    }
}

fn streams(n: u32) -> impl Iterator<Item = u32> {
    (0..n).map(|at| 2 * at + 1)
}

/// Everything is as it was before the attack.
async fn unharmed(world: World, before: u64) {
    world.serves_others().await;
    let after = world.memory().await;
    assert!(after < before + GROWTH, "{before} KiB grew to {after}");
    world.end().await;
}

#[tokio::test]
async fn p31_a_bomb_of_headers_is_refused_while_it_is_small() {
    let world = World::open().await;
    world.serves_others().await;
    let before = world.memory().await;
    let mut attack = Attack::new(&world, &[]).await;
    // 4,000 bytes in the table, then 12,000 times a single byte that stands for them.
    let big = [literal(0x40, "x-big", &"b".repeat(3900)), vec![0xbe; 12_000]].concat();
    let bomb = [head(&attack.place), big].concat();
    let ends = END_HEADERS | END_STREAM;
    let all: Vec<_> = streams(50).map(|stream| frame(HEADERS, ends, stream, &bomb)).collect();
    attack.says(all.into_iter()).await;
    assert!(world.server.seen().iter().all(|got| got.header("x-big").is_none()));
    unharmed(world, before).await;
}

#[tokio::test]
async fn p31_ten_thousand_streams_are_too_many() {
    let world = World::open().await;
    world.serves_others().await;
    let before = world.memory().await;
    let mut attack = Attack::new(&world, &[]).await;
    let all: Vec<_> = streams(10_000).map(|stream| attack.open(stream, END_HEADERS)).collect();
    assert!(attack.says(all.into_iter()).await, "the connection goes on");
    unharmed(world, before).await;
}

#[tokio::test]
async fn p31_who_opens_and_resets_at_once_is_cut_off() {
    let world = World::open().await;
    world.serves_others().await;
    let before = world.memory().await;
    let mut attack = Attack::new(&world, &[]).await;
    let one = |stream| {
        let reset = frame(RESET, 0, stream, &8_u32.to_be_bytes());
        [attack.open(stream, END_HEADERS | END_STREAM), reset].concat()
    };
    let all: Vec<_> = streams(10_000).map(one).collect();
    assert!(attack.says(all.into_iter()).await, "the connection goes on");
    assert!(world.server.seen().len() < 500, "{} went on", world.server.seen().len());
    unharmed(world, before).await;
}

#[tokio::test]
async fn p31_headers_that_never_end_are_cut_off() {
    let world = World::open().await;
    world.serves_others().await;
    let before = world.memory().await;
    let mut attack = Attack::new(&world, &[]).await;
    let first = frame(HEADERS, END_STREAM, 1, &head(&attack.place));
    let more = frame(CONTINUATION, 0, 1, &literal(0, "x-more", &"m".repeat(8000)));
    let all = std::iter::once(first).chain(std::iter::repeat_n(more, 10_000));
    assert!(attack.says(all).await, "the connection goes on");
    assert!(world.server.seen().iter().all(|got| got.header("x-more").is_none()));
    unharmed(world, before).await;
}

#[tokio::test]
async fn p31_small_frames_without_end_harm_nobody() {
    let world = World::open().await;
    world.serves_others().await;
    let before = world.memory().await;
    let mut attack = Attack::new(&world, &[]).await;
    let (open, place) = (attack.open(1, END_HEADERS), attack.place.clone());
    let flood = [
        frame(PING, 0, 0, b"12345678"),
        frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]),
        frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 7]),
        frame(DATA, 0, 1, b""),
        frame(WINDOW, 0, 1, &1_u32.to_be_bytes()),
    ]
    .concat();
    let all = std::iter::once(open).chain(std::iter::repeat_n(flood, 20_000));
    attack.says(all).await;
    drop(attack);
    // A window that grows beyond what there is, a frame that is too long, a stream that nobody may open.
    for bad in [
        frame(WINDOW, 0, 0, &0x7fff_ffff_u32.to_be_bytes()),
        frame(DATA, 0, 1, &vec![0; 1 << 17]),
        frame(HEADERS, END_HEADERS, 2, &head(&place)),
        frame(HEADERS, END_HEADERS, 0, &head(&place)),
        frame(CONTINUATION, 0, 1, b""),
    ] {
        let mut attack = Attack::new(&world, &[]).await;
        assert!(attack.says(std::iter::once(bad)).await, "the connection goes on");
    }
    assert!(world.server.seen().len() < 20, "{}", world.server.seen().len());
    unharmed(world, before).await;
}

#[tokio::test]
async fn p31_who_takes_no_answer_holds_up_only_itself() {
    let world = World::open().await;
    world.serves_others().await;
    let before = world.memory().await;
    let big = vec![b'x'; 1 << 20];
    let mut held = Vec::new();
    for _ in 0..3 {
        // Nothing may be sent to it on any stream.
        let mut attack = Attack::new(&world, &[0, 4, 0, 0, 0, 0]).await;
        for _ in 0..64 {
            world.server.answers("", &big);
        }
        let ends = END_HEADERS | END_STREAM;
        let all: Vec<_> = streams(64).map(|stream| attack.open(stream, ends)).collect();
        attack.says(all.into_iter()).await;
        held.push(attack);
    }
    world.serves_others_while(before + 2 * GROWTH).await;
    drop(held);
    // The places come back with the connections.
    let answer = world.get(GOOD, "/", "connection: close\r\n").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    world.end().await;
}

#[tokio::test]
async fn p31_more_requests_than_may_wait_are_told_so() {
    let world = World::open().await;
    let mut held = Vec::new();
    // Each connection has 64 requests that end nowhere: 64 go on, 256 wait, the rest is too much.
    for _ in 0..7 {
        let mut attack = Attack::new(&world, &[]).await;
        let all: Vec<_> = streams(64).map(|stream| attack.open(stream, END_HEADERS)).collect();
        attack.says(all.into_iter()).await;
        held.push(attack);
    }
    let seen = world.server.connections();
    assert!(seen <= 64, "{seen} at once");
    world.notes("too_many_requests").await;
    let answer = world.get(GOOD, "/", "").await;
    answer.is(429, "too_many_requests");
    let other = soon(world.supervisor.open("s2", &agent("agent-2"))).await.unwrap();
    let mut tls = world.inside_of(&other, GOOD).await;
    assert_eq!(world.say(&mut tls, &world.head(GOOD, "GET /", "")).await.status, 200);
    drop(held);
    world.end().await;
}
