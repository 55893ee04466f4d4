//! The real binary: killed at every durable point, signalled, and as process 1 of a box.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall fail on the spot")]

use nanoclaw_contract::dir::SessionDir;
use nanoclaw_contract::ids::{Address, ChannelType, MessageId, PlatformId};
use nanoclaw_contract::inbox::Inbox;
use nanoclaw_contract::message::{Destination, InKind, NewIn, Target, Trigger};
use nanoclaw_contract::outbox::OutboxReader;
use nanoclaw_contract::time::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const RUNNER: &str = env!("CARGO_BIN_EXE_nanoclaw-runner");
const PATIENCE: Duration = Duration::from_secs(20);

struct Session {
    dir: SessionDir,
    _temp: tempfile::TempDir,
}

impl Session {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = SessionDir::at(temp.path().join("session"));
        dir.create().unwrap();
        std::fs::write(dir.root().join("agent/container.json"), "{\"provider\":\"demo\"}").unwrap();
        let session = Self { dir, _temp: temp };
        let home = home();
        let target =
            Target::Channel { channel_type: home.channel_type, platform_id: home.platform_id };
        let names = [Destination { name: "home".into(), display_name: None, target }];
        session.inbox().set_destinations(&names).unwrap();
        session
    }

    fn inbox(&self) -> Inbox {
        Inbox::open(&self.dir.inbound()).unwrap()
    }

    fn push(&self, texts: &[&str]) {
        let mut rows = Vec::new();
        for text in texts {
            rows.push(NewIn {
                id: MessageId::parse(format!("id of {text}")).unwrap(),
                kind: InKind::Chat,
                timestamp: Timestamp::now(),
                process_after: None,
                recurrence: None,
                trigger: Trigger::Wake,
                reply: Some(home()),
                content: serde_json::json!({ "text": text, "sender": "Ann" }).to_string(),
                source: None,
                on_wake: false,
            });
        }
        self.inbox().push(&rows).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(RUNNER);
        self.environment(&mut command);
        command
    }

    fn environment(&self, command: &mut Command) {
        command
            .env("NANOCLAW_WORKSPACE", self.dir.root())
            .env("NANOCLAW_VAULT_SOCKET", self.dir.root().join("no-vault"))
            .env_remove("NANOCLAW_FAULT")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
    }

    fn said(&self) -> Vec<String> {
        let Ok(reader) = OutboxReader::open(&self.dir.outbound()) else { return Vec::new() };
        let rows = reader.rows_after(0, 1000).unwrap_or_default();
        rows.into_iter()
            .map(|found| {
                let row = found.row.unwrap();
                let content: serde_json::Value = serde_json::from_str(&row.content).unwrap();
                content["text"].as_str().unwrap_or_default().to_owned()
            })
            .collect()
    }

    fn acked(&self) -> usize {
        OutboxReader::open(&self.dir.outbound())
            .and_then(|reader| reader.finished())
            .map_or(0, |done| done.len())
    }
}

fn home() -> Address {
    Address {
        channel_type: ChannelType::parse("cli").unwrap(),
        platform_id: PlatformId::parse("local").unwrap(),
        thread_id: None,
    }
}

fn until(what: &str, mut look: impl FnMut() -> bool) {
    let start = Instant::now();
    while !look() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A process that does not outlive its test, even if that fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl std::ops::Deref for Running {
    type Target = Child;
    fn deref(&self) -> &Child {
        &self.0
    }
}

impl std::ops::DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Whatever the point at which it is killed: each message is answered exactly once, in order, even
/// if another message comes before the restart.
#[test]
fn killed_at_any_durable_point_it_answers_once() {
    for point in ["claimed", "consumed", "before-commit", "after-commit"] {
        for pass in 1..=3 {
            let session = Session::new();
            session.push(&["echo one", "echo two"]);
            let fault = format!("runner.{point}:{pass}");
            let mut doomed =
                session.command().env("NANOCLAW_FAULT", &fault).spawn().map(Running).unwrap();
            // A point that is not passed so often is no fault: then it is killed when it is done.
            until("the fault", || doomed.try_wait().unwrap().is_some() || session.acked() == 2);
            doomed.kill().unwrap();
            doomed.wait().unwrap();
            session.push(&["echo three"]);
            let mut runner = session.command().spawn().map(Running).unwrap();
            until(&fault, || session.acked() == 3);
            signal(&runner, Signal::TERM);
            assert!(runner.wait().unwrap().success(), "{fault}");
            let wanted = ["one (demo agent)", "two (demo agent)", "three (demo agent)"];
            assert_eq!(session.said(), wanted, "{fault}");
        }
    }
}

#[test]
fn term_ends_it_cleanly_in_the_middle_of_a_turn_and_usr1_ends_the_turn() {
    let session = Session::new();
    session.push(&["sleep 600 seconds"]);
    let mut runner = session.command().spawn().map(Running).unwrap();
    let pulse = session.dir.writable().join(".heartbeat");
    let phase = |wanted: &str| {
        std::fs::read_to_string(&pulse)
            .is_ok_and(|p| p.contains(&format!("\"phase\":\"{wanted}\"")))
    };
    until("the turn", || phase("tool"));
    signal(&runner, Signal::TERM);
    assert!(runner.wait().unwrap().success());
    assert!(phase("idle"));
    assert_eq!((session.said().len(), session.acked()), (0, 0), "the turn will be done again");
    let mut runner = session.command().spawn().map(Running).unwrap();
    until("the turn again", || phase("tool"));
    signal(&runner, Signal::USR1);
    until("the end of the turn", || session.acked() == 1);
    assert_eq!(session.said(), ["I was stopped before I finished."]);
    signal(&runner, Signal::TERM);
    assert!(runner.wait().unwrap().success());
}

/// In a process namespace of its own, with an orphan that dies: process 1 buries it, forwards
/// signals, and ends with the runner.
#[test]
fn as_process_1_it_reaps_and_forwards() {
    let session = Session::new();
    // A task's script leaves an orphan behind in another process group.
    let script = "setsid sh -c 'sleep 0.05' & echo '{\"wakeAgent\": true}'";
    let mut task = NewIn {
        id: MessageId::parse("task").unwrap(),
        kind: InKind::Task,
        timestamp: Timestamp::now(),
        process_after: None,
        recurrence: None,
        trigger: Trigger::Wake,
        reply: Some(home()),
        content: serde_json::json!({ "prompt": "look", "script": script }).to_string(),
        source: None,
        on_wake: false,
    };
    session.inbox().push(std::slice::from_ref(&task)).unwrap();
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "--pid",
        "--mount-proc",
        "--fork",
        "--kill-child",
        RUNNER,
    ]);
    session.environment(&mut command);
    let mut unshare = command.spawn().map(Running).unwrap();
    until("the answer", || session.acked() == 1);
    assert_eq!(session.said(), ["⏰ Reminder: look (demo agent)"]);
    let children = |pid: u32| -> Vec<u32> {
        let path = format!("/proc/{pid}/task/{pid}/children");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace().filter_map(|p| p.parse().ok()).collect()
    };
    let init = children(unshare.id())[0];
    // The runner is its only child once the orphan is dead and buried.
    until("the funeral", || children(init).len() == 1);
    assert_eq!(children(children(init)[0]), [0_u32; 0]);
    task.id = MessageId::parse("second").unwrap();
    task.content = serde_json::json!({ "prompt": "x", "script": "exec sleep 600" }).to_string();
    session.inbox().push(std::slice::from_ref(&task)).unwrap();
    until("the script", || !children(children(init)[0]).is_empty());
    let pid = Pid::from_raw(i32::try_from(init).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert!(unshare.wait().unwrap().success());
}

/// One port for the whole machine: nothing else in this file may relay.
#[test]
fn requests_are_carried_to_the_vault_even_after_it_was_replaced() {
    let session = Session::new();
    let socket = session.dir.root().join("proxy.sock");
    let vault = |path: &Path| {
        let listener = UnixListener::bind(path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = [0; 5];
            stream.read_exact(&mut heard).unwrap();
            stream.write_all(b"pong").unwrap();
            heard
        })
    };
    let mut serving = vault(&socket);
    let mut runner =
        session.command().env("NANOCLAW_VAULT_SOCKET", &socket).spawn().map(Running).unwrap();
    for _ in 0..2 {
        let mut client = None;
        until("the relay", || {
            client = TcpStream::connect("127.0.0.1:3128").ok();
            client.is_some()
        });
        let mut client = client.unwrap();
        client.write_all(b"hello").unwrap();
        let mut heard = String::new();
        client.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "pong");
        assert_eq!(&serving.join().unwrap(), b"hello");
        std::fs::remove_file(&socket).unwrap();
        serving = vault(&socket);
    }
    signal(&runner, Signal::TERM);
    assert!(runner.wait().unwrap().success());
}
