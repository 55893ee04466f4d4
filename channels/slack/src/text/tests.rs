//! Slack's entities, and its names of emoji.

use super::*;
use proptest::prelude::*;

#[test]
fn entities_read_as_people_write_them() {
    for (slack, people) in [
        ("<#C1|general>", "#general"),
        ("<#C1>", "#C1"),
        ("<!here>", "@here"),
        ("<!subteam^S1|@devs>", "@devs"),
        ("<!subteam^S1>", "@S1"),
        ("<!date^1392734382^{date}|Feb 18>", "Feb 18"),
        ("<@U1|ann>", "@ann"),
        ("<https://a.example/?a=1&amp;b=2>", "https://a.example/?a=1&b=2"),
        ("<https://a.example|a &amp; b>", "[a & b](https://a.example)"),
        ("<mailto:a@b.example|a@b.example>", "a@b.example"),
    ] {
        let read: String = pieces(slack)
            .into_iter()
            .map(|p| match p {
                Piece::Words(words) => unescape(words),
                Piece::Entity(target, label) => entity(target, label),
            })
            .collect();
        assert_eq!(read, people, "{slack}");
    }
}

#[test]
fn only_an_entity_names_somebody() {
    assert!(names("hi <@U1>", "U1") && names("<@U1|nano>", "U1"));
    for text in ["@nano", "&lt;@U1&gt;", "<@U12>", "<#U1>", "<@U1", ""] {
        assert!(!names(text, "U1"), "{text}");
    }
}

#[test]
fn emoji_have_the_same_name_on_both_sides() {
    assert_eq!(emoji("thumbsup"), "👍");
    assert_eq!(emoji("+1::skin-tone-3"), "👍");
    assert_eq!(emoji("our_own_parrot"), "our_own_parrot");
    assert_eq!(emoji_name("👍"), "+1");
    assert_eq!(emoji_name(":eyes:"), "eyes");
    assert_eq!(emoji_name("our_own_parrot"), "our_own_parrot");
}

proptest! {
    #[test]
    fn what_people_write_comes_back_as_it_was(text in "\\PC{0,80}") {
        let escaped = escape(&text);
        let read: String = pieces(&escaped)
            .into_iter()
            .map(|p| match p {
                Piece::Words(words) => unescape(words),
                Piece::Entity(target, label) => entity(target, label),
            })
            .collect();
        prop_assert_eq!(read, text);
    }

    #[test]
    fn any_text_can_be_read(text in "(\\PC|[<>|@#!^&;]){0,80}") {
        for piece in pieces(&text) {
            if let Piece::Entity(target, label) = piece {
                entity(target, label);
            }
        }
    }
}
