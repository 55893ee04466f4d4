use super::{Part, REACTIONS, escape, headed, parts, plain};
use nanoclaw_channel::OutFile;
use proptest::prelude::proptest;

fn shape(markdown: &str, files: &[(&str, usize)]) -> Vec<String> {
    let file =
        |(name, size): &(&str, usize)| OutFile { name: (*name).into(), bytes: vec![b'x'; *size] };
    let files: Vec<OutFile> = files.iter().map(file).collect();
    let show = |part: &Part<'_>| match part {
        Part::Text(text) => format!("text {}", text.len()),
        Part::Files { kind, files, caption } => {
            format!("{kind:?} {} {}", files.len(), caption.is_some())
        }
    };
    parts(markdown, &files).iter().map(show).collect()
}

#[test]
fn what_can_be_shown_together_is_an_album() {
    let files =
        [("a.png", 1), ("b.mp4", 1), ("c.pdf", 1), ("d.txt", 1), ("e.ogg", 1), ("f.ogg", 1)];
    let want = ["Photo 2 true", "Document 2 false", "Voice 1 false", "Voice 1 false"];
    assert_eq!(shape("words", &files), want);
}

#[test]
fn a_long_text_stands_before_the_files() {
    assert_eq!(shape(&"word ".repeat(400), &[("a.png", 1)]), ["text 1999", "Photo 1 false"]);
}

#[test]
fn an_album_has_ten_files() {
    let files = [("a.pdf", 1); 23];
    assert_eq!(shape("", &files), ["Document 10 false", "Document 10 false", "Document 3 false"]);
}

#[test]
fn what_telegram_does_not_take_is_told() {
    assert!(
        matches!(parts("", &[OutFile { name: "a`b.log".into(), bytes: Vec::new() }]).as_slice(),
        [Part::Text(text)] if text.contains("<code>a'b.log</code>") && text.contains("empty"))
    );
}

#[test]
fn a_heading_is_not_said_twice() {
    assert_eq!(headed("Deploy?", "Deploy?"), "Deploy?");
    assert_eq!(headed("", "Deploy?"), "Deploy?");
    assert_eq!(headed("Deploy", "Now?"), "# Deploy\n\nNow?");
}

#[test]
fn telegram_has_these_reactions() {
    assert_eq!(REACTIONS.split_whitespace().count(), 73);
    assert!(!REACTIONS.contains('\u{fe0f}'));
}

proptest! {
    #[test]
    fn plain_takes_back_what_escape_did(text: String) {
        assert_eq!(plain(&format!("<b>{}</b>", escape(&text))), text);
    }
}
