//! Turns: whom they answer, and what is said of their ends.

use super::*;
use nanoclaw_contract::message::InKind;

fn row(id: &str, trigger: Trigger, channel: &str, platform: &str, thread: &str) -> InRow {
    InRow {
        id: MessageId::parse(id).unwrap(),
        seq: 2,
        kind: InKind::Chat,
        timestamp: String::new(),
        trigger,
        tries: 0,
        channel_type: ChannelType::parse(channel).ok(),
        platform_id: PlatformId::parse(platform).ok(),
        thread_id: ThreadId::parse(thread).ok(),
        content: "{}".into(),
        on_wake: false,
    }
}

#[test]
fn the_origin_is_the_last_row_that_asked() {
    let rows = [
        row("c1", Trigger::Context, "cli", "other", ""),
        row("m1", Trigger::Wake, "cli", "home", "t1"),
        row("c2", Trigger::Context, "cli", "home", "t2"),
    ];
    let origin = Origin::of(&rows, "ag-1");
    assert_eq!(origin.reply_to.unwrap().as_str(), "m1");
    assert_eq!(origin.to.unwrap().thread_id.unwrap().as_str(), "t1");
    assert_eq!(origin.heard.len(), 2);
    let place = (ChannelType::parse("cli").unwrap(), PlatformId::parse("home").unwrap());
    assert_eq!(origin.heard[&place].0.as_str(), "m1", "what asked wins over what was overheard");
}

#[test]
fn nobody_answers_himself() {
    let origin = Origin::of(&[row("m1", Trigger::Wake, "agent", "ag-1", "")], "ag-1");
    assert_eq!(origin.to, None);
    let origin = Origin::of(&[row("m1", Trigger::Wake, "agent", "ag-2", "")], "ag-1");
    assert!(origin.to.is_some());
}

#[test]
fn a_turn_is_corrected_once() {
    let names = ["home".to_owned()];
    let mut turn = Turn::default();
    turn.hear("a", "bare");
    assert!(turn.check("bare", &names).unwrap().contains("home"));
    assert_eq!(turn.check("bare", &names), None);
    turn.hear("b", "bare");
    assert_eq!(turn.end(false), Some(("b".into(), "bare".into())));
    assert!(turn.check("bare", &names).is_some(), "the next turn is another");
}

#[test]
fn text_that_was_objected_to_before_it_was_heard_is_not_said_twice() {
    let mut turn = Turn::default();
    assert!(turn.check("bare", &[]).is_some());
    turn.hear("a", "bare");
    turn.hear("b", "again");
    assert_eq!(turn.end(false), Some(("b".into(), "again".into())));
}

#[test]
fn a_turn_that_delivered_something_or_is_silent_is_left_alone() {
    let names = ["home".to_owned()];
    let mut turn = Turn::default();
    assert_eq!(turn.check("", &names), None);
    assert_eq!(turn.check("<internal>hm</internal>", &names), None);
    assert_eq!(turn.check("bare <message to=\"home\">x</message>", &names), None);
    turn.delivered();
    assert_eq!(turn.check("done", &names), None, "a tool delivered before");
    turn.hear("a", "done");
    assert_eq!(turn.end(false), None);
}

#[test]
fn an_unknown_name_is_told() {
    let names = ["home".to_owned()];
    let mut turn = Turn::default();
    turn.hear("a", "<message to=\"home\">x</message><message to=\"hom\">y</message>");
    let why = turn.check("", &names).unwrap();
    assert!(why.contains("\"hom\""), "{why}");
    assert_eq!(turn.blocks.len(), 1, "what can be delivered still is");
}

#[test]
fn the_last_words_of_one_turn_do_not_count_for_the_next() {
    let mut turn = Turn::default();
    let names = ["home".to_owned()];
    turn.hear("a", "<message to=\"home\">wrapped</message>");
    assert_eq!(turn.check("", &names), None);
    assert_eq!(turn.end(true), None);
    // The block is written together with the end of its turn, that is after it.
    turn.written(1, 1);
    turn.hear("b", "not wrapped");
    assert!(turn.check("not wrapped", &names).is_some(), "the next turn must be corrected");
    turn.hear("c", "still not");
    assert_eq!(turn.end(false).unwrap().1, "still not");
}

#[test]
fn what_was_written_before_a_follow_up_does_not_answer_it() {
    let mut turn = Turn::default();
    let names = ["home".to_owned()];
    turn.hear("a", "<message to=\"home\">first</message>");
    turn.written(1, 1);
    turn.consumed(&Origin::default(), true);
    turn.hear("b", "second, not wrapped");
    assert!(turn.check("second, not wrapped", &names).is_some());
}
