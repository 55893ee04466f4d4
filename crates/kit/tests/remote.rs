//! A channel as a program of its own: what it says, and that nothing is lost when it dies.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use async_trait::async_trait;
use nanoclaw_channel::{
    Address, Answer, AnswerOutcome, Body, Change, Channel, ChannelType, Health, Inbound, Ingress,
    IngressError, OutFile, Outgoing, PlatformId, SendError, SettingSpec, Start, StartError,
    Started,
};
use nanoclaw_kit::remote::{self, Program};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;

static POSTBOX: Program = Program {
    channel: "postbox",
    file: "postbox",
    path_setting: "POSTBOX_PROGRAM",
    how: "cargo build --example postbox",
    settings: &[SettingSpec { name: "POSTBOX", what: "a folder", required: true, secret: false }],
};

/// The host: takes messages, and may kill the program in the middle of taking one.
struct Host {
    heard: watch::Sender<Vec<(String, Vec<u8>)>>,
    folder: PathBuf,
    /// The program is killed while these are being taken.
    deadly: Mutex<Vec<String>>,
}

fn pid(folder: &Path) -> Pid {
    let text = std::fs::read_to_string(folder.join("pid")).unwrap();
    Pid::from_raw(text.parse().unwrap()).unwrap()
}

#[async_trait]
impl Ingress for Host {
    async fn push(&self, message: Inbound) -> Result<(), IngressError> {
        let deadly = {
            let mut deadly = self.deadly.lock().unwrap();
            let at = deadly.iter().position(|text| *text == message.text);
            at.map(|at| deadly.remove(at)).is_some()
        };
        if deadly {
            kill_process(pid(&self.folder), Signal::KILL).unwrap();
        }
        let mut files = message.files;
        self.heard.send_modify(|h| h.push((message.text, files.remove(0).bytes)));
        Ok(())
    }

    async fn change(&self, _change: Change) -> Result<(), IngressError> {
        Ok(())
    }

    async fn answer(&self, _answer: Answer) -> Result<AnswerOutcome, IngressError> {
        Ok(AnswerOutcome::Late)
    }
}

struct Rig {
    folder: TempDir,
    host: Arc<Host>,
    health: watch::Receiver<Vec<Health>>,
    start: Start,
}

impl Rig {
    fn new(deadly: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        for sub in ["in", "out", "data"] {
            std::fs::create_dir(folder.path().join(sub)).unwrap();
        }
        let host = Arc::new(Host {
            heard: watch::Sender::new(Vec::new()),
            folder: folder.path().to_path_buf(),
            deadly: Mutex::new(deadly.iter().map(|t| (*t).to_owned()).collect()),
        });
        let (told, health) = watch::channel(Vec::new());
        let program = std::env::current_exe().unwrap();
        let program = program.ancestors().nth(2).unwrap().join("examples/postbox");
        assert!(program.exists(), "run the tests of the whole crate, which build its examples");
        let settings = BTreeMap::from([
            ("POSTBOX", folder.path().to_string_lossy().into_owned()),
            ("POSTBOX_PROGRAM", program.to_string_lossy().into_owned()),
        ]);
        let start = Start {
            ingress: Arc::clone(&host) as Arc<dyn Ingress>,
            data: folder.path().join("data"),
            setting: Arc::new(move |name| settings.get(name).cloned()),
            report: Arc::new(move |health| told.send_modify(|all| all.push(health))),
        };
        Self { folder, host, health, start }
    }

    async fn start(&self) -> Started {
        remote::start(self.start.clone(), &POSTBOX).await
    }

    fn letter(&self, name: &str, bytes: &[u8]) {
        let draft = self.folder.path().join("draft");
        std::fs::write(&draft, bytes).unwrap();
        std::fs::rename(draft, self.folder.path().join("in").join(name)).unwrap();
    }

    fn out(&self, key: &str) -> Option<Vec<u8>> {
        std::fs::read(self.folder.path().join("out").join(key)).ok()
    }
}

fn says(key: &str, markdown: &str, files: Vec<OutFile>) -> Outgoing {
    let to = Address {
        channel_type: ChannelType::parse("postbox").unwrap(),
        platform_id: PlatformId::parse("postbox:1").unwrap(),
        thread_id: None,
    };
    let body = Body::Text { markdown: markdown.to_owned(), files };
    Outgoing { to, body, key: key.to_owned(), reply_to: None }
}

/// Sends as the host does.
async fn deliver(channel: &dyn Channel, message: &Outgoing) -> u32 {
    for tries in 1.. {
        match channel.send(message).await {
            Ok(receipt) => {
                assert_eq!(receipt.id.unwrap().as_str(), message.key);
                return tries;
            }
            Err(SendError::Retry { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(e) => panic!("{e:?}"),
        }
    }
    unreachable!()
}

#[tokio::test]
async fn a_program_is_a_channel() {
    let rig = Rig::new(&[]);
    let channel = rig.start().await.unwrap();
    assert_eq!(channel.capabilities().file_out_max, 1 << 20);
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    rig.letter("1", &bytes);
    rig.letter("2", b"");
    let mut heard = rig.host.heard.subscribe();
    let all = heard.wait_for(|h| h.len() >= 2).await.unwrap().clone();
    assert!(all[0] == ("1".to_owned(), bytes) && all[1] == ("2".to_owned(), Vec::new()));
    let file = OutFile { name: "a".into(), bytes: b"\nbytes\0\xff".to_vec() };
    assert_eq!(deliver(channel.as_ref(), &says("k1", "text", vec![file])).await, 1);
    assert_eq!(rig.out("k1").unwrap(), b"text\nbytes\0\xff");
    let mut card = says("k2", "", Vec::new());
    card.body = Body::Card { title: None, markdown: String::new() };
    let refused = channel.send(&card).await.unwrap_err();
    assert_eq!(refused, SendError::Reject { why: "a postbox takes letters only".to_owned() });
    let mut health = rig.health.clone();
    assert_eq!(health.wait_for(|h| !h.is_empty()).await.unwrap()[0], Health::Up);
    let program = pid(rig.folder.path());
    channel.stop().await;
    drop(channel);
    while test_kill_process(program).is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_program_that_dies_loses_nothing() {
    let rig = Rig::new(&["03", "17", "18"]);
    let channel = rig.start().await.unwrap();
    for n in 0..30 {
        rig.letter(&format!("{n:02}"), &[n]);
    }
    let mut heard = rig.host.heard.subscribe();
    heard.wait_for(|h| h.iter().any(|(text, _)| text == "29")).await.unwrap();
    let mut came: Vec<_> = rig.host.heard.borrow().clone();
    // Each of the three that were being taken came again: their "taken" was never heard.
    assert_eq!(came.len(), 33);
    came.dedup();
    assert!(came.iter().map(|(_, bytes)| bytes[0]).eq(0..30), "{came:?}");
    let health = rig.health.borrow().clone();
    let lost = health.iter().filter(|h| matches!(h, Health::Reconnecting { .. })).count();
    assert_eq!((lost, health.last()), (3, Some(&Health::Up)));

    // Killed while it sends: the attempt fails, the next one succeeds, and it is there once.
    let hang = rig.folder.path().join("hang");
    std::fs::write(&hang, "").unwrap();
    let message = says("k", "hang", Vec::new());
    let kill = async {
        while hang.exists() {
            tokio::task::yield_now().await;
        }
        kill_process(pid(rig.folder.path()), Signal::KILL).unwrap();
    };
    let (tries, ()) = tokio::join!(deliver(channel.as_ref(), &message), kill);
    assert!(tries > 1);
    assert_eq!(rig.out("k").unwrap(), b"hang");
}

#[tokio::test]
async fn a_program_that_is_missing_or_not_set_up_is_said() {
    let rig = Rig::new(&[]);
    let with = |name: &'static str, value: Option<&'static str>| {
        let before = Arc::clone(&rig.start.setting);
        let setting = move |asked: &str| {
            if asked == name { value.map(str::to_owned) } else { before(asked) }
        };
        Start { setting: Arc::new(setting), ..rig.start.clone() }
    };
    let why = |started: Started| match started {
        Err(StartError::NotConfigured(why)) => why,
        other => panic!("{:?}", other.err()),
    };
    let missing = remote::start(with("POSTBOX_PROGRAM", Some("/nowhere")), &POSTBOX).await;
    assert_eq!(
        why(missing),
        "there is no program /nowhere; make it: cargo build --example postbox (or say where it is: \
         POSTBOX_PROGRAM)"
    );
    let unset = remote::start(with("POSTBOX", None), &POSTBOX).await;
    assert_eq!(why(unset), "set POSTBOX: a folder");
    // What speaks no word of ours is ended.
    let other = remote::start(with("POSTBOX_PROGRAM", Some("/bin/true")), &POSTBOX).await;
    let Err(StartError::Unreachable(why)) = other else { panic!("it started") };
    // Its end of the socket may be gone before the greeting or after.
    assert!(why.ends_with("exit status: 0"), "{why}");
}
