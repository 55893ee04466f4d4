//! Frames as Claude Code 2.1.330 printed them, shortened to what is read.

use super::*;

const A: Uuid = Uuid::from_u128(0xa);
const B: Uuid = Uuid::from_u128(0xb);

fn prompt(id: Uuid) -> Prompt {
    Prompt { id, text: "x".to_owned(), command: None, images: vec![], wants_turn: true }
}

fn after(prompts: &[Prompt], lines: &[String]) -> Conversation {
    let mut talk = Conversation { ready: true, ..Conversation::default() };
    prompts.iter().for_each(|p| talk.sent(p));
    for line in lines {
        if let Some(frame) = Frame::parse(line.as_bytes()) {
            talk.hear(frame);
        }
    }
    talk
}

/// The events, shortly, without those of mere activity.
fn story(talk: &Conversation) -> Vec<String> {
    let tell = |event: &Event| match event {
        Event::Activity => None,
        Event::TurnEnded(Err(error)) => Some(format!("failed {:?}", error.kind)),
        Event::TurnEnded(Ok(TurnEnd { notice: Some(notice), .. })) => {
            Some(format!("ended {notice}"))
        }
        Event::TurnEnded(Ok(_)) => Some("ended".to_owned()),
        Event::Text { key, text } => Some(format!("{key} {text}")),
        Event::Consumed(id) => Some(format!("took {}", if *id == A { "a" } else { "b" })),
        other => Some(format!("{other:?}")),
    };
    talk.out.iter().filter_map(tell).collect()
}

fn state(state: &str) -> String {
    format!(r#"{{"type":"system","subtype":"session_state_changed","state":"{state}"}}"#)
}

fn lifecycle(id: Uuid, state: &str) -> String {
    format!(r#"{{"type":"command_lifecycle","command_uuid":"{id}","state":"{state}"}}"#)
}

fn init() -> String {
    r#"{"type":"system","subtype":"init","session_id":"S","tools":[]}"#.to_owned()
}

fn replay(id: Uuid) -> String {
    format!(
        r#"{{"type":"user","message":{{"role":"user","content":"x"}},"uuid":"{id}","isReplay":true}}"#
    )
}

fn says(id: &str, content: &str) -> String {
    format!(
        r#"{{"type":"assistant","message":{{"id":"{id}","model":"m","content":[{content}]}},"parent_tool_use_id":null}}"#
    )
}

fn text(text: &str) -> String {
    format!(r#"{{"type":"text","text":"{text}"}}"#)
}

fn result(rest: &str) -> String {
    format!(r#"{{"type":"result","subtype":"success","is_error":false,"num_turns":1{rest}}}"#)
}

#[test]
fn a_turn_is_told_once_and_in_order() {
    let talk = after(
        &[prompt(A)],
        &[
            state("running"),
            lifecycle(A, "queued"),
            lifecycle(A, "started"),
            init(),
            replay(A),
            says("m1", &text("one")),
            says("m1", r#"{"type":"tool_use","id":"t","name":"Bash","input":{}}"#),
            says("m1", &text("two")),
            says("m2", &text("three")),
            result(r#","result":"three","total_cost_usd":0.5,"session_id":"S""#),
            lifecycle(A, "completed"),
            state("idle"),
        ],
    );
    let told =
        ["TurnStarted", "took a", "Session(\"S\")", "m1:0 one", "m1:2 two", "m2:0 three", "ended"];
    assert_eq!(story(&talk), told);
    assert!(!talk.running());
}

#[test]
fn prompts_are_followed_by_id_and_not_by_results() {
    let talk = after(
        &[prompt(A), prompt(B)],
        &[
            state("running"),
            lifecycle(A, "queued"),
            lifecycle(A, "started"),
            init(),
            lifecycle(B, "queued"),
            result(""),
            lifecycle(A, "completed"),
            replay(B),
            lifecycle(B, "started"),
            init(),
            result(""),
            state("idle"),
        ],
    );
    let told =
        ["TurnStarted", "took a", "Session(\"S\")", "ended", "took b", "TurnStarted", "ended"];
    assert_eq!(story(&talk), told);
    assert_eq!(talk.wish, None);
}

#[test]
fn a_known_prompt_is_taken_and_asks_to_go_on() {
    let known = [replay(A), lifecycle(A, "completed"), state("idle")];
    let talk = after(&[prompt(A)], &known);
    assert_eq!(story(&talk), ["took a"]);
    assert_eq!(talk.wish, Some(Wish::GoOn(KNOWN_GRACE)));
    // An older harness only plays it back, so it gets the benefit of the doubt.
    assert_eq!(after(&[prompt(A)], &known[..1]).wish, Some(Wish::GoOn(DUPLICATE_GRACE)));

    let context = Prompt { wants_turn: false, ..prompt(A) };
    let talk = after(&[context], &known);
    assert_eq!(story(&talk), ["took a", "TurnStarted", "ended"]);
    assert_eq!(talk.wish, None);
}

#[test]
fn what_others_say_is_not_what_the_agent_says() {
    let talk = after(
        &[],
        &[
            init(),
            r#"{"type":"assistant","message":{"id":"s","model":"m","content":[{"type":"text","text":"a subagent"}]},"parent_tool_use_id":"t"}"#.to_owned(),
            r#"{"type":"assistant","message":{"id":"e","model":"<synthetic>","content":[{"type":"text","text":"API Error: 529"}]},"parent_tool_use_id":null,"error":"server_error","is_api_error_message":true}"#.to_owned(),
            r#"{"type":"result","subtype":"success","is_error":true,"api_error_status":529,"num_turns":1,"result":"API Error: 529"}"#.to_owned(),
        ],
    );
    assert_eq!(story(&talk), ["TurnStarted", "Session(\"S\")", "failed Overloaded"]);
}

#[test]
fn a_local_command_answers_with_a_notice() {
    let talk = after(&[], &[init(), result("").replace("1}", r###"0,"result":"## Context"}"###)]);
    assert_eq!(story(&talk), ["TurnStarted", "Session(\"S\")", "ended ## Context"]);
    let compacted = r#"{"type":"system","subtype":"compact_boundary","compact_metadata":{"trigger":"manual","pre_tokens":7}}"#;
    let talk = after(&[], &[init(), compacted.to_owned(), result(r#","result":"""#)]);
    assert!(story(&talk)[2].contains("held 7 tokens"));
}

#[test]
fn a_limit_is_told_with_its_end() {
    let limit = r#"{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":1700000000,"rateLimitType":"five_hour"}}"#;
    let error = r#"{"type":"assistant","message":{"id":"e","model":"<synthetic>","content":[]},"parent_tool_use_id":null,"error":"rate_limit"}"#;
    let failed = result("").replace("false", "true");
    let talk = after(&[], &[init(), limit.to_owned(), error.to_owned(), failed]);
    let Some(Event::TurnEnded(Err(end))) = talk.out.back() else { panic!("{:?}", talk.out) };
    assert_eq!(end.kind, ErrorKind::RateLimited { resets_at: Some(1_700_000_000) });
}

#[test]
fn a_long_pause_is_a_failure() {
    let retry = |ms: u32| {
        format!(
            r#"{{"type":"system","subtype":"api_retry","retry_delay_ms":{ms},"error_status":429,"error":"rate_limit"}}"#
        )
    };
    let aborted = r#"{"type":"result","subtype":"error_during_execution","is_error":true,"terminal_reason":"aborted_streaming"}"#;
    let talk = after(&[], &[init(), retry(500), aborted.to_owned()]);
    assert_eq!((talk.wish, story(&talk).pop().unwrap()), (None, "failed Interrupted".to_owned()));
    let talk = after(&[], &[init(), retry(90_000), aborted.to_owned()]);
    let failed = "failed RateLimited { resets_at: None }".to_owned();
    assert_eq!((talk.wish, story(&talk).pop().unwrap()), (Some(Wish::Interrupt), failed));
}

#[test]
fn idle_ends_a_turn_that_left_no_result() {
    let talk = after(&[prompt(A)], &[init(), replay(A), state("idle")]);
    assert_eq!(story(&talk), ["TurnStarted", "Session(\"S\")", "took a", "ended"]);
}

#[test]
fn a_tool_ends_once_however_it_ends() {
    let mut talk = after(&[], &[init()]);
    for id in ["t1", "t2", "t3"] {
        talk.tool_started(id.to_owned(), "Bash".to_owned(), None);
    }
    talk.tool_ended("t1");
    let results = r#"{"type":"user","message":{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1"},{"type":"tool_result","tool_use_id":"t2","content":"x"}]}}"#;
    for line in [results.to_owned(), result("")] {
        talk.hear(Frame::parse(line.as_bytes()).unwrap());
    }
    let ended: Vec<_> = talk.out.iter().filter(|e| matches!(e, Event::ToolEnded { .. })).collect();
    assert_eq!(ended.len(), 3);
}

#[test]
fn the_cost_is_that_of_the_turn() {
    let costs = [0.25, 0.75, 0.5].map(|sum| result(&format!(r#","total_cost_usd":{sum}"#)));
    let talk = after(&[], &costs);
    let spent = |e: &Event| match e {
        Event::TurnEnded(Ok(end)) => end.cost_usd,
        _ => None,
    };
    // The third is of a new conversation, whose sum began anew.
    assert_eq!(talk.out.iter().filter_map(spent).collect::<Vec<_>>(), [0.25, 0.5, 0.5]);
}

#[test]
fn hostile_lines_are_nothing() {
    let lines = [
        "",
        "  ",
        "null",
        "[1]",
        "{",
        r#"{"type":7}"#,
        r#"{"type":"result","errors":7}"#,
        r#"{"type":"system","subtype":"init"}"#,
        r#"{"type":"system","subtype":"api_retry","retry_delay_ms":-1e300}"#,
        r#"{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":1e300}}"#,
        r#"{"type":"command_lifecycle","command_uuid":"x","state":"completed"}"#,
        r#"{"type":"control_request","request_id":"r","request":{"subtype":"hook_callback","input":{"tool_input":[]}}}"#,
        "\u{0}\u{1}",
        r#"{"type":"user","message":{"content":{}}}"#,
    ];
    let talk = after(&[prompt(A)], &lines.map(str::to_owned));
    assert!(!talk.running());
    assert!(story(&talk).iter().all(|event| event.starts_with("Waiting")), "{:?}", story(&talk));
}

#[test]
fn a_result_before_the_start_is_a_refusal() {
    let mut talk = Conversation::default();
    let line = br#"{"type":"result","subtype":"error_during_execution","is_error":true,"session_id":"x","errors":["No conversation found with session ID: x"]}"#;
    talk.hear(Frame::parse(line).unwrap());
    assert_eq!(story(&talk), [""; 0]);
    assert_eq!(talk.refusal.as_deref(), Some("No conversation found with session ID: x"));
}

#[test]
fn a_block_has_the_same_key_while_it_is_being_said() {
    let event = |event: &str| {
        format!(r#"{{"type":"stream_event","event":{event},"parent_tool_use_id":null}}"#)
    };
    let start =
        |id: &str| event(&format!(r#"{{"type":"message_start","message":{{"id":"{id}"}}}}"#));
    let delta = |text: &str| {
        let delta = format!(r#"{{"type":"text_delta","text":"{text}"}}"#);
        event(&format!(r#"{{"type":"content_block_delta","index":7,"delta":{delta}}}"#))
    };
    let talk = after(
        &[],
        &[
            start("m1"),
            event(
                r#"{"type":"content_block_delta","delta":{"type":"thinking_delta","thinking":"hm"}}"#,
            ),
            says("m1", r#"{"type":"thinking","thinking":"hm"}"#),
            delta("one "),
            delta("two"),
            says("m1", &text("one two")),
            start("m2"),
            delta("three"),
            delta("aside").replace("null", "\"toolu_1\""),
            says("m2", &text("three")),
        ],
    );
    let said = talk.out.iter().filter_map(|event| match event {
        Event::Delta { key, text } => Some(format!("{key} +{text}")),
        Event::Text { key, text } => Some(format!("{key} ={text}")),
        _ => None,
    });
    assert_eq!(
        said.collect::<Vec<_>>(),
        ["m1:1 +one ", "m1:1 +two", "m1:1 =one two", "m2:0 +three", "m2:0 =three"]
    );
}
