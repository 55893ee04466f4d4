//! As GitHub does it.

use super::*;
use proptest::prelude::*;

#[test]
fn a_name_is_a_mention_where_github_makes_it_one() {
    for text in [
        "@nano-bot hello",
        "hello @nano-bot",
        "hello @NANO-Bot!",
        "(@nano-bot)",
        "**@nano-bot** please",
        "> @nano-bot said",
        "- @nano-bot",
        "@nano-bot, @ann",
        "a\n@nano-bot.",
        "@nano-bot- is here",
        "@nano-bot's",
    ] {
        assert!(names(text, "nano-bot"), "{text}");
    }
    for text in [
        "nano-bot",
        "`@nano-bot`",
        "```\n@nano-bot\n```",
        "    @nano-bot",
        "mail@nano-bot",
        "@nano-bot2",
        "@nano-bot-two",
        "@nano-bot/team",
        "x/@nano-bot",
        "[@nano-bot](https://a.example)",
        "@nano",
        "@@nano-bot",
        "",
    ] {
        assert!(!names(text, "nano-bot"), "{text}");
    }
}

#[test]
fn reactions_are_the_eight() {
    assert_eq!(reaction("👍"), Some("+1"));
    assert_eq!(reaction(":tada:"), Some("hooray"));
    assert_eq!(reaction("eyes"), Some("eyes"));
    for none in ["", "🦜", "no such thing"] {
        assert_eq!(reaction(none), None);
    }
}

proptest! {
    #[test]
    fn any_text_is_read(text in "(\\PC|[@`\\[\\]()\\n-]){0,80}", login in "[a-z0-9-]{1,10}") {
        names(&text, &login);
    }
}
