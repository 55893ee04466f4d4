use super::*;

fn message(id: &str) -> Message {
    Message { id: id.into(), markdown: format!("text of {id}"), ..Message::default() }
}

fn unseen(log: &Log) -> Vec<String> {
    log.unseen("local").map(|m| m.id.clone()).collect()
}

fn post(log: &mut Log, id: &str) {
    let posted = log.post("local", id, message(id), &[]).unwrap();
    assert!(matches!(posted, Posted::New(_)), "{posted:?}");
}

#[test]
fn a_torn_line_costs_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path()).unwrap();
    post(&mut log, "a");
    post(&mut log, "b");
    drop(log);
    let path = dir.path().join("log.jsonl");
    let whole = std::fs::read(&path).unwrap();
    let first = whole.iter().position(|b| *b == b'\n').unwrap() + 1;
    for cut in first..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let mut log = Log::open(dir.path()).unwrap();
        let b = if cut == whole.len() - 1 { vec!["a", "b"] } else { vec!["a"] };
        assert_eq!(unseen(&log), b, "cut at {cut}");
        post(&mut log, "c");
        drop(log);
        let log = Log::open(dir.path()).unwrap();
        assert_eq!(unseen(&log).last().map(String::as_str), Some("c"), "cut at {cut}");
    }
}

#[test]
fn seen_messages_are_forgotten_in_the_end_and_their_files_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path()).unwrap();
    let file = OutFile { name: "a.txt".into(), bytes: b"x".to_vec() };
    log.post("local", "first", message("first"), &[file]).unwrap();
    log.seen("first").unwrap();
    let kept = dir.path().join("files/first/a.txt");
    drop(log);
    let mut log = Log::open(dir.path()).unwrap();
    assert!(kept.exists(), "seen is not forgotten");
    for n in 0..SEEN_MAX {
        let id = format!("m{n}");
        post(&mut log, &id);
        log.seen(&id).unwrap();
    }
    post(&mut log, "last");
    drop(log);
    let log = Log::open(dir.path()).unwrap();
    assert!(!kept.exists());
    assert_eq!(log.entries.len(), SEEN_MAX + 1);
    assert_eq!(unseen(&log), ["last"]);
}

#[test]
fn the_file_does_not_grow_with_use() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path()).unwrap();
    for n in 0..3 * SLACK_LINES {
        let id = format!("m{n}");
        log.append(&Record::Seen { seen: id }).unwrap();
    }
    let text = std::fs::read_to_string(dir.path().join("log.jsonl")).unwrap();
    assert!(text.lines().count() <= SLACK_LINES + 1);
}
