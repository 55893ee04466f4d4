//! What is sent fits and is whole.

use super::*;
use proptest::prelude::*;

#[test]
fn words_twice() {
    let contents = text("it is **done**");
    assert_eq!(contents.len(), 1);
    assert_eq!(contents[0]["body"], "it is **done**");
    let html = contents[0]["formatted_body"].as_str().unwrap();
    assert!(html.contains("<strong>done</strong>") || html.contains("<b>done</b>"), "{html}");
}

#[test]
fn what_grows_is_split_smaller() {
    for long in ["&".repeat(60_000), "\"\\".repeat(50_000), "😀".repeat(10_000)] {
        let contents = text(&long);
        assert!(contents.iter().all(|c| size(c) <= CONTENT_MAX));
        let all: String = contents.iter().filter_map(|c| c["body"].as_str()).collect();
        assert_eq!(all, long);
    }
}

#[test]
fn relations() {
    let mut content = json!({ "body": "x" });
    relate(&mut content, None, None);
    assert_eq!(content, json!({ "body": "x" }));
    relate(&mut content, Some("$r"), None);
    assert_eq!(content["m.relates_to"]["is_falling_back"], true);
    relate(&mut content, Some("$r"), Some("$m"));
    assert_eq!(content["m.relates_to"]["m.in_reply_to"]["event_id"], "$m");
}

#[test]
fn emoji_or_none() {
    assert_eq!(emoji("thumbs_up"), Some("👍"));
    assert_eq!(emoji(":tada:"), Some("🎉"));
    assert_eq!(emoji("🦀"), Some("🦀"));
    assert_eq!(emoji("no such thing"), None);
}

proptest! {
    #[test]
    fn cards_show_their_title_as_it_is(title in "[ -~]{1,40}") {
        let html = text(&card(Some(&title), "words"));
        let shown = html[0]["formatted_body"].as_str().unwrap();
        let tags = ["<b>", "</b>", "<em>", "<code>", "<a ", "<h1>"];
        prop_assert!(tags[2..].iter().all(|tag| !shown.contains(tag)), "{}", shown);
    }
}
