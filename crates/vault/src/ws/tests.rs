use super::*;
use crate::scan::{Mark, Needles};
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;

const SECRET: &str = "sk-CANARY/+0123456789";
const DUMMY: &str = "sk-dummyd/+9876543210";
const FIN: u8 = 0x80;
const KEY: [u8; 4] = [1, 2, 3, 4];

/// The box's end, the upstream's end, and what becomes of the relay between them.
fn open() -> (DuplexStream, DuplexStream, JoinHandle<Ended>) {
    let (client, inner) = tokio::io::duplex(16 << 20);
    let (server, outer) = tokio::io::duplex(16 << 20);
    let mark = Mark { agent: "a".into(), secret: "s".into() };
    let tripwire = Arc::new(Tripwire::new([(DUMMY.to_owned(), mark)]));
    let scrub = Scrub::new(Arc::new(Needles::new([(SECRET.as_bytes(), DUMMY.as_bytes())])));
    (client, server, tokio::spawn(relay(inner, outer, tripwire, scrub)))
}

async fn say(to: &mut DuplexStream, masked: bool, first: u8, text: impl AsRef<[u8]>) {
    let data = Bytes::copy_from_slice(text.as_ref());
    let (last, kind) = (first & FIN != 0, first & !FIN);
    let sent = send(to, masked, Head { last, kind, length: 0, key: KEY }, data).await;
    assert!(sent.is_ok());
}

/// One frame: whether it is the last of its message, its kind, its payload.
async fn hear(from: &mut DuplexStream, masked: bool) -> (bool, u8, String) {
    let Ok(head) = head(from, masked).await else { panic!("no frame") };
    let data = piece(from, head.length).await.unwrap();
    (head.last, head.kind, String::from_utf8_lossy(&unmask(data, head.key, 0)).into_owned())
}

/// The code that an end is told; nothing may follow it.
async fn code(from: &mut DuplexStream, masked: bool) -> u16 {
    loop {
        let Ok(head) = head(from, masked).await else { panic!("no close") };
        let data = unmask(piece(from, head.length).await.unwrap(), head.key, 0);
        if head.kind == CLOSE {
            assert_eq!(from.read(&mut [0]).await.unwrap(), 0, "nothing follows");
            return u16::from_be_bytes([data[0], data[1]]);
        }
    }
}

#[tokio::test]
async fn messages_control_frames_and_the_close_go_both_ways() {
    let (mut client, mut server, relay) = open();
    say(&mut client, true, FIN | TEXT, "hello").await;
    assert_eq!(hear(&mut server, true).await, (true, TEXT, "hello".into()));
    say(&mut client, true, BINARY, "ab").await;
    say(&mut client, true, FIN | PING, "p").await;
    say(&mut client, true, FIN | CONTINUATION, "cd").await;
    assert_eq!(hear(&mut server, true).await, (false, BINARY, "ab".into()));
    assert_eq!(hear(&mut server, true).await, (true, PING, "p".into()));
    assert_eq!(hear(&mut server, true).await, (true, CONTINUATION, "cd".into()));
    say(&mut server, false, FIN | PONG, "p").await;
    say(&mut server, false, FIN | TEXT, "").await;
    assert_eq!(hear(&mut client, false).await, (true, PONG, "p".into()));
    assert_eq!(hear(&mut client, false).await, (true, TEXT, String::new()));
    say(&mut client, true, FIN | CLOSE, b"\x03\xe8bye").await;
    assert_eq!(hear(&mut server, true).await.1, CLOSE);
    say(&mut server, false, FIN | CLOSE, b"\x03\xe8").await;
    assert_eq!(hear(&mut client, false).await.1, CLOSE);
    assert_eq!(relay.await.unwrap(), Ended { up: 9, ..Ended::default() });
}

#[tokio::test]
async fn a_placeholder_in_any_frame_closes_with_1008_and_does_not_get_over() {
    for cut in 0..=DUMMY.len() {
        for kind in [TEXT, BINARY] {
            let (mut client, mut server, relay) = open();
            let (a, b) = DUMMY.split_at(cut);
            say(&mut client, true, kind, format!("x{a}")).await;
            say(&mut client, true, FIN | CONTINUATION, b).await;
            assert_eq!(code(&mut client, false).await, 1008);
            let mut out = Vec::new();
            server.read_to_end(&mut out).await.unwrap();
            let ended = relay.await.unwrap();
            assert_eq!((ended.code, ended.leak.unwrap().mark.secret), (Some(1008), "s".into()));
            assert!(out.len() < DUMMY.len() + 20);
        }
    }
    let (mut client, _server, relay) = open();
    say(&mut client, true, FIN | PING, DUMMY).await;
    assert_eq!(code(&mut client, false).await, 1008);
    assert!(relay.await.unwrap().leak.is_some());
}

#[tokio::test]
async fn a_secret_comes_back_as_its_placeholder_however_the_message_is_cut() {
    for cut in 0..=SECRET.len() {
        let (mut client, mut server, _relay) = open();
        let (a, b) = SECRET.split_at(cut);
        say(&mut server, false, TEXT, format!("<{a}")).await;
        say(&mut server, false, FIN | CONTINUATION, format!("{b}>")).await;
        let (mut text, mut kinds) = (String::new(), Vec::new());
        loop {
            let (last, kind, part) = hear(&mut client, false).await;
            text.push_str(&part);
            kinds.push(kind);
            if last {
                break;
            }
        }
        assert_eq!((text, kinds[0]), (format!("<{DUMMY}>"), TEXT), "{cut}");
        assert!(kinds[1..].iter().all(|kind| *kind == CONTINUATION));
        say(&mut server, false, FIN | CLOSE, [b"\x03\xe8", SECRET.as_bytes()].concat()).await;
        assert!(hear(&mut client, false).await.2.ends_with(DUMMY));
    }
}

#[tokio::test]
async fn a_text_of_more_than_4_mib_closes_with_1009_and_binary_of_that_size_passes() {
    let (mut client, mut server, relay) = open();
    say(&mut client, true, FIN | BINARY, vec![7; 5 << 20]).await;
    let mut size = 0;
    loop {
        let (last, _, part) = hear(&mut server, true).await;
        size += part.len();
        if last {
            break;
        }
    }
    assert_eq!(size, 5 << 20);
    say(&mut client, true, TEXT, vec![b'a'; 3 << 20]).await;
    say(&mut client, true, FIN | CONTINUATION, vec![b'a'; 2 << 20]).await;
    assert_eq!(code(&mut client, false).await, 1009);
    assert_eq!(code(&mut server, true).await, 1009);
    assert_eq!(relay.await.unwrap().code, Some(1009));
}

#[tokio::test]
async fn whoever_breaks_the_protocol_is_closed_with_1002() {
    let bad: [&[u8]; 7] = [
        b"\x81\x01a",                                        // not masked
        b"\xc1\x81\x00\x00\x00\x00a", // a reserved bit, as a compressed message has
        b"\x83\x80\x00\x00\x00\x00",  // no such kind
        b"\x80\x81\x00\x00\x00\x00a", // goes on with nothing
        b"\x09\x80\x00\x00\x00\x00",  // a ping in parts
        b"\x89\xfe\x00\x7e\x00\x00\x00\x00", // a ping that is too long
        b"\x01\x80\x00\x00\x00\x00\x01\x80\x00\x00\x00\x00", // a message in a message
    ];
    for frame in bad {
        let (mut client, mut server, relay) = open();
        client.write_all(frame).await.unwrap();
        assert_eq!(code(&mut client, false).await, 1002, "{frame:x?}");
        assert_eq!(code(&mut server, true).await, 1002);
        assert_eq!(relay.await.unwrap().code, Some(1002));
    }
    let (mut client, mut server, _relay) = open();
    server.write_all(b"\x81\x81\x00\x00\x00\x00a").await.unwrap();
    assert_eq!(code(&mut client, false).await, 1002, "an upstream does not mask");
}

#[tokio::test(start_paused = true)]
async fn who_answers_no_ping_is_closed_with_1001_after_ten_minutes() {
    let (mut client, mut server, relay) = open();
    let since = Instant::now();
    assert_eq!(hear(&mut client, false).await, (true, PING, String::new()));
    assert_eq!(hear(&mut server, true).await, (true, PING, String::new()));
    assert_eq!(since.elapsed(), IDLE / 2);
    say(&mut client, true, FIN | PONG, "").await;
    assert_eq!(hear(&mut server, true).await.1, PONG);
    assert_eq!(code(&mut client, false).await, 1001);
    assert_eq!(since.elapsed(), IDLE / 2 + IDLE);
    assert_eq!(relay.await.unwrap().code, Some(1001));
}

#[tokio::test]
async fn who_is_gone_takes_the_other_along() {
    let (client, mut server, relay) = open();
    drop(client);
    assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(relay.await.unwrap(), Ended::default());
}
