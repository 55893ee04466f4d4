//! The same adapter against a Bot API server that others wrote (telegram-test-api), for the methods that it has:
//! what our own server takes for granted is not only our own idea of Telegram.

use anyhow::{Context as _, Result, ensure};
use nanoclaw_channel::time::Timestamp;
use nanoclaw_channel::{AnswerOutcome, Body, Choice, Outgoing, Question, QuestionId, Start};
use nanoclaw_conformance::record::{Heard, Recorder};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

const TOKEN: &str = "123456:a-token-that-this-server-takes";
const SERVER: &str = "
    const Server = require('telegram-test-api').default || require('telegram-test-api');
    const server = new Server({ port: Number(process.argv[1]), host: '127.0.0.1', storage: 'RAM' });
    server.start().then(() => console.log('ready'), e => { console.log(String(e)); process.exit(1); });
";

struct Server {
    url: String,
    http: reqwest::Client,
    _process: Child,
}

impl Server {
    async fn start() -> Result<Self> {
        let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
        let tools: PathBuf = std::env::var_os("NANOCLAW_TOOLS").map_or_else(beside, Into::into);
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut process = Command::new("node")
            .args(["-e", SERVER, &port.to_string()])
            .current_dir(tools.join("telegram"))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the server is not there; run: bash channels/telegram/tests/tools.sh")?;
        let out = process.stdout.take().context("its output")?;
        let line = BufReader::new(out).lines().next_line().await?.unwrap_or_default();
        ensure!(line == "ready", "the server did not start: {line}");
        let http = nanoclaw_kit::http::client()?;
        Ok(Self { url: format!("http://127.0.0.1:{port}"), http, _process: process })
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value> {
        let response = self.http.post(format!("{}/{path}", self.url)).json(&body).send().await?;
        let body = nanoclaw_kit::http::body(response, 1 << 20).await?;
        Ok(serde_json::from_slice(&body)?)
    }

    fn person() -> Value {
        json!({ "id": 1001, "first_name": "Ann", "username": "ann", "is_bot": false })
    }

    async fn says(&self, text: &str) -> Result<()> {
        let chat = json!({ "id": 1001, "first_name": "Ann", "type": "private" });
        let message = json!({
            "botToken": TOKEN, "from": Self::person(), "chat": chat, "text": text,
            "date": Timestamp::now().as_second(),
        });
        self.post("sendMessage", message).await.map(|_| ())
    }

    /// What the bot sent since the last look.
    async fn sent(&self) -> Result<Vec<Value>> {
        let got = self.post("getUpdates", json!({ "token": TOKEN, "chatId": "1001" })).await?;
        Ok(got["result"].as_array().cloned().unwrap_or_default())
    }
}

async fn hears<T>(host: &Recorder, look: impl Fn(&Heard) -> Option<T>) -> Result<T> {
    let bell = host.bell();
    let found = async {
        loop {
            let rung = bell.notified();
            if let Some(found) = host.look(&look) {
                return found;
            }
            rung.await;
        }
    };
    Ok(tokio::time::timeout(Duration::from_secs(30), found).await?)
}

#[tokio::test]
async fn a_server_of_others_is_understood() -> Result<()> {
    let server = Server::start().await?;
    let data = tempfile::TempDir::new()?;
    let host = Arc::new(Recorder::default());
    let url = server.url.clone();
    let start = Start {
        ingress: host.clone(),
        data: data.path().to_path_buf(),
        setting: Arc::new(move |name| match name {
            "TELEGRAM_BOT_TOKEN" => Some(TOKEN.into()),
            "TELEGRAM_API_BASE_URL" => Some(url.clone()),
            _ => None,
        }),
        report: Arc::new(|_| {}),
    };
    let channel = (nanoclaw_channel_telegram::CHANNEL.start)(start).await?;
    server.says("hello from outside").await?;
    let heard = hears(&host, |heard| heard.messages.first().cloned()).await?;
    ensure!(heard.text == "hello from outside" && heard.sender.handle == "1001", "{heard:?}");
    // Its messages are dated in milliseconds.
    let off = (Timestamp::now().as_second() - heard.timestamp.as_second()).abs();
    ensure!(off < 600, "it was said {off} s from now");

    let send = |key: &str, body: Body| Outgoing {
        to: heard.at.clone(),
        body,
        key: key.into(),
        reply_to: None,
    };
    let text = Body::Text { markdown: "an **answer**".into(), files: Vec::new() };
    let receipt = channel.send(&send("1", text)).await?;
    ensure!(receipt.id.is_some(), "the receipt has no id");
    let sent = server.sent().await?;
    ensure!(sent.len() == 1 && sent[0]["message"]["text"] == "an <b>answer</b>", "{sent:?}");

    let choice = |value: &str| Choice {
        label: value.into(),
        selected_label: value.into(),
        value: value.into(),
    };
    let question = Question {
        question_id: QuestionId::parse("q-1")?,
        title: "Deploy".into(),
        question: "Now?".into(),
        options: vec![choice("yes"), choice("no")],
    };
    host.outcome(AnswerOutcome::Taken { label: "no".into() });
    let asked = channel.send(&send("2", Body::Ask(question))).await?;
    let sent = server.sent().await?;
    let keyboard = &sent[0]["message"]["reply_markup"];
    let keyboard: Value = keyboard.as_str().map_or(Ok(keyboard.clone()), serde_json::from_str)?;
    let data = keyboard["inline_keyboard"][1][0]["callback_data"].clone();
    let number = asked.id.as_ref().and_then(|id| id.as_str().rsplit_once(':')).context("an id")?.1;
    server
        .post("sendCallback", json!({
            "botToken": TOKEN, "from": Server::person(), "data": data, "date": Timestamp::now().as_second(),
            "message": {
                "from": Server::person(), "message_id": number.parse::<i64>()?,
                "chat": { "id": 1001, "first_name": "Ann", "type": "private" },
            },
        }))
        .await?;
    let answer = hears(&host, |heard| heard.answers.first().cloned()).await?;
    ensure!(answer.value == "no" && answer.question.as_str() == "q-1", "{answer:?}");
    channel.stop().await;
    Ok(())
}
