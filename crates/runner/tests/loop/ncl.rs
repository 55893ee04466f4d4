//! `ncl` in the box, against a host that the test plays.

use crate::kit::{Box_, Host, row};
use nanoclaw_admin::client::ask;
use nanoclaw_admin::wire::{Code, Request};
use serde_json::{Value, json};
use std::time::Duration;

/// A box whose runner answers `ncl`, and its socket.
fn answering(host: &Host) -> (Box_, std::path::PathBuf) {
    let socket = host.options().workspace.join("ncl.sock");
    let mut options = host.options();
    options.env.insert("NANOCLAW_NCL_SOCKET".into(), socket.display().to_string());
    (Box_::with(options), socket)
}

async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_question_is_a_row_and_its_answer_comes_back() {
    let host = Host::new();
    let (runner, socket) = answering(&host);
    until(|| socket.exists()).await;
    for (name, frame) in [
        ("Ann", json!({ "id": "x", "ok": true, "data": { "name": "Ann" } })),
        (
            "Bea",
            json!({ "id": "x", "ok": false, "error": { "code": "forbidden", "message": "no" } }),
        ),
    ] {
        let args = json!({ "name": name }).as_object().cloned().unwrap();
        let request = Request { id: "7".into(), command: "groups-update".into(), args };
        let (at, before) = (socket.clone(), host.out().len());
        let answer = tokio::spawn(async move { ask(&at, &request).await });
        until(|| host.out().len() > before).await;
        let asked = host.out().pop().unwrap();
        assert!(asked.seq % 2 == 1 && asked.to.is_none());
        assert_eq!(asked.content["action"], "cli_request");
        assert_eq!(asked.content["command"], "groups-update");
        assert_eq!(asked.content["args"], json!({ "name": name }));
        let id = asked.content["requestId"].as_str().unwrap().to_owned();
        host.cli_response(&id, Duration::ZERO, &frame);
        let answer = answer.await.unwrap();
        match name {
            "Ann" => assert_eq!(answer.unwrap(), json!({ "name": "Ann" })),
            _ => assert_eq!(answer.unwrap_err().code, Code::Forbidden),
        }
        until(|| host.acks().contains(&format!("cli-resp-{id}"))).await;
    }
    runner.stop().await;
}

/// v2's `ncl` writes the row itself and looks for the answer, so the runner leaves it there for a while.
#[tokio::test]
async fn an_answer_to_who_asked_by_hand_is_left_to_them() {
    let host = Host::new();
    let (runner, _) = answering(&host);
    host.cli_response("young", Duration::ZERO, &Value::Null);
    host.cli_response("old", Duration::from_secs(90), &Value::Null);
    host.push(&[row("m1", "echo hi")]);
    until(|| host.acks().contains(&"cli-resp-old".to_owned())).await;
    until(|| !host.out().is_empty()).await;
    assert!(!host.acks().contains(&"cli-resp-young".to_owned()));
    runner.stop().await;
}
