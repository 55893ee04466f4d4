//! A conversation at a real terminal: `script` lends the client one, the channel's real socket is behind.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers as well"
)]

use async_trait::async_trait;
use nanoclaw_channel::{
    Answer, AnswerOutcome, Body, Channel, Choice, Inbound, Ingress, IngressError, OutFile,
    Outgoing, PlatformMessageId, Question, QuestionId, Start, Typing,
};
use nanoclaw_channel_cli::CHANNEL;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(20);

struct Host(mpsc::UnboundedSender<Inbound>, mpsc::UnboundedSender<Answer>);

#[async_trait]
impl Ingress for Host {
    async fn push(&self, message: Inbound) -> Result<(), IngressError> {
        self.0.send(message).map_err(|e| IngressError(e.to_string()))
    }

    async fn change(&self, _: nanoclaw_channel::Change) -> Result<(), IngressError> {
        unreachable!("a terminal changes nothing")
    }

    async fn answer(&self, answer: Answer) -> Result<AnswerOutcome, IngressError> {
        self.1.send(answer).map_err(|e| IngressError(e.to_string()))?;
        Ok(AnswerOutcome::Taken { label: "approved".into() })
    }
}

/// The client's binary, which is built along with this test.
fn client() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    here.parent().unwrap().parent().unwrap().join("examples/chat")
}

struct Terminal {
    child: Child,
    keyboard: ChildStdin,
    screen: ChildStdout,
    seen: String,
}

impl Terminal {
    fn open(data: &Path) -> Self {
        let command = format!("exec '{}' '{}'", client().display(), data.display());
        let mut child = Command::new("script")
            .args(["-qefc", &command, "/dev/null"])
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("script, which belongs to util-linux");
        let (keyboard, screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, keyboard, screen, seen: String::new() }
    }

    async fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).await.unwrap();
        self.keyboard.flush().await.unwrap();
    }

    /// Reads on until this was printed, and forgets what was before.
    async fn shows(&mut self, text: &str) {
        let mut bytes = [0; 4096];
        while !self.seen.contains(text) {
            let read = tokio::time::timeout(PATIENCE, self.screen.read(&mut bytes)).await;
            let read =
                read.unwrap_or_else(|_| panic!("{text:?} is not in {:?}", self.seen)).unwrap();
            assert_ne!(read, 0, "ended without {text:?}: {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
        let at = self.seen.find(text).unwrap() + text.len();
        self.seen.drain(..at);
    }
}

async fn next<T>(what: &str, from: &mut mpsc::UnboundedReceiver<T>) -> T {
    tokio::time::timeout(PATIENCE, from.recv()).await.expect(what).unwrap()
}

fn out(message: &Inbound, key: &str, body: Body) -> Outgoing {
    let reply_to = Some(PlatformMessageId::parse(message.id.as_str()).unwrap());
    Outgoing { to: message.at.clone(), body, key: key.into(), reply_to }
}

fn question() -> Question {
    let option = |label: &str, value: &str| Choice {
        label: label.into(),
        selected_label: label.into(),
        value: value.into(),
    };
    Question {
        question_id: QuestionId::parse("q-1").unwrap(),
        title: "Send it?".into(),
        question: "Send it?".into(),
        options: vec![option("Yes", "approve"), option("No", "reject")],
    }
}

#[tokio::test]
async fn a_person_talks_to_an_agent() {
    let dir = tempfile::tempdir().unwrap();
    let (pushed_to, mut pushed) = mpsc::unbounded_channel();
    let (answers_to, mut answers) = mpsc::unbounded_channel();
    let ingress: Arc<dyn Ingress> = Arc::new(Host(pushed_to, answers_to));
    let start = Start {
        ingress,
        data: dir.path().to_owned(),
        setting: Arc::new(|_| None),
        report: Arc::new(|_| {}),
    };
    let channel: Arc<dyn Channel> = (CHANNEL.start)(start).await.unwrap();

    let mut terminal = Terminal::open(dir.path());
    terminal.shows("/help for help").await;
    terminal.shows("> ").await;
    terminal.types("hello there\r").await;
    let heard = next("the greeting", &mut pushed).await;
    assert_eq!(heard.text, "hello there");

    channel.typing(&heard.at, Typing::On).await;
    terminal.shows("agent is typing").await;
    // Half a line is being typed while the answer comes: it is printed above, and the half line stays.
    terminal.types("half a li").await;
    terminal.shows("half a li").await;
    let hostile = "I am **bold** \u{1b}]0;title\u{7}";
    let files = vec![OutFile { name: "plan.txt".into(), bytes: b"plan".to_vec() }];
    let text = Body::Text { markdown: hostile.into(), files };
    channel.send(&out(&heard, "k1", text)).await.unwrap();
    terminal.shows("I am \x1b[1mbold\x1b[22m ␛]0;title␇").await;
    terminal.shows("plan.txt").await;
    terminal.shows("half a li").await;
    channel.typing(&heard.at, Typing::Off).await;
    terminal.types("ne\r").await;
    assert_eq!(next("the half line", &mut pushed).await.text, "half a line");

    channel.send(&out(&heard, "k2", Body::Ask(question()))).await.unwrap();
    terminal.shows("2) No").await;
    terminal.types("1\r").await;
    assert_eq!(next("the answer", &mut answers).await.value, "approve");
    terminal.shows("answered: approved").await;

    terminal.types("/quit\r").await;
    let status = tokio::time::timeout(PATIENCE, terminal.child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
    let history = std::fs::read_to_string(dir.path().join("channels/cli/history")).unwrap();
    assert!(history.contains("hello there"), "{history}");
}

#[tokio::test]
async fn a_script_gets_the_answer_on_standard_output_and_the_code() {
    let dir = tempfile::tempdir().unwrap();
    let run = |text: &'static str| {
        let mut command = Command::new(client());
        command.arg(dir.path()).stdin(Stdio::null()).kill_on_drop(true);
        if !text.is_empty() {
            command.arg(text);
        }
        command
    };
    let nobody = run("hi").output().await.unwrap();
    assert_eq!(nobody.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("nanoclaw start"));
    let nothing = run("").output().await.unwrap();
    assert_eq!(nothing.status.code(), Some(1), "an empty pipe says nothing");

    let (pushed_to, mut pushed) = mpsc::unbounded_channel();
    let (answers_to, _answers) = mpsc::unbounded_channel();
    let ingress: Arc<dyn Ingress> = Arc::new(Host(pushed_to, answers_to));
    let start = Start {
        ingress,
        data: dir.path().to_owned(),
        setting: Arc::new(|_| None),
        report: Arc::new(|_| {}),
    };
    let channel: Arc<dyn Channel> = (CHANNEL.start)(start).await.unwrap();
    let agent = async {
        let heard = next("the script's message", &mut pushed).await;
        let text = Body::Text { markdown: "a **short** answer".into(), files: Vec::new() };
        channel.send(&out(&heard, "k", text)).await.unwrap();
        channel.typing(&heard.at, Typing::Off).await;
    };
    let mut command = run("hi");
    let (output, ()) = tokio::join!(command.output(), agent);
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "a short answer\n");
}
