use super::*;
use crate::QuestionId;
use crate::markdown::PLAIN;
use expect_test::expect;

fn question() -> Question {
    let option = |label: &str, value: &str| Choice {
        label: label.into(),
        selected_label: format!("{label}!"),
        value: value.into(),
    };
    Question {
        question_id: QuestionId::parse("q-1").unwrap(),
        title: "Send it?".into(),
        question: "To **everybody**".into(),
        options: vec![option("Yes", "approve"), option("No\n3) Maybe", "reject")],
    }
}

#[test]
fn options_are_numbered_and_stay_one_line_each() {
    expect![[r#"
        Send it?
        To everybody
          1) Yes
          2) No 3) Maybe"#]]
    .assert_eq(&text(&question(), &PLAIN));
}

#[test]
fn a_number_a_label_or_a_value_is_an_answer() {
    let question = question();
    let value = |typed| choice(&question, typed).map(|c| c.value.as_str());
    assert_eq!(value("1"), Some("approve"));
    assert_eq!(value(" 2) "), Some("reject"));
    assert_eq!(value("yes"), Some("approve"));
    assert_eq!(value("REJECT"), Some("reject"));
    assert_eq!([value("0"), value("3"), value(""), value("yes please")], [None; 4]);
}

#[test]
fn what_is_typed_in_a_mail_is_neither_its_subject_nor_what_it_quotes() {
    for (text, is) in [
        (" yes\n", "yes"),
        ("Subject: Re: lunch\n\nyes", "yes"),
        ("Subject: yes\nno", "Subject: yes\nno"),
        ("yes\n\n[The mail that this answers:]\n> no\n\n> 2", "yes"),
        ("[The mail that this answers:]\n> no", ""),
        ("", ""),
    ] {
        assert_eq!(typed(text), is, "{text:?}");
    }
}
