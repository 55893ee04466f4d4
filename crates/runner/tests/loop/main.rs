//! The real loop, in-process, on a session folder made by the host's half of the contract, with the
//! demo provider or one that a test writes.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on shall fail on the spot"
)]

mod kit;
mod ncl;
mod tools;

use kit::{Box_, Host, row};
use nanoclaw_contract::message::{InKind, InStatus, Trigger};
use nanoclaw_contract::time::Timestamp;
use nanoclaw_runner::provider::{Command, ErrorKind, Event, ProviderError, TurnEnd};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn a_message_is_answered_and_done() {
    let host = Host::new();
    host.push(&[row("m1", "echo hello")]);
    let runner = Box_::demo(&host);
    let out = host.wait(1).await;
    assert_eq!(out[0].text(), "hello (demo agent)");
    assert_eq!(out[0].in_reply_to.as_deref(), Some("m1"));
    assert_eq!(out[0].to.as_deref(), Some("cli/local/-"));
    assert_eq!(host.done("m1").await, InStatus::Completed);
    runner.stop().await;
    assert!(host.state("continuation:demo").is_some());
}

#[tokio::test]
async fn a_message_that_comes_later_is_heard_at_once() {
    let host = Host::new();
    let runner = Box_::demo(&host);
    host.idle().await;
    for n in 1..=3 {
        let before = std::time::Instant::now();
        host.push(&[row(&format!("m{n}"), &format!("echo {n}"))]);
        host.wait(n).await;
        assert!(before.elapsed() < Duration::from_millis(900), "{:?}", before.elapsed());
    }
    runner.stop().await;
}

#[tokio::test]
async fn twenty_five_messages_are_answered_once_each_and_in_order() {
    let host = Host::new();
    let rows: Vec<_> =
        (1..=25).map(|n| row(&format!("m{n}"), &format!("echo number {n}"))).collect();
    host.push(&rows);
    let runner = Box_::demo(&host);
    let out = host.wait(25).await;
    for (n, out) in out.iter().enumerate() {
        assert_eq!(out.text(), format!("number {} (demo agent)", n + 1));
    }
    for n in 1..=25 {
        assert_eq!(host.done(&format!("m{n}")).await, InStatus::Completed);
    }
    runner.stop().await;
    assert_eq!(host.out().len(), 25);
}

#[tokio::test]
async fn what_is_only_overheard_waits_for_the_next_question_and_goes_along_in_order() {
    let host = Host::new();
    let overheard = |id: &str, text: &str| {
        let mut row = row(id, text);
        row.trigger = Trigger::Context;
        row
    };
    host.push(&[overheard("c1", "echo one"), overheard("c2", "echo two")]);
    let runner = Box_::demo(&host);
    host.idle().await;
    assert!(host.out().is_empty());
    assert!(host.acks().is_empty());
    host.push(&[row("m1", "what did I say")]);
    let out = host.wait(3).await;
    assert_eq!(out[2].text(), "You said:\n- echo one\n- echo two (demo agent)");
    // Also while a turn runs: not pushed into it, not claimed.
    host.push(&[row("m2", "sleep 0.4 seconds")]);
    host.phase("tool").await;
    host.push(&[overheard("c3", "echo three")]);
    host.done("m2").await;
    host.idle().await;
    assert_eq!(host.status("c3"), InStatus::Pending);
    assert!(!host.acks().contains(&"c3".to_owned()));
    runner.stop().await;
}

#[tokio::test]
async fn a_follow_up_is_done_only_when_its_own_turn_is() {
    let host = Host::new();
    let (runner, mut model) = Box_::scripted(&host);
    host.push(&[row("m1", "first")]);
    let first = model.prompt().await;
    model.send(Event::Consumed(first.id)).await;
    host.push(&[row("m2", "second")]);
    let second = model.prompt().await;
    assert!(second.text.contains("second") && !second.text.contains("first"));
    model.say("a", "<message to=\"home\">one</message>").await;
    model.send(Event::TurnEnded(Ok(TurnEnd::default()))).await;
    host.done("m1").await;
    assert_eq!(host.status("m2"), InStatus::Pending);
    model.send(Event::Consumed(second.id)).await;
    model.send(Event::TurnEnded(Ok(TurnEnd::default()))).await;
    host.done("m2").await;
    runner.stop().await;
}

#[tokio::test]
async fn text_of_a_long_turn_is_not_held_back() {
    let host = Host::new();
    let (runner, mut model) = Box_::scripted(&host);
    host.push(&[row("m1", "long work")]);
    let prompt = model.prompt().await;
    model.send(Event::Consumed(prompt.id)).await;
    model.say("a", "<message to=\"home\">I am on it</message>").await;
    host.wait(1).await;
    assert_eq!(host.status("m1"), InStatus::Pending);
    runner.stop().await;
    // The turn was cut short, so the row is free for the next runner, under the same prompt id.
    let (runner, mut model) = Box_::scripted(&host);
    host.push(&[row("m2", "more")]);
    let again = model.prompt().await;
    assert_eq!(again.id, prompt.id);
    model.send(Event::Consumed(again.id)).await;
    model.say("a", "<message to=\"home\">I am on it</message>").await;
    model.say("b", "<message to=\"home\">done</message>").await;
    model.send(Event::TurnEnded(Ok(TurnEnd::default()))).await;
    host.done("m1").await;
    runner.stop().await;
    let texts: Vec<_> = host.out().iter().map(kit::Out::text).collect();
    assert_eq!(texts, ["I am on it", "done"]);
}

#[tokio::test]
async fn bare_text_is_corrected_once_and_then_delivered_as_it_is() {
    let host = Host::new();
    let (runner, mut model) = Box_::scripted(&host);
    host.push(&[row("m1", "hi")]);
    let prompt = model.prompt().await;
    model.send(Event::Consumed(prompt.id)).await;
    model.say("a", "forty-two").await;
    let why = model.check("forty-two").expect("the first time it is corrected");
    assert!(why.contains("home"), "{why}");
    model.say("b", "forty-two, really").await;
    assert_eq!(model.check("forty-two, really"), None);
    model.send(Event::TurnEnded(Ok(TurnEnd::default()))).await;
    let out = host.wait(1).await;
    assert_eq!(out[0].text(), "forty-two, really");
    // A turn that is silent on purpose is left alone.
    host.push(&[row("m2", "no answer needed")]);
    let prompt = model.prompt().await;
    model.send(Event::Consumed(prompt.id)).await;
    assert_eq!(model.check("<internal>nothing to say</internal>"), None);
    model.say("c", "<internal>nothing to say</internal>").await;
    model.send(Event::TurnEnded(Ok(TurnEnd::default()))).await;
    host.done("m2").await;
    runner.stop().await;
    assert_eq!(host.out().len(), 1);
}

#[tokio::test]
async fn an_unknown_destination_is_not_dropped_in_silence() {
    let host = Host::new();
    let (runner, mut model) = Box_::scripted(&host);
    host.push(&[row("m1", "hi")]);
    let prompt = model.prompt().await;
    model.send(Event::Consumed(prompt.id)).await;
    let text = "<message to=\"nobody\">x</message><message to=\"home\">y</message>";
    let why = model.check(text).expect("an unknown name is corrected");
    assert!(why.contains("\"nobody\"") && why.contains("home"), "{why}");
    model.say("a", text).await;
    model.send(Event::TurnEnded(Ok(TurnEnd::default()))).await;
    host.done("m1").await;
    assert_eq!(host.out().len(), 1);
    host.push(&[row("m2", "and?")]);
    let prompt = model.prompt().await;
    assert!(prompt.text.contains("<note>What you wrote to nobody"), "{}", prompt.text);
    runner.stop().await;
}

#[tokio::test]
async fn clear_begins_a_new_conversation_and_says_so_where_it_was_asked() {
    let host = Host::new();
    host.push(&[row("m1", "echo remember me")]);
    let runner = Box_::demo(&host);
    host.done("m1").await;
    host.push(&[row("m2", "sleep 600 seconds")]);
    host.phase("tool").await;
    host.push(&[row("m3", "/clear")]);
    let out = host.wait(2).await;
    assert_eq!(out[1].text(), "Session cleared.");
    assert_eq!(out[1].in_reply_to.as_deref(), Some("m3"));
    host.done("m2").await;
    host.done("m3").await;
    assert!(host.state("continuation:demo").is_none());
    host.push(&[row("m4", "what did I say"), row("m5", "/clearx")]);
    let out = host.wait(4).await;
    assert_eq!(out[2].text(), "You have not said anything before this. (demo agent)");
    assert!(out[3].text().contains("/clearx"), "only an exact match is a command");
    runner.stop().await;
}

#[tokio::test]
async fn a_command_is_given_alone_between_turns() {
    let host = Host::new();
    let (runner, mut model) = Box_::scripted(&host);
    host.push(&[row("m1", "hi"), row("m2", "/cost"), row("m3", "bye")]);
    let first = model.prompt().await;
    assert!(first.command.is_none() && !first.text.contains("bye"));
    model.answer(&first).await;
    let second = model.prompt().await;
    assert_eq!(second.command.as_deref(), Some("/cost"));
    model.send(Event::Consumed(second.id)).await;
    let notice = Some("$0.10".to_owned());
    model.send(Event::TurnEnded(Ok(TurnEnd { notice, cost_usd: None }))).await;
    let third = model.prompt().await;
    assert!(third.text.contains("bye"));
    model.answer(&third).await;
    host.done("m3").await;
    runner.stop().await;
    assert_eq!(host.out()[0].text(), "$0.10");
}

#[tokio::test]
async fn a_failed_turn_is_explained_in_friendly_words() {
    let host = Host::new();
    host.push(&[row("m1", "fail with auth")]);
    let runner = Box_::demo(&host);
    let out = host.wait(1).await;
    assert!(out[0].text().contains("nanoclaw setup"), "{}", out[0].text());
    assert_eq!(host.done("m1").await, InStatus::Completed);
    host.push(&[row("m2", "echo still here")]);
    assert_eq!(host.wait(2).await[1].text(), "still here (demo agent)");
    runner.stop().await;
}

#[tokio::test]
async fn a_harness_that_dies_is_started_again_and_given_up_after_three_times() {
    let host = Host::new();
    let (runner, mut model) = Box_::scripted(&host);
    host.push(&[row("m1", "hi")]);
    let mut ids = Vec::new();
    for _ in 0..3 {
        let prompt = model.prompt().await;
        ids.push(prompt.id);
        let detail = "https://secret.example/ crashed".to_owned();
        model.send(Event::Exited(Some(ProviderError { kind: ErrorKind::Other, detail }))).await;
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "the same prompt under the same id");
    let out = host.wait(1).await;
    assert!(!out[0].text().contains("secret"), "{}", out[0].text());
    assert_eq!(host.done("m1").await, InStatus::Failed);
    runner.stop().await;
}

#[tokio::test]
async fn a_lost_conversation_is_replaced_and_the_message_answered() {
    let host = Host::new();
    host.set_state("continuation:demo", "gone");
    let (runner, mut model) = Box_::scripted(&host);
    host.push(&[row("m1", "hi")]);
    let first = model.prompt().await;
    assert_eq!(model.continuation().as_deref(), Some("gone"));
    let detail = "No conversation found".to_owned();
    let lost = ProviderError { kind: ErrorKind::LostConversation, detail };
    model.send(Event::TurnEnded(Err(lost))).await;
    let again = model.prompt().await;
    assert_eq!((again.id, model.continuation()), (first.id, None));
    model.answer(&again).await;
    host.done("m1").await;
    runner.stop().await;
    assert!(host.out().is_empty(), "nobody was bothered");
}

#[tokio::test]
async fn a_question_is_answered_and_a_late_answer_becomes_a_turn() {
    let host = Host::new();
    host.push(&[row("m1", "ask me something")]);
    let runner = Box_::demo(&host);
    let asked = host.wait(1).await[0].clone();
    assert_eq!(asked.content["options"][1]["value"], "green");
    host.answer("a1", &asked.id, "green");
    let out = host.wait(2).await;
    assert_eq!(out[1].text(), "You chose green. (demo agent)");
    host.done("a1").await;
    host.done("m1").await;
    runner.stop().await;
    let (runner, mut model) = Box_::scripted(&host);
    host.answer("a2", &asked.id, "blue");
    let prompt = model.prompt().await;
    assert!(
        prompt.wants_turn && prompt.text.contains(">(the answer to your question) blue</message>")
    );
    model.answer(&prompt).await;
    host.done("a2").await;
    // Together with something else it is a note.
    host.push(&[row("m2", "hi")]);
    let prompt = model.prompt().await;
    assert!(!prompt.text.contains("blue"), "told once: {}", prompt.text);
    model.answer(&prompt).await;
    host.done("m2").await;
    runner.stop().await;
    assert!(host.state("notes").is_none());
}

/// The box ends while the agent waits. What it was at is told again, with the answer; asking the same once more
/// gives the answer at once.
#[tokio::test]
async fn an_answer_that_came_while_there_was_no_box_is_not_lost() {
    let host = Host::new();
    host.push(&[row("m1", "ask me something")]);
    let runner = Box_::demo(&host);
    let asked = host.wait(1).await[0].clone();
    runner.stop().await;
    host.answer(&format!("qr-{}", asked.id), &asked.id, "red");
    let (runner, mut model) = Box_::scripted(&host);
    let prompt = model.prompt().await;
    assert!(prompt.text.contains("<note>cli:ann answered your question"), "{}", prompt.text);
    assert!(prompt.text.contains("ask me something"), "{}", prompt.text);
    runner.stop().await;
    let runner = Box_::demo(&host);
    let out = host.wait(2).await;
    assert_eq!(out[1].text(), "You chose red. (demo agent)");
    host.done("m1").await;
    assert_eq!(host.out().len(), 2, "it was asked once");
    runner.stop().await;
}

/// What the agent may write to changes while it works: it is told, and the tools know it at once.
#[tokio::test]
async fn destinations_change_under_a_running_box() {
    let host = Host::new();
    let (runner, mut model) = Box_::scripted(&host);
    host.push(&[row("m1", "hi")]);
    let prompt = model.prompt().await;
    model.send(Event::Consumed(prompt.id)).await;
    host.name(&["home", "news"]);
    let sent = model.call("send_message", json!({ "to": "news", "text": "a" }), "c1").await;
    assert_eq!(sent.as_deref(), Ok("Message sent to news (id: 3)"));
    let gone = model.call("send_message", json!({ "to": "peer", "text": "a" }), "c2").await;
    assert_eq!(gone, Err("Unknown destination \"peer\". Known: home, news".into()));
    host.push(&[row("m2", "and?")]);
    let prompt = model.prompt().await;
    for note in
        ["New destinations that you can write to: `news`.", "You can no longer write to: `peer`."]
    {
        assert!(prompt.text.contains(note), "{}", prompt.text);
    }
    runner.stop().await;
}

#[tokio::test]
async fn a_question_nobody_answered_in_time_is_reported_to_the_host() {
    let host = Host::new();
    let (runner, mut model) = Box_::scripted(&host);
    host.push(&[row("m1", "hi")]);
    let prompt = model.prompt().await;
    model.send(Event::Consumed(prompt.id)).await;
    let args = json!({ "title": "T", "question": "Q?", "options": ["a"], "timeout": 0.05 });
    let end = model.call("ask_user_question", args, "c1").await;
    assert_eq!(end, Err("Question timed out after 0.05s".into()));
    let out = host.out();
    let wanted = json!({ "action": "question_expired", "questionId": out[0].id });
    assert_eq!((&out[1].content, &out[1].to), (&wanted, &None));
    let made = model.call("create_agent", json!({ "name": "News" }), "c2").await;
    assert!(made.is_ok_and(|said| said.starts_with("Creating agent \"News\".")));
    let out = host.out();
    let wanted = json!({ "action": "create_agent", "requestId": out[2].id, "name": "News",
        "instructions": null });
    assert_eq!(out[2].content, wanted);
    runner.stop().await;
}

#[tokio::test]
async fn content_of_any_shape_disturbs_nobody() {
    let host = Host::new();
    let mut rows = Vec::new();
    for (n, content) in
        ["null", "7", "[]", "{\"text\":7}", "{\"sender\":9,\"text\":null}", "{", "", "\u{0}<>"]
            .into_iter()
            .enumerate()
    {
        for kind in [InKind::Chat, InKind::Task, InKind::Webhook, InKind::System] {
            let mut row = row(&format!("p{n}{kind}"), "");
            (row.content, row.kind) = (content.to_owned(), kind);
            rows.push(row);
        }
    }
    rows.push(row("last", "echo alive"));
    host.push(&rows);
    let runner = Box_::demo(&host);
    host.done("last").await;
    for row in &rows {
        let wanted =
            if row.kind == InKind::System { InStatus::Failed } else { InStatus::Completed };
        assert_eq!(host.done(row.id.as_str()).await, wanted, "{}", row.id);
    }
    runner.stop().await;
    assert!(host.out().iter().any(|o| o.text() == "alive (demo agent)"));
}

#[tokio::test]
async fn a_task_waits_for_its_time_and_its_script() {
    let host = Host::new();
    let task = |id: &str, script: &str| {
        let mut row = row(id, "");
        row.kind = InKind::Task;
        row.content = json!({ "prompt": format!("do {id}"), "script": script }).to_string();
        row
    };
    let mut later = task("later", "");
    later.process_after = Some(Timestamp::now() + Duration::from_millis(700));
    host.push(&[
        later,
        task("skip", "echo '{\"wakeAgent\": false}'"),
        task("wake", "echo noise; echo '{\"wakeAgent\": true, \"data\": [1]}'"),
        task("broken", "exit 3"),
    ]);
    let (runner, mut model) = Box_::scripted(&host);
    let mut seen = String::new();
    for _ in 0..3 {
        let prompt = model.prompt().await;
        seen.push_str(&prompt.text);
        model.answer(&prompt).await;
    }
    for id in ["later", "skip", "wake", "broken"] {
        assert_eq!(host.done(id).await, InStatus::Completed);
    }
    runner.stop().await;
    assert!(seen.contains("do later") && seen.contains("do wake") && seen.contains("do broken"));
    assert!(!seen.contains("do skip"));
    assert!(seen.contains("script failed") && seen.contains("Script output:"), "{seen}");
}

/// A script that says no is told to the host; one that comes into a running turn decides as well.
#[tokio::test]
async fn a_script_decides_on_every_path_and_says_so() {
    let host = Host::new();
    let task = |id: &str, script: &str| {
        let mut row = row(id, "");
        row.kind = InKind::Task;
        row.content = json!({ "prompt": format!("do {id}"), "script": script }).to_string();
        row
    };
    host.push(&[row("m1", "hello")]);
    let (runner, mut model) = Box_::scripted(&host);
    let first = model.prompt().await;
    host.push(&[
        task("skip", "echo '{\"wakeAgent\": false}'"),
        task("wake", "echo '{\"wakeAgent\": true}'"),
    ]);
    let second = model.prompt().await;
    assert!(second.text.contains("do wake"), "{}", second.text);
    assert_eq!(host.done("skip").await, InStatus::Completed);
    model.answer(&first).await;
    model.answer(&second).await;
    assert_eq!(host.done("wake").await, InStatus::Completed);
    runner.stop().await;
    let out = host.out();
    let told: Vec<_> = out.iter().filter(|o| o.content["action"] == "task_skipped").collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].content["taskId"], "skip");
}

/// The turn fails: the run of the task has failed, the message beside it was answered with the reason.
#[tokio::test]
async fn a_turn_that_fails_is_a_run_that_failed() {
    let host = Host::new();
    let mut task = row("t", "");
    task.kind = InKind::Task;
    task.content = json!({ "prompt": "Say: fail with overloaded" }).to_string();
    host.push(&[task]);
    let runner = Box_::demo(&host);
    assert_eq!(host.done("t").await, InStatus::Failed);
    host.push(&[row("m", "fail with overloaded")]);
    assert_eq!(host.done("m").await, InStatus::Completed);
    runner.stop().await;
}

#[tokio::test]
async fn rows_for_a_fresh_box_are_seen_by_it_alone() {
    let host = Host::new();
    let runner = Box_::demo(&host);
    host.idle().await;
    let mut fresh = row("w1", "echo woke");
    fresh.on_wake = true;
    host.push(&[fresh, row("m1", "echo hi")]);
    host.done("m1").await;
    assert_eq!(host.status("w1"), InStatus::Pending);
    runner.stop().await;
    let runner = Box_::demo(&host);
    host.done("w1").await;
    runner.stop().await;
}

#[tokio::test]
async fn finished_rows_are_forgotten_when_the_host_settled_them() {
    let host = Host::new();
    let runner = Box_::demo(&host);
    for n in 1..=5 {
        host.push(&[row(&format!("m{n}"), "echo x")]);
        host.done(&format!("m{n}")).await;
    }
    // Each look forgets what was settled before it; only the last row can be left.
    host.push(&[row("m6", "echo x")]);
    host.wait(6).await;
    assert!(host.acks().len() <= 2, "{:?}", host.acks());
    runner.stop().await;
}

#[tokio::test]
async fn a_session_of_v2_goes_on() {
    for session in kit::v2_sessions() {
        let host = Host::adopted_by_v2(&session);
        let before = host.out().len();
        host.push(&[row("new-message", "echo still here")]);
        let runner = Box_::demo(&host);
        host.done("new-message").await;
        runner.stop().await;
        let out = host.out();
        assert!(out[before..].iter().any(|o| o.text() == "still here (demo agent)"));
        assert!(out.windows(2).all(|w| w[0].seq < w[1].seq), "numbers only grow");
    }
}

#[tokio::test]
async fn a_broken_configuration_is_told_and_not_guessed() {
    let host = Host::new();
    host.config("{ provider");
    let (_tell, mut signals) = tokio::sync::mpsc::channel(1);
    let demo = [nanoclaw_provider_demo::PROVIDER];
    for _ in 0..2 {
        let code = nanoclaw_runner::serve(host.options(), &demo, &mut signals).await;
        assert_eq!(format!("{code:?}"), format!("{:?}", std::process::ExitCode::FAILURE));
    }
    let out = host.out();
    assert_eq!(out.len(), 1, "said once, however often it is started");
    assert!(out[0].text().starts_with("I cannot start: container.json"), "{}", out[0].text());
}

#[tokio::test]
async fn an_interrupt_ends_the_turn_and_says_so() {
    let host = Host::new();
    host.push(&[row("m1", "sleep 600 seconds")]);
    let runner = Box_::demo(&host);
    host.phase("tool").await;
    runner.interrupt().await;
    let out = host.wait(1).await;
    assert_eq!(out[0].text(), "I was stopped before I finished.");
    host.done("m1").await;
    runner.stop().await;
}

#[tokio::test]
async fn stop_reaches_the_harness() {
    let host = Host::new();
    let (runner, mut model) = Box_::scripted(&host);
    host.push(&[row("m1", "hi")]);
    model.prompt().await;
    let stopping = tokio::spawn(runner.stop());
    assert!(matches!(model.command().await, Command::Stop { .. }));
    stopping.await.unwrap();
    assert!(host.acks().is_empty() || host.status("m1") == InStatus::Pending);
}
