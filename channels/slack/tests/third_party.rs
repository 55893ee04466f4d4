//! The same adapter against a Slack that others wrote (emulate): the Web API is theirs, events are pushed by us as
//! Slack signs them.
//!
//! Unlike Slack it has neither Socket Mode nor `users.conversations`: what an outage missed is not asked for here.

use anyhow::{Context as _, Result, ensure};
use nanoclaw_channel::time::Timestamp;
use nanoclaw_channel::{Body, OutFile, Outgoing};
use nanoclaw_conformance::emulate::{Emulate, hears, start};
use nanoclaw_conformance::record::Recorder;
use nanoclaw_kit::sign::{hex, hmac_sha256};
use serde_json::{Value, json};
use std::sync::Arc;

const SECRET: &str = "a signing secret";

struct Slack {
    server: Emulate,
    http: reqwest::Client,
    bind: String,
}

impl Slack {
    /// What Ann does, or looks at.
    async fn ann(&self, method: &str, arguments: &[(&str, &str)]) -> Result<Value> {
        let request = self.http.post(format!("{}/api/{method}", self.server.url));
        let response = request.bearer_auth("xoxp-ann").form(arguments).send().await?;
        let body = nanoclaw_kit::http::body(response, 1 << 20).await?;
        let body: Value = serde_json::from_slice(&body)?;
        ensure!(body["ok"] == true, "{method}: {body}");
        Ok(body)
    }

    async fn push(&self, event: &Value) -> Result<()> {
        let body =
            json!({ "type": "event_callback", "event_id": "Ev1", "event": event }).to_string();
        let now = Timestamp::now().as_second();
        let mac = hmac_sha256(SECRET.as_bytes(), &[format!("v0:{now}:{body}").as_bytes()]);
        let request = self.http.post(format!("http://{}/webhook/slack", self.bind));
        let request = request.header("x-slack-request-timestamp", now).body(body);
        let request = request.header("x-slack-signature", format!("v0={}", hex(&mac)));
        let status = request.header("content-type", "application/json").send().await?.status();
        ensure!(status.is_success(), "the event was answered with {status}");
        Ok(())
    }
}

#[tokio::test]
async fn a_slack_of_others_is_understood() -> Result<()> {
    let seed = json!({ "slack": {
        "team": { "name": "Team", "domain": "team" },
        "users": [{ "name": "nano", "real_name": "Nano" }, { "name": "ann", "real_name": "Ann" }],
        "channels": [{ "name": "general" }],
        "tokens": [{ "token": "xoxb-nano", "user": "nano" }, { "token": "xoxp-ann", "user": "ann" }],
    } });
    let bind = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let slack = Slack {
        server: Emulate::start("slack", &seed).await?,
        http: nanoclaw_kit::http::client()?,
        bind: bind.clone(),
    };
    let me = slack.ann("auth.test", &[]).await?["user_id"].as_str().context("no id")?.to_owned();
    let all = slack.ann("conversations.list", &[]).await?;
    let group = all["channels"][0]["id"].as_str().context("no channel")?.to_owned();
    let (data, host) = (tempfile::TempDir::new()?, Arc::new(Recorder::default()));
    let api = format!("{}/api", slack.server.url);
    let settings = [
        ("SLACK_BOT_TOKEN", "xoxb-nano"),
        ("SLACK_SIGNING_SECRET", SECRET),
        ("SLACK_API_URL", api.as_str()),
        ("WEBHOOK_BIND", bind.as_str()),
    ];
    let channel =
        (nanoclaw_channel_slack::CHANNEL.start)(start(&host, data.path(), &settings)).await?;

    let posted = slack.ann("chat.postMessage", &[("channel", &group), ("text", "hello")]).await?;
    let ts = posted["ts"].as_str().context("no ts")?.to_owned();
    let mut event = posted["message"].clone();
    (event["channel"], event["channel_type"]) = (json!(group), json!("channel"));
    slack.push(&event).await?;
    let heard = hears(&host, |heard| heard.messages.first().cloned()).await?;
    ensure!(heard.id.as_str() == ts && heard.sender.handle == me, "{heard:?}");
    ensure!(heard.text == "hello" && heard.sender.name.as_deref() == Some("ann"), "{heard:?}");

    let send = |key: &str, body: Body| Outgoing {
        to: heard.at.clone(),
        body,
        key: key.into(),
        reply_to: None,
    };
    let files = vec![OutFile { name: "plan.txt".into(), bytes: b"the plan".to_vec() }];
    let text = Body::Text { markdown: "an **answer**".into(), files };
    let sent = channel.send(&send("1", text)).await?.id.context("the receipt has no id")?;
    let edit = Body::Edit { message: sent.clone(), markdown: "a *better* one".into() };
    channel.send(&send("2", edit)).await?;
    let react = Body::React { message: heard.id.clone(), emoji: "eyes".into() };
    channel.send(&send("3", react)).await?;
    let thread = [("channel", group.as_str()), ("ts", ts.as_str())];
    let replies = slack.ann("conversations.replies", &thread).await?;
    let all = replies["messages"].as_array().context("no replies")?;
    let ours = all.iter().find(|m| m["ts"] == sent.as_str()).context("the answer is not there")?;
    ensure!(ours["text"] == "a _better_ one", "{ours}");
    let reactions = slack.ann("reactions.get", &[("channel", &group), ("timestamp", &ts)]).await?;
    ensure!(reactions["message"]["reactions"][0]["name"] == "eyes", "{reactions}");
    let files = slack.ann("files.list", &[]).await?;
    ensure!(files["files"][0]["name"] == "plan.txt", "{files}");
    channel.stop().await;
    Ok(())
}
