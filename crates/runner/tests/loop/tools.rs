//! The agent's tools, called as a harness calls them, seen as the host sees them.

use crate::kit::{Box_, Host, Model, row};
use nanoclaw_contract::ids::ThreadId;
use nanoclaw_contract::message::InKind;
use nanoclaw_contract::time::Timestamp;
use nanoclaw_runner::provider::Event;
use serde_json::{Value, json};

/// A session in a turn that a message in a thread caused.
async fn in_a_turn() -> (Host, Box_, Model) {
    let host = Host::new();
    let (runner, mut model) = Box_::scripted(&host);
    let mut first = row("m1", "hi");
    if let Some(to) = &mut first.reply {
        to.thread_id = Some(ThreadId::parse("t1").unwrap());
    }
    host.push(&[first]);
    let prompt = model.prompt().await;
    model.send(Event::Consumed(prompt.id)).await;
    model.send(Event::Activity).await;
    (host, runner, model)
}

#[tokio::test]
async fn a_message_goes_to_the_conversation_of_the_turn_or_where_it_is_named() {
    let (host, runner, model) = in_a_turn().await;
    let sent = model.call("send_message", json!({ "text": "a" }), "c1").await;
    assert_eq!(sent.as_deref(), Ok("Message sent to (current conversation) (id: 3)"));
    let sent = model.call("send_message", json!({ "to": "peer", "text": "b" }), "c2").await;
    assert_eq!(sent.as_deref(), Ok("Message sent to peer (id: 5)"));
    let again = model.call("send_message", json!({ "text": "a" }), "c1").await;
    assert_eq!(again.as_deref(), Ok("Message sent to (current conversation) (id: 3)"));
    let nobody = model.call("send_message", json!({ "to": "x", "text": "c" }), "c3").await;
    assert_eq!(nobody, Err("Unknown destination \"x\". Known: home, peer".into()));
    let out = host.out();
    assert_eq!(out.len(), 2, "the same call twice has one effect");
    assert_eq!(out[0].to.as_deref(), Some("cli/local/t1"));
    assert_eq!(out[0].in_reply_to.as_deref(), Some("m1"));
    assert_eq!(out[1].to.as_deref(), Some("agent/ag-2/-"));
    assert_eq!(out[1].in_reply_to.as_deref(), Some("m1"));
    runner.stop().await;
}

/// Two threads of one chat in one turn: what names the message that it answers goes to its thread.
#[tokio::test]
async fn an_answer_goes_to_the_thread_of_the_message_that_it_names() {
    let (host, runner, mut model) = in_a_turn().await;
    let mut second = row("m2", "and I");
    if let Some(to) = &mut second.reply {
        to.thread_id = Some(ThreadId::parse("t2").unwrap());
    }
    host.push(&[second]);
    let prompt = model.prompt().await;
    model.send(Event::Consumed(prompt.id)).await;
    model.say("a", "<message to=\"home\" reply_to=\"2\">first</message>").await;
    let args = json!({ "to": "home", "text": "second", "replyTo": 4 });
    model.call("send_message", args, "c1").await.unwrap();
    // A number of elsewhere says nothing about this chat.
    let args = json!({ "to": "peer", "text": "third", "replyTo": 2 });
    model.call("send_message", args, "c2").await.unwrap();
    let out = host.out();
    let to = |n: usize| (out[n].to.as_deref(), out[n].in_reply_to.as_deref());
    assert_eq!(to(0), (Some("cli/local/t1"), Some("m1")));
    assert_eq!(to(1), (Some("cli/local/t2"), Some("m2")));
    assert_eq!(to(2), (Some("agent/ag-2/-"), Some("m2")));
    runner.stop().await;
}

#[tokio::test]
async fn what_was_said_before_a_tool_comes_before_it() {
    let (host, runner, mut model) = in_a_turn().await;
    model.say("a", "<message to=\"home\">first</message>").await;
    model.call("send_message", json!({ "text": "second" }), "c1").await.unwrap();
    let texts: Vec<_> = host.out().iter().map(crate::kit::Out::text).collect();
    assert_eq!(texts, ["first", "second"]);
    runner.stop().await;
}

#[tokio::test]
async fn a_file_is_copied_under_a_plain_name() {
    let (host, runner, model) = in_a_turn().await;
    let agent = host.options().workspace.join("agent");
    std::fs::write(agent.join("a.txt"), "content").unwrap();
    let args = json!({ "path": "a.txt", "filename": "../../etc/pass\nwd", "text": "here" });
    let sent = model.call("send_file", args, "c1").await.unwrap();
    assert!(sent.ends_with("filename: passwd)"), "{sent}");
    let out = host.out();
    assert_eq!(out[0].content, json!({ "text": "here", "files": ["passwd"] }));
    let copy = host.options().workspace.join("box/outbox").join(&out[0].id).join("passwd");
    assert_eq!(std::fs::read_to_string(copy).unwrap(), "content");
    for (path, why) in [("nothing", "File not found: nothing"), (".", ". is not a file")] {
        let refused = model.call("send_file", json!({ "path": path }), "c2").await.unwrap_err();
        assert!(refused.starts_with(why), "{refused}");
    }
    assert_eq!(host.out().len(), 1);
    runner.stop().await;
}

#[tokio::test]
async fn messages_are_edited_and_reacted_to_by_their_numbers() {
    let (host, runner, model) = in_a_turn().await;
    model.call("send_message", json!({ "text": "a" }), "c1").await.unwrap();
    let edit = |n: Value| json!({ "messageId": n, "text": "b" });
    model.call("edit_message", edit(3.into()), "c2").await.unwrap();
    let own = host.out()[0].id.clone();
    assert_eq!(host.out()[1].content["messageId"], own.as_str(), "not delivered yet: our own id");
    host.delivered(&own, "platform-7");
    let done = model.call("edit_message", edit("3".into()), "c3").await;
    assert_eq!(done.as_deref(), Ok("Message edit queued for #3"));
    let emoji = json!({ "messageId": 2, "emoji": "heart" });
    assert_eq!(
        model.call("add_reaction", emoji, "c4").await.as_deref(),
        Ok("Reaction queued for #2")
    );
    let out = host.out();
    let wanted = json!({ "operation": "edit", "messageId": "platform-7", "text": "b" });
    assert_eq!(out[2].content, wanted);
    let wanted = json!({ "operation": "reaction", "messageId": "m1", "emoji": "heart" });
    assert_eq!(out[3].content, wanted);
    assert_eq!(out[3].to.as_deref(), Some("cli/local/t1"));
    let missing = model.call("edit_message", edit(99.into()), "c5").await;
    assert_eq!(missing, Err("Message #99 not found".into()));
    runner.stop().await;
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let (host, runner, model) = in_a_turn().await;
    for (tool, why) in [
        ("send_message", "text is required"),
        ("send_file", "path is required"),
        ("edit_message", "messageId and text are required"),
        ("add_reaction", "messageId and emoji are required"),
        ("ask_user_question", "title, question, and options are required"),
        ("send_card", "card is required"),
        ("create_agent", "name is required"),
        ("schedule_task", "prompt and processAfter are required"),
        ("update_task", "taskId is required"),
        ("cancel_task", "taskId is required"),
        ("pause_task", "taskId is required"),
        ("resume_task", "taskId is required"),
        ("run_task", "taskId is required"),
        ("no_tool", "Unknown tool: no_tool"),
    ] {
        let empty = json!({ "text": "", "path": "", "messageId": 0, "title": 7, "card": "x" });
        assert_eq!(model.call(tool, empty, "c").await, Err(why.into()), "{tool}");
    }
    assert!(host.out().is_empty());
    runner.stop().await;
}

#[tokio::test]
async fn a_question_goes_to_the_conversation_of_the_turn_and_times_out() {
    let (host, runner, model) = in_a_turn().await;
    let args = json!({ "title": "T", "question": "Q?", "options": ["a", { "label": "b" }],
        "timeout": 0.05 });
    let end = model.call("ask_user_question", args, "c1").await;
    assert_eq!(end, Err("Question timed out after 0.05s".into()));
    let out = host.out();
    assert_eq!(out[0].to.as_deref(), Some("cli/local/t1"));
    assert_eq!(out[0].content["questionId"], out[0].id.as_str());
    let b = json!({ "label": "b", "selectedLabel": "b", "value": "b" });
    assert_eq!(out[0].content["options"][1], b);
    let card = json!({ "card": { "title": "C" }, "fallbackText": "c" });
    model.call("send_card", card, "c2").await.unwrap();
    assert_eq!(host.out()[2].content["type"], "card");
    runner.stop().await;
}

/// An agent that was asked by another one can put the question to a person.
#[tokio::test]
async fn a_question_can_name_the_chat_that_it_is_for_but_no_agent() {
    let (host, runner, model) = in_a_turn().await;
    let args = |to: &str| json!({ "to": to, "title": "T", "question": "Q?", "options": ["a"], "timeout": 0.05 });
    let end = model.call("ask_user_question", args("home"), "c1").await;
    assert_eq!(end, Err("Question timed out after 0.05s".into()));
    assert_eq!(host.out()[0].to.as_deref(), Some("cli/local/t1"));
    let end = model.call("ask_user_question", args("peer"), "c2").await.unwrap_err();
    assert!(end.contains("peer is an agent"), "{end}");
    let card = json!({ "to": "nobody", "card": { "title": "C" } });
    let end = model.call("send_card", card, "c3").await;
    assert_eq!(end, Err("Unknown destination \"nobody\". Known: home, peer".into()));
    assert_eq!(host.out().len(), 2);
    runner.stop().await;
}

#[tokio::test]
async fn schedules_are_requests_to_the_host() {
    let (host, runner, model) = in_a_turn().await;
    let args = json!({ "prompt": "p", "processAfter": "2030-01-02T03:04:05+0200",
        "recurrence": "0 9 * * *", "script": "" });
    let done = model.call("schedule_task", args, "c1").await.unwrap();
    let id = host.out()[0].id.clone();
    assert_eq!(
        done,
        format!(
            "Task scheduled (id: {id}, runs at: 2030-01-02T01:04:05.000Z, recurrence: 0 9 * * *)"
        )
    );
    let wanted = json!({ "action": "schedule_task", "taskId": id, "prompt": "p", "script": null,
        "processAfter": "2030-01-02T01:04:05.000Z", "recurrence": "0 9 * * *",
        "platformId": "local", "channelType": "cli", "threadId": "t1" });
    assert_eq!(host.out()[0].content, wanted);
    let bad = json!({ "prompt": "p", "processAfter": "soon" });
    let refused = model.call("schedule_task", bad, "c2").await;
    assert_eq!(refused, Err("invalid processAfter: soon".into()));
    // Without a time it runs first when its schedule says.
    let args = json!({ "prompt": "p", "recurrence": "0 9 * * *", "timezone": "Asia/Tokyo",
        "missed": "skip", "session": "own" });
    let done = model.call("schedule_task", args, "c5").await.unwrap();
    assert!(done.contains("T00:00:00.000Z, recurrence: 0 9 * * *"), "{done}");
    let own = host.out()[1].content.clone();
    assert_eq!((&own["timezone"], &own["session"]), (&json!("Asia/Tokyo"), &json!("own")));
    for (args, why) in [
        (json!({ "prompt": "p", "recurrence": "* * * * * *" }), "once a minute"),
        (json!({ "prompt": "p", "recurrence": "0 9 * * *", "timezone": "Mars" }), "IANA"),
        (
            json!({ "prompt": "p", "recurrence": "0 9 * * *", "missed": "twice" }),
            "missed is one of",
        ),
    ] {
        let refused = model.call("schedule_task", args, "c6").await.unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
    let update = json!({ "taskId": "t", "prompt": "", "recurrence": "", "script": "x" });
    model.call("update_task", update, "c3").await.unwrap();
    let wanted = json!({ "action": "update_task", "taskId": "t", "prompt": "", "recurrence": null,
        "script": "x" });
    assert_eq!(host.out()[2].content, wanted);
    let nothing = model.call("update_task", json!({ "taskId": "t" }), "c4").await;
    assert_eq!(nothing, Err("at least one field to update is required".into()));
    for (tool, said) in [
        ("cancel_task", "Task cancellation requested: t"),
        ("pause_task", "Task pause requested: t"),
        ("resume_task", "Task resume requested: t"),
        ("run_task", "Task run requested: t"),
    ] {
        let done = model.call(tool, json!({ "taskId": "t" }), tool).await;
        assert_eq!(done.as_deref(), Ok(said));
        let last = host.out().last().cloned().unwrap();
        assert_eq!(last.content, json!({ "action": tool, "taskId": "t" }));
    }
    runner.stop().await;
}

#[tokio::test]
async fn tasks_are_listed_once_per_series() {
    let (host, runner, model) = in_a_turn().await;
    let none = model.call("list_tasks", json!({}), "c0").await;
    assert_eq!(none.as_deref(), Ok("No tasks found."));
    let mut task = row("task-1", "");
    task.kind = InKind::Task;
    task.content = json!({ "prompt": "x".repeat(100) }).to_string();
    task.process_after = "2030-01-02T03:04:05Z".parse::<Timestamp>().ok();
    task.recurrence = Some("0 9 * * *".into());
    host.push(&[task]);
    let list = model.call("list_tasks", json!({}), "c1").await.unwrap();
    let prompt = "x".repeat(80);
    let line = "- task-1 [pending] at=Jan 2, 2030, 3:04 AM recur=0 9 * * * → ";
    assert_eq!(list, format!("{line}{prompt}"));
    let done = model.call("list_tasks", json!({ "status": "completed" }), "c2").await;
    assert_eq!(done.as_deref(), Ok("No tasks found."));
    runner.stop().await;
}

#[tokio::test]
async fn changes_of_the_box_are_requests_to_the_host() {
    let (host, runner, model) = in_a_turn().await;
    let args = json!({ "apt": ["jq"], "npm": ["@a/b"], "reason": "to read JSON" });
    let done = model.call("install_packages", args.clone(), "c1").await.unwrap();
    assert!(done.contains("has to approve"), "{done}");
    model.call("install_packages", args, "c1").await.unwrap();
    let server =
        json!({ "name": "files", "command": "node", "args": ["s.js"], "env": { "A": "1" } });
    model.call("add_mcp_server", server, "c2").await.unwrap();
    let wanted = [
        json!({ "apt": ["jq"], "npm": ["@a/b"], "reason": "to read JSON", "action": "install_packages" }),
        json!({ "name": "files", "command": "node", "args": ["s.js"], "env": { "A": "1" },
            "reason": null, "action": "add_mcp_server" }),
    ];
    let asked: Vec<_> = host.out().into_iter().map(|out| out.content).collect();
    assert_eq!(asked, wanted, "the same call twice is one request");
    for (tool, args, why) in [
        ("install_packages", json!({}), "At least one package"),
        ("install_packages", json!({ "apt": "jq" }), "apt must be a list"),
        ("install_packages", json!({ "apt": ["jq", 1] }), "apt must be a list"),
        ("install_packages", json!({ "npm": vec!["a"; 21] }), "at most 20"),
        ("add_mcp_server", json!({ "name": "a" }), "name and command are required"),
        (
            "add_mcp_server",
            json!({ "name": "a", "command": "b", "env": { "A": 1 } }),
            "env must be",
        ),
        ("add_mcp_server", json!({ "name": "a", "command": "b", "args": [null] }), "args must be"),
    ] {
        let said = model.call(tool, args, "bad").await.unwrap_err();
        assert!(said.contains(why), "{tool}: {said}");
    }
    assert_eq!(host.out().len(), 2);
    runner.stop().await;
}
