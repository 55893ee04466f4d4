//! Frames: what is read is what was written, and what is no frame is refused.

use super::wire::{Call, Frame, Reply};
use nanoclaw_channel::{Address, Body, ChannelType, OutFile, Outgoing, PlatformId};
use proptest::prelude::*;

fn read(bytes: &[u8]) -> std::io::Result<Vec<Frame>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (mut from, mut all) = (bytes, Vec::new());
        while let Some(frame) = Frame::read(&mut from).await? {
            all.push(frame);
        }
        Ok(all)
    })
}

fn send(markdown: &str, files: &[Vec<u8>]) -> Frame {
    let to = Address {
        channel_type: ChannelType::parse("c").unwrap(),
        platform_id: PlatformId::parse("c:1").unwrap(),
        thread_id: None,
    };
    let file = |bytes: &Vec<u8>| OutFile { name: "f".into(), bytes: bytes.clone() };
    let files = files.iter().map(file).collect();
    let body = Body::Text { markdown: markdown.to_owned(), files };
    Frame::Call(7, Call::Send(Outgoing { to, body, key: "k".into(), reply_to: None }))
}

proptest! {
    #[test]
    fn frames_come_as_they_were_sent(text: String, files: Vec<Vec<u8>>) {
        let mut bytes = send(&text, &files).encode().unwrap();
        bytes.extend(Frame::Reply(8, Reply::Done).encode().unwrap());
        let frames = read(&bytes).unwrap();
        prop_assert_eq!(frames.len(), 2);
        prop_assert_eq!(format!("{:?}", frames[0]), format!("{:?}", send(&text, &files)));
    }

    #[test]
    fn what_is_no_frame_does_no_harm(bytes: Vec<u8>) {
        prop_assert!(bytes.is_empty() || read(&bytes).is_err());
    }
}

#[test]
fn lengths_that_lie_are_refused() {
    let frame = String::from_utf8(send("x", &[b"abc".to_vec()]).encode().unwrap()).unwrap();
    for (good, bad) in
        [("[[3]", "[[4]"), ("[[3]", "[[3,0]"), ("[[3]", "[[]"), ("[[3]", "[[18446744073709551615]")]
    {
        assert!(read(frame.replace(good, bad).as_bytes()).is_err(), "{bad}");
    }
    assert!(read(b"[[],{\"Reply\":[1,\"Done\"]}]").is_err(), "a line without an end");
}
