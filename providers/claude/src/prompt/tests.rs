//! Prompts as Claude Code gets them.

use super::*;
use std::path::{Path, PathBuf};

fn ask() -> Prompt {
    let id = Uuid::from_u128(1);
    Prompt { id, text: "/hi @x".to_owned(), command: None, images: vec![], wants_turn: true }
}

fn image(path: &Path) -> Image {
    Image { mime: "image/png".to_owned(), path: path.into() }
}

#[test]
fn only_a_command_of_ours_is_a_command() {
    let frame = prompt(&ask());
    assert_eq!(frame["client_composed"], true);
    assert_eq!(frame["message"]["content"], "/hi @x");
    assert_eq!(frame["uuid"], "00000000-0000-0000-0000-000000000001");
    assert_eq!(frame.get("shouldQuery"), None);

    let frame = prompt(&Prompt { command: Some("/compact".to_owned()), ..ask() });
    assert_eq!(frame["message"]["content"], "/compact");
    assert_eq!(frame.get("client_composed"), None);

    let frame = prompt(&Prompt { wants_turn: false, ..ask() });
    assert_eq!(frame["shouldQuery"], false);
}

#[test]
fn only_a_regular_file_of_fit_size_is_a_picture() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { dir.path().join(name) };
    std::fs::write(path("good"), "png").unwrap();
    std::fs::write(path("big"), vec![0; usize::try_from(IMAGE_MAX).unwrap() + 1]).unwrap();
    std::os::unix::fs::symlink(path("good"), path("link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), Mode::RUSR).unwrap();

    let images = ["good", "big", "link", "pipe", "gone"].map(|name| image(&path(name)));
    let frame = prompt(&Prompt { images: images.into(), ..ask() });
    let blocks = frame["message"]["content"].as_array().unwrap();
    assert_eq!(blocks.len(), 6);
    assert_eq!(blocks[1]["source"]["data"], "cG5n");
    for (block, why) in
        blocks[2..].iter().zip(["larger than", "not shown", "not a file", "not shown"])
    {
        assert!(block["text"].as_str().unwrap().contains(why), "{block}");
    }
    let bad = Image { mime: "text/html".to_owned(), ..image(&path("good")) };
    assert!(read(&bad).unwrap_err().contains("cannot see text/html"));
}
