use super::{Kind, character, part_id, refused};
use nanoclaw_channel::{OutFile, SendError};

#[test]
fn the_id_of_a_part_is_of_its_key_and_of_whatsapps_form() {
    let id = part_id("key-1", 0);
    assert_eq!(id, part_id("key-1", 0));
    assert_eq!((id.len(), id.is_char_boundary(4) && id.starts_with("3EB0")), (22, true));
    assert!(id.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()), "{id}");
    assert_ne!(id, part_id("key-1", 1));
    // A key and a number do not run into each other.
    assert_ne!(part_id("key-1", 11), part_id("key-11", 1));
}

#[test]
fn files_are_shown_as_what_they_are() {
    let kind = |name: &str, len| Kind::of(&OutFile { name: name.into(), bytes: vec![0; len] });
    assert_eq!(kind("a.PNG", 9), Kind::Image);
    assert_eq!(kind("a.mp4", 9), Kind::Video);
    assert_eq!(kind("a.ogg", 9), Kind::Voice);
    assert_eq!(kind("a.mp3", 9), Kind::Audio);
    assert_eq!(kind("a.svg", 9), Kind::Document);
    assert_eq!(kind("a.png", super::SHOWN_MAX + 1), Kind::Document, "too large to be shown");
}

#[test]
fn shortcodes_are_characters_and_words_are_none() {
    assert_eq!(character("thumbs_up"), Some("👍"));
    assert_eq!(character(":heart:"), Some("❤️"));
    assert_eq!(character("🦀"), Some("🦀"));
    assert_eq!(character("no such thing"), None);
    assert_eq!(character(""), None);
}

#[test]
fn a_refusal_is_sorted_by_what_comes_next() {
    assert!(matches!(refused("503"), SendError::Retry { after: None, .. }));
    assert!(matches!(refused("429"), SendError::Retry { after: Some(_), .. }));
    assert!(matches!(refused("463"), SendError::Reject { .. }));
    assert!(matches!(refused("479"), SendError::Reject { .. }));
}
