//! A program in the place of Claude Code that does its worst: the agent can put one there.

use crate::world::{Agent, World, is_turn_end};
use nanoclaw_runner::provider::{Command, ErrorKind, Event, ProviderError};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

struct Impostor {
    world: World,
    agent: Agent,
}

async fn impostor(script: &str) -> Impostor {
    let world = World::new().await;
    let path = world.agent_dir().join("claude.sh");
    std::fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let agent = world.start(|setup| {
        let path = path.to_str().unwrap().to_owned();
        setup.env.insert("NANOCLAW_CLAUDE".to_owned(), path);
    });
    Impostor { world, agent }
}

impl Impostor {
    /// Stops it, and sees that it takes no longer than it may.
    async fn stop(mut self) -> Option<ProviderError> {
        let before = Instant::now();
        self.agent.send(Command::Stop { grace: Duration::from_secs(2) }).await;
        let end = self.agent.end().await;
        assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
        self.world.until_processes(|n| n == 0).await;
        end
    }
}

const READY: &str = r#"echo '{"type":"system","subtype":"init","session_id":"s"}'"#;

#[tokio::test]
async fn one_that_ignores_everything_is_ended() {
    let mut it = impostor(&format!("{READY}; trap '' TERM; while :; do sleep 0.1; done")).await;
    it.agent.until(|e| *e == Event::TurnStarted).await;
    assert_eq!(it.stop().await, None);
}

#[tokio::test]
async fn one_that_never_stops_talking_can_be_stopped() {
    let mut it = impostor(&format!("{READY}; trap '' TERM; while :; do {READY}; done")).await;
    it.agent.until(|e| *e == Event::TurnStarted).await;
    assert_eq!(it.stop().await, None);
}

#[tokio::test]
async fn one_that_asks_without_end_is_given_up() {
    let ask = r#"{"type":"control_request","request_id":"r","request":{"subtype":"why"}}"#;
    let mut it = impostor(&format!("{READY}; while :; do echo '{ask}'; done")).await;
    let end = loop {
        let activity = |e: &Event| matches!(e, Event::Activity | Event::Exited(_));
        if let Some(Event::Exited(end)) = it.agent.until(activity).await.pop() {
            break end.expect("an error");
        }
    };
    assert!(end.detail.contains("stopped reading"), "{end:?}");
    it.world.until_processes(|n| n == 0).await;
}

#[tokio::test]
async fn one_that_leaves_someone_with_the_pipe_is_seen_to_be_gone() {
    let mut it = impostor(&format!("{READY}; setsid sleep 1000 & exit 3")).await;
    let end = it.agent.end().await.expect("an error");
    assert_eq!(end.kind, ErrorKind::Other);
    assert!(end.detail.contains("exit status: 3"), "{end:?}");
    it.world.until_processes(|n| n == 0).await;
}

#[tokio::test]
async fn a_provider_that_is_dropped_leaves_nothing_behind() {
    let it = impostor(&format!("{READY}; setsid sleep 1000 & sleep 1000")).await;
    it.world.until_processes(|n| n >= 3).await;
    it.agent.abandon();
    it.world.until_processes(|n| n == 0).await;
}

#[tokio::test]
async fn one_that_talks_nonsense_is_heard_where_it_makes_sense() {
    let it = impostor(
        r#"printf '\0\377\n{"type":"result"'; head -c 3000000 /dev/zero | tr '\0' x; echo
        echo 'warning: {"type":"result"}'
        echo '{"type":"system","subtype":"init","session_id":"s"}'
        echo '{"type":"result","subtype":"success","num_turns":0,"result":"héllo"}'
        cat >/dev/null"#,
    );
    let mut it = it.await;
    let seen = it.agent.until(is_turn_end).await;
    let Some(Event::TurnEnded(Ok(end))) = seen.last() else { panic!("{seen:?}") };
    assert_eq!(end.notice.as_deref(), Some("héllo"));
    assert_eq!(it.stop().await, None);
}
