//! Plans, written as one line per step.

use super::*;
use nanoclaw_contract::message::Trigger::{Context, Wake};

fn row(id: &str, trigger: Trigger, text: &str) -> InRow {
    InRow {
        id: MessageId::parse(id).unwrap(),
        seq: 2,
        kind: InKind::Chat,
        timestamp: String::new(),
        trigger,
        tries: 0,
        channel_type: None,
        platform_id: None,
        thread_id: None,
        content: serde_json::json!({ "text": text }).to_string(),
        on_wake: false,
    }
}

fn task(id: &str, script: &str) -> InRow {
    let content = serde_json::json!({ "prompt": "p", "script": script }).to_string();
    InRow { kind: InKind::Task, content, ..row(id, Wake, "") }
}

fn show(rows: Vec<InRow>, max: usize, known: &[&[&str]]) -> String {
    let id = |text: &&str| MessageId::parse(*text).unwrap();
    let known: Vec<Vec<_>> = known.iter().map(|batch| batch.iter().map(id).collect()).collect();
    let plan = plan(rows, max, &known);
    let mut out: Vec<String> = plan.clear.iter().map(|r| format!("clear {}", r.id)).collect();
    for step in plan.steps {
        out.push(match step {
            Step::Tell(batch) => {
                let ids: Vec<_> = batch.rows.iter().map(|r| r.id.as_str()).collect();
                let word = if batch.wants_turn() { "ask" } else { "tell" };
                format!("{word} {}", ids.join(" "))
            }
            Step::Command(row, command) => format!("{command} {}", row.id),
            Step::Script(row, _) => format!("script {}", row.id),
        });
    }
    out.join(", ")
}

#[test]
fn what_is_overheard_asks_for_nothing_and_goes_along() {
    assert_eq!(show(vec![row("a", Context, "x")], 10, &[]), "");
    assert_eq!(
        show(vec![row("a", Context, "x"), row("b", Wake, "y"), row("c", Context, "z")], 10, &[]),
        "ask a b c"
    );
}

#[test]
fn a_prompt_holds_as_many_rows_as_may_be() {
    let rows = (1..=5).map(|n| row(&format!("m{n}"), Wake, "x")).collect();
    assert_eq!(show(rows, 2, &[]), "ask m1 m2, ask m3 m4, ask m5");
    let mut rows: Vec<_> = (1..=3).map(|n| row(&format!("c{n}"), Context, "x")).collect();
    rows.push(row("m", Wake, "y"));
    rows.extend((4..=7).map(|n| row(&format!("c{n}"), Context, "x")));
    assert_eq!(show(rows, 2, &[]), "tell c1 c2, ask c3 m", "what follows is for the next question");
}

#[test]
fn commands_are_exact_and_stand_alone() {
    let rows = vec![
        row("a", Context, "x"),
        row("b", Wake, " /compact "),
        row("c", Wake, "y"),
        row("d", Wake, "/cost"),
    ];
    assert_eq!(show(rows, 10, &[]), "/compact b, ask a c, /cost d");
    for text in ["/clearx", "/clear now", "/Clear", "/reset", "/usage", "clear"] {
        assert_eq!(show(vec![row("a", Wake, text)], 10, &[]), "ask a", "{text}");
    }
    assert_eq!(
        show(vec![row("a", Wake, "x"), row("b", Wake, "/clear")], 10, &[]),
        "clear b, ask a"
    );
}

#[test]
fn a_command_that_was_only_overheard_is_text() {
    assert_eq!(show(vec![row("a", Context, "/clear"), row("b", Wake, "x")], 10, &[]), "ask a b");
}

#[test]
fn a_script_decides_for_its_task_alone() {
    assert_eq!(
        show(vec![task("a", "exit 0"), task("b", ""), row("c", Wake, "x")], 10, &[]),
        "script a, ask b c"
    );
}

#[test]
fn batches_of_an_earlier_life_are_put_together_again() {
    let rows = || vec![row("a", Wake, "x"), row("b", Wake, "y"), row("c", Wake, "z")];
    assert_eq!(show(rows(), 10, &[&["a", "b"]]), "ask a b, ask c");
    assert_eq!(
        show(rows(), 10, &[&["a", "gone"]]),
        "ask a b c",
        "one that cannot be put together is not"
    );
}

#[test]
fn the_same_rows_make_the_same_id() {
    let id = |ids: &[&str]| {
        let ids: Vec<_> = ids.iter().map(|id| MessageId::parse(*id).unwrap()).collect();
        batch_id(ids.iter())
    };
    assert_eq!(id(&["a", "b"]), id(&["a", "b"]));
    assert_ne!(id(&["a", "b"]), id(&["b", "a"]));
    assert_ne!(id(&["a", "b"]), id(&["ab"]));
}
