//! Copies of conversations.

use super::*;

const TALK: &str = r#"{"type":"queue-operation"}
{"type":"user","timestamp":"2026-11-22T15:50:57.772Z","message":{"role":"user","content":"<message from=\"a\">Über den *Fuchs*, ja?</message>"}}
not json
{"type":"assistant","timestamp":"2026-11-22T15:51:00.000Z","message":{"content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"Rot."}]}}
{"type":"user","isMeta":true,"message":{"content":"hidden"}}
"#;

#[test]
fn a_copy_is_readable_and_never_replaces_another() {
    let dir = tempfile::tempdir().unwrap();
    let (transcript, folder) = (dir.path().join("t.jsonl"), dir.path().join("conversations"));
    fs::write(&transcript, TALK).unwrap();
    let names = [(); 2].map(|()| keep(&transcript, &folder).unwrap().unwrap());
    assert_eq!(names[0], folder.join("2026-11-22-über-den-fuchs-ja.md"));
    assert_eq!(names[1], folder.join("2026-11-22-über-den-fuchs-ja-2.md"));
    let copy = fs::read_to_string(&names[0]).unwrap();
    assert!(copy.contains("2026-11-22T15:51:00.000Z") && copy.ends_with("**Agent**: Rot.\n\n"));
    assert!(!copy.contains("hidden"));
}

#[test]
fn what_is_no_transcript_is_not_copied() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("secret"), TALK).unwrap();
    std::os::unix::fs::symlink(path("secret"), path("link.jsonl")).unwrap();
    assert!(keep(&path("secret"), dir.path()).is_err());
    assert!(keep(&path("link.jsonl"), dir.path()).is_err());
    fs::write(path("empty.jsonl"), "").unwrap();
    assert_eq!(keep(&path("empty.jsonl"), dir.path()).unwrap(), None);
    // A name cannot lead out of the folder.
    let hostile =
        r#"{"type":"user","timestamp":"../../../../x","message":{"content":"../../../etc/x"}}"#;
    fs::write(path("h.jsonl"), hostile).unwrap();
    let copy = keep(&path("h.jsonl"), &path("c")).unwrap().unwrap();
    assert_eq!(copy.parent(), Some(path("c").as_path()));
}
