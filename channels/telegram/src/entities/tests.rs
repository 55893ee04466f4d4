use super::markdown;
use crate::wire::Entity;
use proptest::prelude::{any, prop, proptest};

fn entity(kind: &str, offset: usize, length: usize) -> Entity {
    let (url, language) = (Some("https://example.org".into()), Some("rust".into()));
    Entity { kind: kind.into(), offset, length, url, language, user: None }
}

#[test]
fn offsets_count_utf16() {
    let text = "😀 bold";
    assert_eq!(markdown(text, &[entity("bold", 3, 4)]), "😀 **bold**");
}

#[test]
fn inner_marks_close_first() {
    let entities = [entity("bold", 0, 9), entity("italic", 5, 4)];
    assert_eq!(markdown("very nice", &entities), "**very _nice_**");
    let entities = [entity("italic", 0, 4), entity("bold", 0, 9)];
    assert_eq!(markdown("very nice", &entities), "**_very_ nice**");
}

#[test]
fn blocks_and_links() {
    assert_eq!(markdown("let a;", &[entity("pre", 0, 6)]), "```rust\nlet a;\n```");
    assert_eq!(markdown("one\ntwo\nthree", &[entity("blockquote", 0, 7)]), "> one\n> two\nthree");
    assert_eq!(markdown("see it", &[entity("text_link", 4, 2)]), "see [it](https://example.org)");
    assert_eq!(markdown("@nano hi", &[entity("mention", 0, 5)]), "@nano hi");
}

proptest! {
    #[test]
    fn no_word_is_lost(
        text in any::<String>(),
        places in prop::collection::vec((0..40_usize, 0..40_usize), 0..8),
        huge: bool,
    ) {
        let kinds = ["bold", "italic", "pre", "blockquote", "text_link", "custom"];
        let mut entities: Vec<Entity> = places
            .iter()
            .enumerate()
            .map(|(n, (offset, length))| entity(kinds[n % kinds.len()], *offset, *length))
            .collect();
        if huge {
            entities.push(entity("bold", usize::MAX, usize::MAX));
        }
        let out = markdown(&text, &entities);
        let mut rest = out.chars();
        for c in text.chars() {
            assert!(rest.any(|other| other == c), "{c:?} of {text:?} is missing in {out:?}");
        }
    }
}
