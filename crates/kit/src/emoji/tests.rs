//! The names that agents use.

use super::find;

#[test]
fn every_usual_name_is_found_and_others_are_not() {
    let found = |name: &str| find(name).map(emojis::Emoji::as_str);
    for name in ["👍", "thumbs_up", "thumbsup", ":+1:", "+1", " :thumbs_up: ", "Thumbs_Up"] {
        assert_eq!(found(name), Some("👍"), "{name}");
    }
    let others = [
        ("thumbs_down", "👎"),
        ("-1", "👎"),
        ("check", "✅"),
        ("white_check_mark", "✅"),
        ("check_mark_button", "✅"),
        ("folded_hands", "🙏"),
        ("red_heart", "❤️"),
        ("thinking_face", "🤔"),
        ("party_popper", "🎉"),
        ("x", "❌"),
    ];
    for (name, emoji) in others {
        assert_eq!(found(name), Some(emoji), "{name}");
    }
    for name in ["", "::", "no such thing", "👍👍", "thumbs"] {
        assert_eq!(found(name), None, "{name}");
    }
}
