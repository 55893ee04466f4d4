//! The same adapter against a GitHub that others wrote (emulate), with the webhooks that it signs itself.
//!
//! Unlike GitHub it has no reactions and no list of a repository's comments: neither is tried here.

use anyhow::{Context as _, Result, ensure};
use nanoclaw_channel::{Body, Mention, Outgoing};
use nanoclaw_conformance::emulate::{Emulate, hears, start};
use nanoclaw_conformance::record::Recorder;
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;

struct GitHub {
    server: Emulate,
    http: reqwest::Client,
}

impl GitHub {
    /// What Ann does.
    async fn ann(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let url = format!("{}/repos/ann/app/{path}", self.server.url);
        let response = self.http.request(method, url).bearer_auth("ann").json(body).send().await?;
        ensure!(response.status().is_success(), "{path} was answered with {}", response.status());
        Ok(serde_json::from_slice(&nanoclaw_kit::http::body(response, 1 << 20).await?)?)
    }
}

#[tokio::test]
async fn a_github_of_others_is_understood() -> Result<()> {
    let seed = json!({
        "tokens": { "nano": { "login": "nano-bot", "scopes": ["repo", "user"] },
            "ann": { "login": "ann", "scopes": ["repo", "user"] } },
        "github": { "users": [{ "login": "nano-bot" }, { "login": "ann" }],
            "repos": [{ "owner": "ann", "name": "app", "auto_init": true }] },
    });
    let github = GitHub {
        server: Emulate::start("github", &seed).await?,
        http: nanoclaw_kit::http::client()?,
    };
    let bind = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let (data, host) = (tempfile::TempDir::new()?, Arc::new(Recorder::default()));
    let settings = [
        ("GITHUB_TOKEN", "nano"),
        ("GITHUB_WEBHOOK_SECRET", "a secret"),
        ("GITHUB_API_URL", github.server.url.as_str()),
        ("WEBHOOK_BIND", bind.as_str()),
    ];
    let begin = start(&host, data.path(), &settings);
    let channel = (nanoclaw_channel_github::CHANNEL.start)(begin).await?;
    let hook = json!({ "name": "web", "active": true, "events": ["issues", "issue_comment"],
        "config": { "url": format!("http://{bind}/webhook/github"), "content_type": "json", "secret": "a secret" } });
    github.ann(Method::POST, "hooks", &hook).await?;

    let issue = json!({ "title": "It breaks", "body": "Since today. @nano-bot?" });
    let number = github.ann(Method::POST, "issues", &issue).await?["number"].clone();
    let opened = hears(&host, |heard| heard.messages.first().cloned()).await?;
    ensure!(opened.id.as_str() == format!("i:{number}"), "{opened:?}");
    ensure!(opened.text == "It breaks\n\nSince today. @nano-bot?", "{opened:?}");
    ensure!(
        opened.mention == Mention::Yes && opened.sender.name.as_deref() == Some("ann"),
        "{opened:?}"
    );

    let send = |key: &str, body: Body| Outgoing {
        to: opened.at.clone(),
        body,
        key: key.into(),
        reply_to: None,
    };
    let text = Body::Text { markdown: "I **look** into it".into(), files: Vec::new() };
    let sent = channel.send(&send("1", text)).await?.id.context("the receipt has no id")?;
    let edit = Body::Edit { message: sent.clone(), markdown: "It is mended".into() };
    channel.send(&send("2", edit)).await?;
    let comments = format!("issues/{number}/comments");
    let said = github.ann(Method::GET, &comments, &Value::Null).await?;
    ensure!(said.as_array().is_some_and(|all| all.len() == 1), "{said}");
    ensure!(sent.as_str() == format!("c:{}", said[0]["id"]), "{sent} {said}");
    let body = said[0]["body"].as_str().unwrap_or_default();
    ensure!(body.ends_with("It is mended"), "{body:?}");
    ensure!(said[0]["user"]["login"] == "nano-bot", "{said}");

    // What the agent wrote does not come in, what Ann answers does.
    let thanks = json!({ "body": "Thank you" });
    let id = github.ann(Method::POST, &comments, &thanks).await?["id"].clone();
    let answer = hears(&host, |heard| heard.messages.get(1).cloned()).await?;
    ensure!(answer.id.as_str() == format!("c:{id}") && answer.text == "Thank you", "{answer:?}");
    ensure!(answer.at == opened.at, "{answer:?}");
    let before = channel.history(&answer.at, &answer.id, 10).await;
    ensure!(before.first().is_some_and(|first| first.id == opened.id), "{before:?}");
    channel.stop().await;
    Ok(())
}
