use super::*;
use nanoclaw_channel::markdown::ANSI;
use serde_json::json;

fn talk() -> (Talk, std::sync::mpsc::Receiver<String>) {
    let (lines, printed) = std::sync::mpsc::channel();
    let screen = Screen { lines, dialect: &ANSI, agent: "andy".into(), typing: false };
    let (unsent, questions) = (Vec::new(), Vec::new());
    (Talk { screen, unsent, questions, shown: HashSet::new() }, printed)
}

fn printed(lines: &std::sync::mpsc::Receiver<String>) -> String {
    lines.try_iter().collect::<String>().replace('\x1b', "^")
}

fn event(event: serde_json::Value) -> Event {
    serde_json::from_value(event).unwrap()
}

fn asks(id: &str) -> Event {
    event(json!({ "message": { "id": format!("m-{id}"), "question": {
        "questionId": id, "title": "Sure?", "question": "Sure?", "options": ["Yes", "No"] } } }))
}

fn answers(request: Option<Request>) -> Option<(String, String)> {
    match request? {
        Request::Answer { answer } => Some((answer.question, answer.value)),
        Request::Hello(_) | Request::Say(_) | Request::Inject(_) | Request::Seen { .. } => None,
    }
}

#[test]
fn a_question_is_answered_by_number_or_words_and_else_it_is_talk() {
    let (mut talk, _printed) = talk();
    talk.event(asks("q-1"));
    talk.event(asks("q-2"));
    let to = |question: &str, value: &str| Some((question.to_owned(), value.to_owned()));
    assert_eq!(answers(talk.typed("2")), to("q-2", "No"));
    assert_eq!(answers(talk.typed("yes")), to("q-2", "Yes"));
    assert_eq!(answers(talk.typed("why?")), None);
    assert_eq!(talk.unsent.len(), 1);
    talk.event(event(json!({ "answered": { "question": "q-2", "label": "No" } })));
    assert_eq!(answers(talk.typed("1")), to("q-1", "Yes"));
    talk.event(event(
        json!({ "message": { "id": "m-x", "edit_of": "m-q-1", "markdown": "late" } }),
    ));
    assert_eq!(answers(talk.typed("1")), None, "a changed question is none");
}

#[test]
fn what_was_not_acknowledged_is_kept() {
    let (mut talk, printed_to) = talk();
    let mut id = |text: &str| match talk.typed(text) {
        Some(Request::Say(say)) => say.id.unwrap(),
        other => panic!("{other:?}"),
    };
    let (one, two, three) = (id("one"), id("two"), id("three"));
    talk.event(event(json!({ "ack": one })));
    talk.event(event(json!({ "nack": two, "why": "no \u{1b}[2J" })));
    assert_eq!(talk.unsent.iter().map(|s| s.id.as_ref().unwrap()).collect::<Vec<_>>(), [&three]);
    assert_eq!(printed(&printed_to), "^[90m(not taken: no ␛[2J)^[39m\n");
}

#[test]
fn the_typing_status_disappears() {
    let (mut talk, printed_to) = talk();
    talk.event(event(json!({ "typing": true })));
    talk.event(event(json!({ "typing": true })));
    assert_eq!(printed(&printed_to), "^[90mandy is typing…^[39m\n");
    let seen = talk.event(event(json!({ "message": { "id": "a", "markdown": "hi" } })));
    assert_eq!(seen, Some(Request::Seen { seen: "a".into() }));
    assert_eq!(printed(&printed_to), "^[1A^[2K\r^[1mandy^[22m\nhi\n\n^[90mandy is typing…^[39m\n");
    talk.event(event(json!({ "typing": false })));
    assert_eq!(printed(&printed_to), "^[1A^[2K^[1A\n");
    let again = talk.event(event(json!({ "message": { "id": "a", "markdown": "hi" } })));
    assert!(again.is_some(), "confirmed again");
    assert_eq!(printed(&printed_to), "", "but not printed again");
}

#[test]
fn a_path_can_be_quoted() {
    let check = |rest: &str, path: &str, text: &str| {
        assert_eq!(path_and_text(rest), (PathBuf::from(path), text.to_owned()));
    };
    check("a.txt", "a.txt", "");
    check("a.txt look at this", "a.txt", "look at this");
    check(r#""my file.txt" look"#, "my file.txt", "look");
}
