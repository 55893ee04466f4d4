//! The end of a log, and what happens when it grew large.

use super::*;

#[test]
fn shows_the_last_lines() {
    let dir = tempfile::tempdir().unwrap();
    write!(open(dir.path()).unwrap(), "one\ntwo\nthree\n").unwrap();
    let mut out = Vec::new();
    show(dir.path(), 2, false, &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "two\nthree\n");
    assert_eq!(tail(&path(dir.path()), 100), "one\ntwo\nthree\n");
}

#[test]
fn a_missing_log_names_the_next_step() {
    let dir = tempfile::tempdir().unwrap();
    let error = show(dir.path(), 2, false, &mut Vec::new()).unwrap_err();
    assert_eq!(error.next.as_deref(), Some("nanoclaw start"));
}

#[test]
fn a_large_log_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap().set_len(ROTATE_BYTES + 1).unwrap();
    drop(open(dir.path()).unwrap());
    assert_eq!(path(dir.path()).metadata().unwrap().len(), 0);
    assert_eq!(dir.path().join("nanoclaw.log.1").metadata().unwrap().len(), ROTATE_BYTES + 1);
}
