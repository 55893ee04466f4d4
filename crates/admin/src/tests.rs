use crate::parse::{Asked, parse};
use crate::print::render;
use crate::table::VERBS;
use crate::wire::Code;
use serde_json::json;

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn asked(line: &str) -> (String, serde_json::Value, bool) {
    match parse(&words(line)) {
        Ok(Asked::Do { request, json }) => (request.command, request.args.into(), json),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn words_become_commands() {
    assert_eq!(asked("sessions"), ("sessions-list".into(), json!({}), false));
    assert_eq!(
        asked("sessions list --limit 5 --json"),
        ("sessions-list".into(), json!({"limit": "5"}), true)
    );
    assert_eq!(
        asked("sessions clear sess-1"),
        ("sessions-clear".into(), json!({"id": "sess-1"}), false)
    );
    assert_eq!(
        asked("sessions clear --id=sess-1"),
        ("sessions-clear".into(), json!({"id": "sess-1"}), false)
    );
    assert_eq!(asked("why list"), ("why".into(), json!({"id": "list"}), false));
}

#[test]
fn what_is_not_understood_is_refused() {
    for (line, code) in [
        ("sessions clear", Code::InvalidArgs),
        ("sessions clear a b", Code::InvalidArgs),
        ("sessions list x", Code::InvalidArgs),
        ("status --limit 3", Code::InvalidArgs),
        ("sessions list --limit", Code::InvalidArgs),
        ("nonsense", Code::UnknownCommand),
    ] {
        match parse(&words(line)) {
            Err(failure) => assert_eq!(failure.code, code, "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn help_names_every_command() {
    let Ok(Asked::Help(text)) = parse(&[]) else { panic!("no help") };
    for verb in VERBS {
        assert!(text.contains(verb.resource) && text.contains(verb.about), "{}", verb.command());
    }
}

#[test]
fn tables_are_aligned_and_clean() {
    let verb = VERBS.iter().find(|v| v.command() == "groups-list");
    let rows = json!([{"id": "ag-1", "name": "A\u{1b}[31m", "folder": "a", "provider": null}]);
    let text = render(verb, &rows);
    assert_eq!(text.lines().count(), 3);
    assert!(!text.contains('\u{1b}'), "{text}");
    assert_eq!(render(verb, &json!([])), "none\n");
}
