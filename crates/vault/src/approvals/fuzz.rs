//! What the host is told of a request of a box, which is made of what the box sent.

use super::{Asked, Bus, Request, card};
use crate::fuzz::RUNTIME;
use crate::socket;
use bytes::Bytes;
use serde_json::Value;
use std::sync::Arc;

/// A place, a method, a path with its query, a type and a body, in lines: people see one line for each fact with
/// nothing hidden in it, and the host hears the event as it was told, among others.
pub fn events(data: &[u8]) {
    let mut parts = data.splitn(5, |byte| *byte == b'\n');
    let mut bytes = || parts.next().unwrap_or_default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (place, method, target, kind) =
        (text(bytes()), text(bytes()), text(bytes()), text(bytes()));
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
        None => (target, None),
    };
    let body = Bytes::copy_from_slice(bytes());
    let (scheme, content_type) = ("https".to_owned(), (!kind.is_empty()).then_some(kind));
    let secrets = vec![("github".to_owned(), 1)];
    let alarm = text(&body);
    let request = Request { epoch: 1, secrets, method, scheme, path, query, content_type, body };
    let (session, agent) = ("s-1".to_owned(), "ag-1".to_owned());
    let asked = Asked { session, agent, rule: None, place, request: Some(request) };
    let event = card::event("q-1", &asked, i64::MAX);
    let lines = event["lines"].as_array().into_iter().flatten();
    for line in lines.chain([&event["title"]]).filter_map(Value::as_str) {
        let hidden = |c: char| {
            c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        };
        assert!(!line.contains(hidden), "{line:?}");
        assert!(line.chars().count() < 4_000, "a fact fits on a card");
    }
    let bus = Bus::new(Arc::new(|| 0));
    bus.put("request q-1", event.clone(), Some(i64::MAX));
    bus.alarm("code", "s-1", "ag-1", &alarm);
    assert_eq!(bus.pending(), std::slice::from_ref(&event));
    let heard = RUNTIME.block_on(async {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let (mut gone, mut to) = tokio::io::split(theirs);
        let mut from = tokio::io::BufReader::new(ours);
        let telling = bus.stream(&mut gone, &mut to);
        let hearing = async {
            let (mut heard, mut line) = (Vec::new(), Vec::new());
            while heard.len() < 2 && socket::line(&mut from, &mut line).await.is_ok() {
                heard.push(serde_json::from_slice::<Value>(&line).unwrap_or_default());
            }
            heard
        };
        tokio::select! {
            heard = hearing => heard,
            _ = telling => Vec::new(),
        }
    });
    assert_eq!(heard.len(), 2, "all of it is told");
    assert_eq!(heard[0], event);
    assert_eq!(heard[1]["text"].as_str(), Some(alarm.as_str()));
}
