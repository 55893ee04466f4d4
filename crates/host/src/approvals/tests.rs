use super::card::visible;
use super::*;
use crate::{Boxes, Config, Egress, EgressGrant, HostOptions, Started, start};
use async_trait::async_trait;
use nanoclaw_central::{Agent, Chat, ChatKind, Mail, Session, UnknownSenderPolicy};
use nanoclaw_contract::ids::{ChannelType, PlatformId};
use nanoclaw_contract::time::{Clock, Timestamp, iso};
use nanoclaw_driver::{
    BoxSpec, BoxUser, Driver, DriverError, Exit, Limits, Probe, Running, Signal,
};
use std::path::Path;

struct Nothing;

/// How often a box was to be measured.
pub(crate) static MEASURED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

#[async_trait]
impl Driver for Nothing {
    fn name(&self) -> &'static str {
        "nothing"
    }
    async fn probe(&self) -> Result<Probe, DriverError> {
        Ok(Probe { version: String::new(), missing: Vec::new() })
    }
    async fn start(&self, _: &BoxSpec) -> Result<(), DriverError> {
        Err(DriverError::Start("there are no boxes here".into()))
    }
    async fn signal(&self, name: &str, _: Signal) -> Result<(), DriverError> {
        Err(DriverError::Gone(name.into()))
    }
    async fn wait(&self, name: &str) -> Result<Exit, DriverError> {
        Err(DriverError::Gone(name.into()))
    }
    async fn cpu(&self, _: &str) -> Option<nanoclaw_driver::cgroup::Cpu> {
        MEASURED.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        None
    }
    async fn list(&self, _: &str) -> Result<Vec<Running>, DriverError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Egress for Nothing {
    async fn open(&self, _: &SessionId, _: &AgentId, _: &str) -> Result<EgressGrant, String> {
        Ok(EgressGrant::default())
    }
    async fn close(&self, _: &SessionId) {}
}

#[derive(Debug)]
struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_772_355_600).unwrap()
    }
}

/// A host without channels; `boss` and `chief` own it, and their direct chats are known.
pub(crate) async fn host(root: &Path) -> Started {
    host_with(root, &[]).await
}

async fn host_with(
    root: &Path,
    channels: &'static [&'static nanoclaw_channel::ChannelDef],
) -> Started {
    let config = Config {
        data: root.join("data"),
        groups: root.join("groups"),
        container: root.join("container"),
        runner: root.join("runner"),
        tools: root.join("tools"),
        home: root.to_owned(),
        install: "test".into(),
        boxes_max: 1,
        idle_timeout: Duration::from_secs(1),
        timezone: "UTC".into(),
        box_user: BoxUser { uid: 64_000, gid: 64_000 },
        limits: Limits::default(),
        box_env: BTreeMap::new(),
        default_provider: "demo".into(),
    };
    let started = start(HostOptions {
        config,
        channels,
        driver: Arc::new(Nothing),
        egress: Arc::new(Nothing),
        clock: Arc::new(Noon),
        setting: Arc::new(|_| None),
    });
    let started = started.await.unwrap();
    let (host, now) = (started.host(), Noon.now());
    if host.central.agents().unwrap().is_empty() {
        for name in ["boss", "chief"] {
            let id = UserId::parse(format!("x:{name}")).unwrap();
            host.central.upsert_user(&id, "x", Some(name), now).unwrap();
            host.central.grant_role(&id, Role::Owner, None, None, now).unwrap();
            host.central
                .create_chat(&Chat {
                    id: ChatId::parse(format!("mg-{name}")).unwrap(),
                    channel_type: ChannelType::parse("x").unwrap(),
                    platform_id: PlatformId::parse(name).unwrap(),
                    name: Some("`home`".into()),
                    kind: ChatKind::Direct,
                    policy: UnknownSenderPolicy::Strict,
                    denied_at: None,
                    created_at: iso(now),
                })
                .unwrap();
        }
        host.central
            .create_agent(&Agent {
                id: AgentId::parse("ag-1").unwrap(),
                name: "Andy".into(),
                folder: "andy".into(),
                provider: None,
                created_at: iso(now),
            })
            .unwrap();
        let session = Session {
            id: SessionId::parse("sess-1").unwrap(),
            agent: AgentId::parse("ag-1").unwrap(),
            chat: Some(ChatId::parse("mg-boss").unwrap()),
            thread: None,
            provider: None,
            active: true,
            container: nanoclaw_central::ContainerStatus::Stopped,
            last_active: None,
            created_at: iso(now),
        };
        host.central.find_or_create_session(&session).unwrap();
    }
    started
}

fn ask(host: &Arc<Host>, action: Action, key: &str) -> Result<ApprovalId, String> {
    let session = Some(SessionId::parse("sess-1").unwrap());
    host.ask_approval(Ask { action, session, key: key.into() }).unwrap()
}

fn decide(host: &Arc<Host>, id: &ApprovalId, who: &str, value: &str) -> Decided {
    let user = UserId::parse(format!("x:{who}")).unwrap();
    host.decide(id, Voter::Person(&user), value).unwrap()
}

/// Every line for somebody, in order, one after the other: nothing connects, so none is ever sent.
fn lines(host: &Arc<Host>, who: &str) -> Vec<Mail> {
    let conn = rusqlite::Connection::open(host.config.data.join("v2.db")).unwrap();
    let mut keys = conn.prepare("SELECT key FROM mail WHERE platform_id = ?1 ORDER BY n").unwrap();
    let keys = keys.query_map([who], |r| r.get::<_, String>(0)).unwrap();
    keys.map(|key| host.central.mail(&key.unwrap()).unwrap().unwrap()).collect()
}

/// What the agent was told.
fn told(host: &Arc<Host>) -> Vec<String> {
    let session = host.central.session(&SessionId::parse("sess-1").unwrap()).unwrap().unwrap();
    let path = host.files(&session).unwrap().dir.inbound();
    let conn = rusqlite::Connection::open(path).unwrap();
    let mut rows = conn.prepare("SELECT content FROM messages_in ORDER BY seq").unwrap();
    rows.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Waits until everybody concerned was told.
async fn settled(host: &Arc<Host>, id: &ApprovalId) -> Approval {
    for _ in 0..1000 {
        let a = host.central.approval(id).unwrap().unwrap();
        let open = host.central.unsettled_approvals().unwrap().iter().any(|u| u.id == *id);
        if a.status != ApprovalStatus::Pending && !open {
            return a;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not settled: {:?}", host.central.approval(id));
}

fn unknown_command() -> Action {
    Action::Command {
        agent: AgentId::parse("ag-1").unwrap(),
        command: "no-such-command".into(),
        args: BTreeMap::new(),
    }
}

fn approval(payload: &str, hash: &str) -> Approval {
    Approval {
        id: ApprovalId::parse("ap-1").unwrap(),
        session: None,
        action: String::new(),
        payload: payload.into(),
        agent: None,
        status: ApprovalStatus::Pending,
        title: String::new(),
        options: "[]".into(),
        hash: Some(hash.into()),
        needed: 1,
        expires_at: None,
        chosen: None,
        decided_by: None,
        outcome: None,
        created_at: String::new(),
    }
}

fn command(args: Value) -> Action {
    Action::Command {
        agent: AgentId::parse("ag-1").unwrap(),
        command: "groups-list".into(),
        args: serde_json::from_value(args).unwrap(),
    }
}

#[test]
fn a_changed_action_is_no_longer_the_one_that_was_asked_for() {
    let payload = command(serde_json::json!({"a": "1"})).to_json().unwrap();
    let hash = hash(&payload);
    assert_eq!(intact(&approval(&payload, &hash)).unwrap(), command(serde_json::json!({"a": "1"})));
    let changed = payload.replace('1', "2");
    assert!(intact(&approval(&changed, &hash)).unwrap_err().contains("changed"));
    assert!(intact(&Approval { hash: None, ..approval(&payload, "") }).is_err());
}

#[test]
fn the_order_of_arguments_makes_no_difference() {
    let one = command(serde_json::json!({"x": {"b": 1, "a": 2}}));
    let two = command(serde_json::json!({"x": {"a": 2, "b": 1}}));
    assert_eq!(one.to_json().unwrap(), two.to_json().unwrap());
}

#[test]
fn nothing_hides_on_a_card() {
    assert_eq!(visible("a\u{202e}b\u{200b}c\u{7}d"), "a\\u{202e}b\\u{200b}c\\u{7}d");
    assert_eq!(visible("a\u{34f}\u{2800}\u{180c}"), "a\\u{34f}\\u{2800}\\u{180c}");
    assert_eq!(visible("grüße 漢字\nzwei"), "grüße 漢字\nzwei");
}

#[tokio::test]
async fn the_card_shows_every_argument_and_every_variable() {
    let root = tempfile::tempdir().unwrap();
    let started = host(root.path()).await;
    let host = started.host();
    let server = Action::AddMcpServer {
        agent: AgentId::parse("ag-1").unwrap(),
        name: "files".into(),
        command: "npx".into(),
        args: vec!["-y".into(), "server\n```\nApproved already".into()],
        env: [("TOKEN".into(), "s3cret".into()), ("LD_PRELOAD".into(), "\u{202e}evil.so".into())]
            .into(),
        reason: "for work".into(),
    };
    let id = ask(&host, server.clone(), "out-1").unwrap();
    assert!(id.as_str().starts_with("ap-") && id.as_str().len() == 35, "{id}");
    assert_eq!(ask(&host, server, "out-1").unwrap(), id, "the same key is the same request");
    assert!(ask(&host, unknown_command(), "out-1").is_err(), "a key stands for one action");
    let [card] = <[Mail; 1]>::try_from(lines(&host, "boss")).unwrap();
    let Ok(crate::mail::Letter::Ask(q)) = serde_json::from_str(&card.body) else {
        panic!("{}", card.body)
    };
    for part in [
        "`Andy` asks for a tool server",
        "from `'home'` on x",
        "command = \"npx\"",
        "args = [\"-y\",\"server\\n```\\nApproved already\"]",
        "env.TOKEN = \"s3cret\"",
        "env.LD_PRELOAD = \"\\u{202e}evil.so\"",
        "reason = \"for work\"",
        "Open until 2026-03-02 09:00 UTC.",
    ] {
        assert!(q.question.contains(part), "{part:?} is not in {}", q.question);
    }
    assert!(q.question.contains("\n````\n"), "the fence is longer than any inside: {}", q.question);
    assert_eq!(lines(&host, "chief").len(), 1);
    started.stop(Boxes::Stop).await;
}

#[tokio::test]
async fn long_requests_are_shown_whole_and_huge_ones_to_nobody() {
    let root = tempfile::tempdir().unwrap();
    let started = host(root.path()).await;
    let host = started.host();
    let install = |n: usize| Action::InstallPackages {
        agent: AgentId::parse("ag-1").unwrap(),
        apt: (0..n).map(|n| format!("package-{n}")).collect(),
        npm: Vec::new(),
        reason: "x".repeat(100),
    };
    let why = ask(
        &host,
        Action::InstallPackages {
            agent: AgentId::parse("ag-1").unwrap(),
            apt: Vec::new(),
            npm: Vec::new(),
            reason: "x".repeat(100 << 20),
        },
        "huge",
    )
    .unwrap_err();
    assert!(why.contains("65536 bytes"), "{why}");
    assert!(lines(&host, "boss").is_empty());
    ask(&host, install(3000), "long").unwrap();
    let [all, card] = <[Mail; 2]>::try_from(lines(&host, "boss")).unwrap();
    assert!(
        (0..3000).all(|n| all.body.contains(&format!("package-{n}\\\""))),
        "something is left out"
    );
    assert!(card.body.contains("Every detail is in the message above."));
    for n in 0..ASKED_MAX - 1 {
        ask(&host, install(1), &format!("k{n}")).unwrap();
    }
    assert!(ask(&host, install(1), "one more").unwrap_err().contains("10 requests wait"));
    started.stop(Boxes::Stop).await;
}

#[tokio::test]
async fn two_of_two_people_must_approve_and_each_has_one_vote() {
    let root = tempfile::tempdir().unwrap();
    let started = host(root.path()).await;
    let host = started.host();
    let now = Noon.now();
    let phone = UserId::parse("y:boss").unwrap();
    host.central.upsert_user(&phone, "y", None, now).unwrap();
    host.central.link_users(&UserId::parse("x:boss").unwrap(), &phone, now).unwrap();
    host.central.put_setting(NEEDED, Some("3")).unwrap();
    assert!(ask(&host, unknown_command(), "a").unwrap_err().contains("only 2 can be reached"));
    host.central.put_setting(NEEDED, Some("2")).unwrap();
    let id = ask(&host, unknown_command(), "a").unwrap();
    assert_eq!(
        decide(&host, &id, "boss", "approve"),
        Decided::Taken("✅ Approved; 1 more needed".into())
    );
    assert!(matches!(decide(&host, &id, "boss", "approve"), Decided::Refused(_)));
    assert!(matches!(
        host.decide(&id, Voter::Person(&phone), "approve").unwrap(),
        Decided::Refused(_)
    ));
    // Whoever runs the machine is the first owner, and has voted.
    assert!(matches!(host.decide(&id, Voter::Operator, "approve").unwrap(), Decided::Refused(_)));
    assert!(matches!(decide(&host, &id, "nobody", "approve"), Decided::Refused(_)));
    assert_eq!(host.central.approval(&id).unwrap().unwrap().status, ApprovalStatus::Pending);
    assert_eq!(decide(&host, &id, "chief", "approve"), Decided::Taken("✅ Approved".into()));
    let a = settled(&host, &id).await;
    assert_eq!(a.status, ApprovalStatus::Failed, "there is no such command");
    assert!(matches!(decide(&host, &id, "chief", "approve"), Decided::Late(_)));
    let told = told(&host);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(!told[0].contains("ap-"), "the agent learns no id: {told:?}");
    assert!(told[0].contains("✅ Approved by chief. ⚠️ But it failed"), "{told:?}");
    let last = lines(&host, "boss").pop().unwrap();
    assert!(last.body.contains("Approved by chief"), "{}", last.body);
    started.stop(Boxes::Stop).await;
}

#[tokio::test]
async fn one_rejection_is_enough_and_the_agent_is_told() {
    let root = tempfile::tempdir().unwrap();
    let started = host(root.path()).await;
    let host = started.host();
    host.central.put_setting(NEEDED, Some("2")).unwrap();
    let id = ask(&host, unknown_command(), "a").unwrap();
    assert_eq!(
        host.decide(&id, Voter::Operator, "reject").unwrap(),
        Decided::Taken("❌ Rejected".into())
    );
    assert_eq!(settled(&host, &id).await.status, ApprovalStatus::Rejected);
    assert!(told(&host)[0].contains("❌ Rejected by the operator."));
    started.stop(Boxes::Stop).await;
}

#[tokio::test]
async fn a_request_that_was_changed_is_not_carried_out() {
    let root = tempfile::tempdir().unwrap();
    let started = host(root.path()).await;
    let host = started.host();
    let id = ask(&host, unknown_command(), "a").unwrap();
    let conn = rusqlite::Connection::open(root.path().join("data/v2.db")).unwrap();
    let change = "UPDATE pending_approvals SET payload = replace(payload, 'no-such', 'other')";
    conn.execute(change, []).unwrap();
    let Decided::Refused(why) = decide(&host, &id, "boss", "approve") else { panic!() };
    assert!(why.contains("changed"), "{why}");
    conn.execute("UPDATE pending_approvals SET status = 'approved', chosen = 'approve'", [])
        .unwrap();
    settle(&host, &id, Since::Now).await.unwrap();
    let a = host.central.approval(&id).unwrap().unwrap();
    assert_eq!(a.status, ApprovalStatus::Failed);
    assert!(a.outcome.unwrap().contains("changed"));
    started.stop(Boxes::Stop).await;
}

#[tokio::test]
async fn a_crash_in_the_middle_is_told_honestly_and_nothing_runs_twice() {
    let root = tempfile::tempdir().unwrap();
    let started = host(root.path()).await;
    let (id, decided) = {
        let host = started.host();
        let (a, b) = (
            ask(&host, unknown_command(), "a").unwrap(),
            ask(&host, unknown_command(), "b").unwrap(),
        );
        let conn = rusqlite::Connection::open(root.path().join("data/v2.db")).unwrap();
        let set =
            "UPDATE pending_approvals SET status = ?2, chosen = 'approve', decided_by = 'boss'
                   WHERE approval_id = ?1";
        conn.execute(set, [a.as_str(), "applying"]).unwrap();
        conn.execute(set, [b.as_str(), "approved"]).unwrap();
        (a, b)
    };
    started.stop(Boxes::Stop).await;
    let started = host(root.path()).await;
    let host = started.host();
    let a = settled(&host, &id).await;
    assert_eq!(a.status, ApprovalStatus::Failed);
    assert!(a.outcome.unwrap().contains("It may have happened or not"));
    let b = settled(&host, &decided).await;
    assert!(!b.outcome.unwrap().contains("may have happened"), "it had not begun, so it runs");
    assert_eq!(told(&host).len(), 2);
    started.stop(Boxes::Stop).await;
}

#[tokio::test]
async fn what_an_agent_may_do_everywhere_is_not_for_its_own_admins() {
    let root = tempfile::tempdir().unwrap();
    let started = host(root.path()).await;
    let (host, now) = (started.host(), Noon.now());
    let (helper, agent) = (UserId::parse("x:helper").unwrap(), AgentId::parse("ag-1").unwrap());
    host.central.upsert_user(&helper, "x", None, now).unwrap();
    host.central.grant_role(&helper, Role::Admin, Some(&agent), None, now).unwrap();
    let mut config = host.central.config(&agent).unwrap().unwrap();
    config.cli_scope = CliScope::Global;
    host.central.put_config(&agent, &config, now).unwrap();
    let id = ask(&host, unknown_command(), "a").unwrap();
    assert!(matches!(decide(&host, &id, "helper", "approve"), Decided::Refused(_)));
    config.cli_scope = CliScope::Group;
    host.central.put_config(&agent, &config, now).unwrap();
    assert!(matches!(decide(&host, &id, "helper", "approve"), Decided::Taken(_)));
    // Whom it may write to, and what else lies on the machine, is more than its own.
    let of_the_machine = OF_THE_MACHINE.map(|name| ("groups-config-update", name));
    for (command, name) in [("destinations-add", "target_id")].into_iter().chain(of_the_machine) {
        let args = BTreeMap::from([(name.to_owned(), Value::from("ag-2"))]);
        let action = Action::Command { agent: agent.clone(), command: command.into(), args };
        let id = ask(&host, action, name).unwrap();
        assert!(matches!(decide(&host, &id, "helper", "approve"), Decided::Refused(_)));
    }
    started.stop(Boxes::Stop).await;
}

fn packages() -> Action {
    Action::InstallPackages {
        agent: AgentId::parse("ag-1").unwrap(),
        apt: vec!["jq".into()],
        npm: Vec::new(),
        reason: String::new(),
    }
}

fn text(markdown: &str) -> nanoclaw_channel::Body {
    nanoclaw_channel::Body::Text { markdown: markdown.into(), files: Vec::new() }
}

/// Too many lines wait for one approver: what was approved is done all the same.
#[tokio::test]
async fn a_chat_that_is_full_stops_nothing() {
    let root = tempfile::tempdir().unwrap();
    let started = host(root.path()).await;
    let host = started.host();
    let id = ask(&host, packages(), "out-1").unwrap();
    let boss = host.known_dm(&UserId::parse("x:boss").unwrap()).unwrap().unwrap();
    for n in 0..1_100 {
        drop(host.mail(&format!("n{n}"), &boss, text("x")));
    }
    assert!(matches!(decide(&host, &id, "chief", "approve"), Decided::Taken(_)));
    assert_eq!(settled(&host, &id).await.status, ApprovalStatus::Failed);
    assert!(told(&host).iter().any(|row| row.contains("cannot install packages")));
    started.stop(Boxes::Stop).await;
}

static OPENED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

struct Closed;

#[async_trait]
impl nanoclaw_channel::Channel for Closed {
    fn capabilities(&self) -> nanoclaw_channel::Capabilities {
        nanoclaw_channel::Capabilities {
            edits: true,
            buttons: true,
            ..nanoclaw_channel::Capabilities::TEXT
        }
    }
    async fn send(
        &self,
        _: &nanoclaw_channel::Outgoing,
    ) -> Result<nanoclaw_channel::Receipt, nanoclaw_channel::SendError> {
        Err(nanoclaw_channel::SendError::Reject { why: "closed".into() })
    }
    async fn open_dm(&self, _: &str) -> Result<PlatformId, nanoclaw_channel::SendError> {
        OPENED.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Err(nanoclaw_channel::SendError::Retry { after: None, why: "it hangs".into() })
    }
}

/// Every message of a stranger asks for the owner's direct chat, and waits for it.
#[tokio::test]
async fn a_direct_chat_that_does_not_open_is_not_asked_for_with_every_message() {
    static CLOSED: nanoclaw_channel::ChannelDef = nanoclaw_channel::ChannelDef {
        name: "x",
        settings: &[],
        start: |_| Box::pin(async { Ok(Arc::new(Closed) as Arc<dyn nanoclaw_channel::Channel>) }),
    };
    static ALL: [&nanoclaw_channel::ChannelDef; 1] = [&CLOSED];
    let root = tempfile::tempdir().unwrap();
    let started = host_with(root.path(), &ALL).await;
    let host = started.host();
    while host.channels.get(&ChannelType::parse("x").unwrap()).is_none() {
        tokio::task::yield_now().await;
    }
    for _ in 0..3 {
        let h = host.clone();
        let dm = blocking(move || h.dm(&UserId::parse("x:boss").unwrap())).await.unwrap();
        assert_eq!(dm, None);
    }
    assert_eq!(OPENED.load(std::sync::atomic::Ordering::SeqCst), 1);
    started.stop(Boxes::Stop).await;
}

/// Somebody holds the inbox of one new session; others are opened meanwhile.
#[tokio::test]
async fn one_session_that_is_made_ready_keeps_no_other_waiting() {
    let root = tempfile::tempdir().unwrap();
    let started = host(root.path()).await;
    let host = started.host();
    let one = host.central.session(&SessionId::parse("sess-1").unwrap()).unwrap().unwrap();
    let two = Session { id: SessionId::parse("sess-2").unwrap(), chat: None, ..one.clone() };
    let dir = nanoclaw_contract::dir::SessionDir::new(&host.config.data, &one.agent, &one.id);
    let inbound = dir.unwrap().inbound();
    std::fs::create_dir_all(inbound.parent().unwrap()).unwrap();
    let holder = rusqlite::Connection::open(inbound).unwrap();
    holder.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    let h = host.clone();
    let waits = std::thread::spawn(move || h.files(&one).map(drop));
    // Whenever the other begins to wait, this one is through before it ends: it waits for the holder.
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_millis(500) {
        let asked = std::time::Instant::now();
        host.files(&two).unwrap();
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        std::thread::yield_now();
    }
    assert!(!waits.is_finished(), "the other did not wait");
    drop(holder);
    waits.join().unwrap().unwrap();
    started.stop(Boxes::Stop).await;
}

/// A clean stop that leaves boxes running must not forget who stands in line for one.
#[tokio::test]
async fn who_stands_in_line_when_the_host_stops_is_looked_at_by_the_next() {
    let root = tempfile::tempdir().unwrap();
    let started = host(root.path()).await;
    let host = started.host();
    host.slots.adopt(&SessionId::parse("sess-other").unwrap());
    let id = SessionId::parse("sess-1").unwrap();
    host.tell_agent(&id, "k", "work", true).unwrap();
    while host.slots.wanted() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    started.stop(Boxes::Leave).await;
    assert_eq!(host.central.due_sessions(Noon.now(), 10).unwrap(), [id]);
}

/// The notice of a task that paused itself is sent once, also when its line was pruned since.
#[tokio::test]
async fn a_task_that_paused_itself_says_so_once() {
    let root = tempfile::tempdir().unwrap();
    let started = host(root.path()).await;
    let host = started.host();
    let session = host.central.session(&SessionId::parse("sess-1").unwrap()).unwrap().unwrap();
    let files = host.files(&session).unwrap();
    files
        .push(nanoclaw_contract::message::NewIn {
            id: ids::MessageId::parse("t").unwrap(),
            kind: nanoclaw_contract::message::InKind::Task,
            timestamp: Noon.now(),
            process_after: None,
            recurrence: Some("0 9 * * *".into()),
            trigger: nanoclaw_contract::message::Trigger::Wake,
            reply: None,
            content: r#"{"prompt": "p", "why": "it failed"}"#.into(),
            source: None,
            on_wake: false,
        })
        .unwrap();
    let pause = nanoclaw_contract::inbox::Order::Pause;
    files.with(|i| i.order_task("t", &pause, Noon.now(), "UTC")).unwrap().unwrap();
    crate::tasks::recover(&host, &session).unwrap();
    assert_eq!(lines(&host, "boss").len(), 1);
    let conn = rusqlite::Connection::open(host.config.data.join("v2.db")).unwrap();
    conn.execute("DELETE FROM mail", []).unwrap();
    crate::tasks::recover(&host, &session).unwrap();
    assert_eq!(lines(&host, "boss").len(), 0);
    started.stop(Boxes::Stop).await;
}

#[tokio::test]
async fn as_many_files_may_be_open_as_the_machine_allows() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(1_000), ..files }).unwrap();
    let root = tempfile::tempdir().unwrap();
    let started = host(root.path()).await;
    assert_eq!(getrlimit(Resource::Nofile).current, files.maximum);
    started.stop(Boxes::Stop).await;
}
