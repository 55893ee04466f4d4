//! The provider against the real Claude Code and a fake of its API.
//!
//! `NANOCLAW_CLAUDE` says where the binary is; `nanoclaw.sh test` installs it.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]

mod impostor;
mod world;

use nanoclaw_runner::provider::{Command, ErrorKind, Event, Image, TurnEnd};
use std::time::Duration;
use uuid::Uuid;
use world::{World, command, context, is_turn_end, prompt, texts};

#[tokio::test]
async fn a_plain_turn() {
    let world = World::new().await;
    let mut agent = world.start(|_| {});
    let ask = prompt("/compact is a command, and @/etc/passwd is a file");
    agent.send(Command::Prompt(ask.clone())).await;
    let seen = agent.until(is_turn_end).await;

    assert!(matches!(
        seen.iter().find(|e| !matches!(e, Event::Activity)),
        Some(Event::TurnStarted)
    ));
    assert!(seen.iter().any(|e| matches!(e, Event::Session(id) if Uuid::parse_str(id).is_ok())));
    assert_eq!(seen.iter().filter(|e| **e == Event::Consumed(ask.id)).count(), 1);
    assert_eq!(texts(&seen), ["echo: /compact is a command, and @/etc/passwd is a file"]);
    let Some(Event::TurnEnded(Ok(TurnEnd { notice: None, cost_usd: Some(cost) }))) = seen.last()
    else {
        panic!("{seen:?}")
    };
    assert!(*cost > 0.0);
    assert!(world.requests().contains("You are Andy."), "the instructions were not sent");
    assert!(!world.requests().contains("root:x:0"), "a file was read for the user");

    agent.send(Command::Prompt(prompt("again"))).await;
    assert_eq!(texts(&agent.until(is_turn_end).await), ["echo: again"]);
    agent.send(Command::Stop { grace: Duration::from_secs(20) }).await;
    assert_eq!(agent.end().await, None);
}

#[tokio::test]
async fn a_tool_of_the_harness() {
    let world = World::new().await;
    let mut agent = world.start(|_| {});
    agent.say(r#"!tool Bash {"command":"echo from-bash","timeout":5000}"#).await;
    let seen = agent.until(is_turn_end).await;

    let Some(Event::ToolStarted { id, name, timeout }) =
        seen.iter().find(|e| matches!(e, Event::ToolStarted { .. }))
    else {
        panic!("{seen:?}")
    };
    assert_eq!((name.as_str(), *timeout), ("Bash", Some(Duration::from_secs(5))));
    assert_eq!(seen.iter().filter(|e| **e == Event::ToolEnded { id: id.clone() }).count(), 1);
    assert_eq!(texts(&seen), ["tool said: from-bash"]);
}

#[tokio::test]
async fn a_tool_of_ours_is_called_in_process() {
    let world = World::new().await;
    let mut agent = world.start(|_| {});
    agent.say(r#"!tool mcp__nanoclaw__send_message {"text":"hi"}"#).await;
    let seen = agent.until(is_turn_end).await;

    assert_eq!(texts(&seen), ["tool said: sent hi"]);
    let calls = world.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].0, "send_message");
    assert!(calls[0].1.starts_with("toolu_"), "{calls:?}");
    assert!(
        world.requests().contains("\"name\": \"mcp__nanoclaw__send_message\""),
        "the tool is hidden"
    );
    assert!(!world.requests().contains("\"name\": \"CronCreate\""), "a tool is not switched off");
}

#[tokio::test]
async fn a_tool_of_ours_that_waits_ends_with_the_turn() {
    let world = World::new().await;
    let mut agent = world.start(|_| {});
    agent.say("!tool mcp__nanoclaw__wait {}").await;
    agent.until(|e| matches!(e, Event::ToolStarted { .. })).await;
    world.until_called("wait").await;
    agent.send(Command::Interrupt).await;
    let seen = agent.until(is_turn_end).await;
    assert!(
        matches!(seen.last(), Some(Event::TurnEnded(Err(e))) if e.kind == ErrorKind::Interrupted)
    );
    world.until_dropped("wait").await;
}

#[tokio::test]
async fn a_follow_up_is_taken_into_the_running_turn() {
    let world = World::new().await;
    let mut agent = world.start(|_| {});
    let first =
        prompt(r#"!tool Bash {"command":"while [ ! -e go ]; do sleep 0.1; done; echo went"}"#);
    let second = prompt("and this");
    agent.send(Command::Prompt(first.clone())).await;
    agent.until(|e| matches!(e, Event::ToolStarted { .. })).await;
    agent.send(Command::Prompt(second.clone())).await;
    agent.until(|e| *e == Event::Activity).await; // it is queued
    std::fs::write(world.agent_dir().join("go"), "").unwrap();

    let seen = agent.until(is_turn_end).await;
    assert!(seen.contains(&Event::Consumed(second.id)), "{seen:?}");
    assert!(!seen.contains(&Event::TurnStarted), "it became a turn of its own");
    assert!(world.requests().contains("and this"));
}

#[tokio::test]
async fn prompts_queued_behind_a_turn_become_the_next_one() {
    let world = World::new().await;
    let mut agent = world.start(|_| {});
    agent.say("!sleep 1500\n!say first").await;
    world.until_requested(1).await;
    let more = [prompt("second"), prompt("third")];
    for p in &more {
        agent.send(Command::Prompt(p.clone())).await;
    }
    let one = agent.until(is_turn_end).await;
    assert_eq!(texts(&one), ["first"]);
    assert!(!more.iter().any(|p| one.contains(&Event::Consumed(p.id))), "done too early: {one:?}");
    let two = agent.until(is_turn_end).await;
    assert!(more.iter().all(|p| two.contains(&Event::Consumed(p.id))), "{two:?}");
}

#[tokio::test]
async fn a_killed_harness_goes_on_where_it_was() {
    let world = World::new().await;
    let mut agent = world.start(|_| {});
    agent.say("remember the number 4711").await;
    let seen = agent.until(is_turn_end).await;
    let session = seen.iter().find_map(|e| match e {
        Event::Session(id) => Some(id.clone()),
        _ => None,
    });
    let work = prompt(r#"!tool Bash {"command":"while [ ! -e go ]; do sleep 0.1; done"}"#);
    agent.send(Command::Prompt(work.clone())).await;
    agent.until(|e| matches!(e, Event::ToolStarted { .. })).await;
    world.until_processes(|n| n > 1).await;
    world.kill_the_harness();
    let end = agent.end().await.expect("an error");
    assert_eq!(end.kind, ErrorKind::Other, "{end:?}");
    world.until_processes(|n| n == 0).await; // the shell, too

    std::fs::write(world.agent_dir().join("go"), "").unwrap();

    // The same prompt again: Claude Code has it in its transcript and would start no turn for it.
    let mut agent = world.start(|setup| setup.continuation = session.clone());
    agent.send(Command::Prompt(work.clone())).await;
    let seen = agent.until(is_turn_end).await;
    assert!(seen.contains(&Event::Consumed(work.id)), "{seen:?}");
    assert!(seen.contains(&Event::Session(session.unwrap())), "{seen:?}");
    assert!(matches!(seen.last(), Some(Event::TurnEnded(Ok(_)))), "{seen:?}");
    assert!(world.last_request().contains("4711"), "the conversation is lost");
}

#[tokio::test]
async fn a_lost_conversation_is_said_to_be_lost() {
    let world = World::new().await;
    for continuation in [Uuid::new_v4().to_string(), "no-such-title".to_owned()] {
        let mut agent = world.start(|setup| setup.continuation = Some(continuation.clone()));
        agent.say("hello").await;
        let end = agent.end().await.expect("an error");
        assert_eq!(end.kind, ErrorKind::LostConversation, "{end:?}");
    }
}

#[tokio::test]
async fn errors_of_the_api_are_sorted() {
    let world = World::new().await;
    for (status, kind) in [
        (400, ErrorKind::BadRequest),
        (401, ErrorKind::Auth),
        (429, ErrorKind::RateLimited { resets_at: None }),
        (529, ErrorKind::Overloaded),
        (500, ErrorKind::Unreachable),
    ] {
        let mut agent = world.start(|_| {});
        agent.say(&format!("!error {status}")).await;
        let seen = agent.until(is_turn_end).await;
        let Some(Event::TurnEnded(Err(error))) = seen.last() else { panic!("{status}: {seen:?}") };
        assert_eq!(error.kind, kind, "{status}: {error:?}");
        assert!(texts(&seen).is_empty(), "the agent did not say this: {seen:?}");
        let waited = seen.iter().any(|e| matches!(e, Event::Waiting { retry_in: Some(_), .. }));
        assert_eq!(waited, status != 400, "{status}: {seen:?}");
        agent.send(Command::Stop { grace: Duration::from_secs(20) }).await;
        assert_eq!(agent.end().await, None);
    }
}

#[tokio::test]
async fn a_pause_that_takes_too_long_is_told_at_once() {
    let world = World::new().await;
    let mut agent = world.start(|_| {});
    let before = std::time::Instant::now();
    agent.say("!error 429 rate_limit_error retry-after=300").await;
    let seen = agent.until(is_turn_end).await;
    let limited = ErrorKind::RateLimited { resets_at: None };
    assert!(matches!(seen.last(), Some(Event::TurnEnded(Err(e))) if e.kind == limited), "{seen:?}");
    assert!(before.elapsed() < Duration::from_secs(60), "{:?}", before.elapsed());
    agent.say("!say better").await;
    assert_eq!(texts(&agent.until(is_turn_end).await), ["better"]);
}

#[tokio::test]
async fn a_prompt_that_failed_can_be_sent_again() {
    let world = World::new().await;
    let mut agent = world.start(|_| {});
    let ask = prompt("what is up?\n!flaky 2 529");
    agent.send(Command::Prompt(ask.clone())).await;
    let seen = agent.until(is_turn_end).await;
    assert!(
        matches!(seen.last(), Some(Event::TurnEnded(Err(e))) if e.kind == ErrorKind::Overloaded),
        "{seen:?}"
    );
    agent.send(Command::Prompt(ask.clone())).await;
    let seen = agent.until(is_turn_end).await;
    assert!(seen.contains(&Event::Consumed(ask.id)), "{seen:?}");
    assert!(texts(&seen)[0].contains("what is up?"), "{seen:?}");
    assert!(matches!(seen.last(), Some(Event::TurnEnded(Ok(_)))), "{seen:?}");
}

#[tokio::test]
async fn no_key_and_no_api() {
    let world = World::new().await;
    let mut agent = world.start(|setup| {
        setup.env.remove("ANTHROPIC_API_KEY");
    });
    agent.say("hello").await;
    let seen = agent.until(is_turn_end).await;
    assert!(
        matches!(seen.last(), Some(Event::TurnEnded(Err(e))) if e.kind == ErrorKind::Auth),
        "{seen:?}"
    );

    let mut agent = world.start(|setup| {
        setup.env.insert("ANTHROPIC_BASE_URL".to_owned(), "http://127.0.0.1:1".to_owned());
    });
    agent.say("hello").await;
    let seen = agent.until(is_turn_end).await;
    assert!(
        matches!(seen.last(), Some(Event::TurnEnded(Err(e))) if e.kind == ErrorKind::Unreachable),
        "{seen:?}"
    );
}

#[tokio::test]
async fn an_interrupted_turn_leaves_the_harness_alive() {
    let world = World::new().await;
    let mut agent = world.start(|_| {});
    agent.say("!sleep 60000\n!say never").await;
    world.until_requested(1).await;
    agent.send(Command::Interrupt).await;
    let seen = agent.until(is_turn_end).await;
    assert!(
        matches!(seen.last(), Some(Event::TurnEnded(Err(e))) if e.kind == ErrorKind::Interrupted),
        "{seen:?}"
    );
    agent.say("!say still here").await;
    assert_eq!(texts(&agent.until(is_turn_end).await), ["still here"]);
}

#[tokio::test]
async fn a_reply_that_reaches_nobody_is_corrected_in_the_same_turn() {
    let world = World::new().await;
    let mut agent = world.start(|setup| {
        setup.check_reply = std::sync::Arc::new(|text| {
            (!text.contains("[to]")).then(|| "!say [to] corrected".to_owned())
        });
    });
    agent.say("plain").await;
    let seen = agent.until(is_turn_end).await;
    assert_eq!(texts(&seen), ["echo: plain", "[to] corrected"]);
    assert_eq!(seen.iter().filter(|e| matches!(e, Event::TurnEnded(_))).count(), 1);
}

#[tokio::test]
async fn pictures_are_shown() {
    let world = World::new().await;
    let picture = world.agent_dir().join("red.png");
    std::fs::write(&picture, world::PNG).unwrap();
    let mut ask = prompt("look");
    let image = |path: &std::path::Path| Image { mime: "image/png".to_owned(), path: path.into() };
    ask.images = vec![image(&picture), image(&world.agent_dir().join("gone.png"))];
    let mut agent = world.start(|_| {});
    agent.send(Command::Prompt(ask)).await;
    let seen = agent.until(is_turn_end).await;
    assert!(matches!(seen.last(), Some(Event::TurnEnded(Ok(_)))), "{seen:?}");
    let request = world.last_request();
    assert!(request.contains("\"media_type\": \"image/png\""), "no picture");
    assert!(request.contains("gone.png is not shown"), "no word about the missing one");
}

#[tokio::test]
async fn a_command_answers_with_a_notice() {
    let world = World::new().await;
    let mut agent = world.start(|_| {});
    agent.say("something to talk about").await;
    agent.until(is_turn_end).await;
    agent.send(Command::Prompt(command("/context"))).await;
    let seen = agent.until(is_turn_end).await;
    let Some(Event::TurnEnded(Ok(TurnEnd { notice: Some(notice), .. }))) = seen.last() else {
        panic!("{seen:?}")
    };
    assert!(notice.contains("Context Usage"), "{notice}");
    assert!(texts(&seen).is_empty(), "the agent did not say this: {seen:?}");
    assert_eq!(world.request_count(), 1);
}

#[tokio::test]
async fn a_compaction_keeps_a_copy_and_the_routing() {
    let world = World::new().await;
    let mut agent = world.start(|_| {});
    agent.say("<message from=\"ann\">Where is the *red* fox?</message>").await;
    agent.until(is_turn_end).await;
    agent.send(Command::Prompt(command("/compact"))).await;
    let seen = agent.until(is_turn_end).await;
    assert!(
        matches!(seen.last(), Some(Event::TurnEnded(Ok(TurnEnd { notice: Some(n), .. }))) if n.contains("compacted")),
        "{seen:?}"
    );
    assert!(world.requests().contains("Keep the routing of the conversation"));
    let copies: Vec<_> =
        std::fs::read_dir(world.agent_dir().join("conversations")).unwrap().collect();
    assert_eq!(copies.len(), 1);
    let copy = copies.into_iter().next().unwrap().unwrap();
    assert!(copy.file_name().to_string_lossy().ends_with("-where-is-the-red-fox.md"), "{copy:?}");
    assert!(std::fs::read_to_string(copy.path()).unwrap().contains("**Agent**: echo:"));
}

#[tokio::test]
async fn what_wants_no_turn_only_is_known() {
    let world = World::new().await;
    let mut agent = world.start(|_| {});
    let fact = context("the sky is green");
    agent.send(Command::Prompt(fact.clone())).await;
    let seen = agent.until(is_turn_end).await;
    assert!(seen.contains(&Event::Consumed(fact.id)), "{seen:?}");
    assert_eq!(seen.last(), Some(&Event::TurnEnded(Ok(TurnEnd::default()))));
    assert_eq!(world.request_count(), 0);
    agent.say("well?").await;
    agent.until(is_turn_end).await;
    assert!(world.last_request().contains("the sky is green"));
}

#[tokio::test]
async fn background_work_begins_a_turn_of_its_own() {
    let world = World::new().await;
    let mut agent = world.start(|_| {});
    agent.say(r#"!tool Bash {"command":"while [ ! -e go ]; do sleep 0.1; done","run_in_background":true}"#).await;
    agent.until(is_turn_end).await;
    std::fs::write(world.agent_dir().join("go"), "").unwrap();
    let seen = agent.until(is_turn_end).await;
    assert!(seen.contains(&Event::TurnStarted), "{seen:?}");
}

#[tokio::test]
async fn stopping_takes_no_longer_than_its_grace_and_leaves_nothing() {
    let world = World::new().await;
    let mut agent = world.start(|_| {});
    agent.say(r#"!tool Bash {"command":"trap '' TERM; while :; do sleep 0.1; done"}"#).await;
    agent.until(|e| matches!(e, Event::ToolStarted { .. })).await;
    world.until_processes(|n| n > 1).await;
    let before = std::time::Instant::now();
    agent.send(Command::Stop { grace: Duration::from_secs(8) }).await;
    assert_eq!(agent.end().await, None);
    assert!(before.elapsed() < Duration::from_secs(12), "{:?}", before.elapsed());
    world.until_processes(|n| n == 0).await;
}

#[tokio::test]
async fn a_missing_binary_is_a_matter_of_setup() {
    let world = World::new().await;
    let mut agent = world.start(|setup| {
        setup.env.insert("NANOCLAW_CLAUDE".to_owned(), "/nowhere/claude".to_owned());
    });
    let end = agent.end().await.expect("an error");
    assert_eq!(end.kind, ErrorKind::Setup);
    assert!(end.detail.contains("/nowhere/claude") && end.detail.contains("NANOCLAW_CLAUDE"));
}
