//! The session folder: v2's shape becomes ours, and a hostile box gets nowhere.

use crate::dir::{FILES_MAX, SessionDir};
use crate::ids::{AgentId, MessageId, OutId, SessionId};
use crate::{Error, OUTBOUND_SQL};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::Path;

fn made() -> (tempfile::TempDir, SessionDir) {
    let temp = tempfile::tempdir().unwrap();
    let dir = SessionDir::at(temp.path().join("session"));
    dir.create().unwrap();
    (temp, dir)
}

fn out(id: &str) -> OutId {
    OutId::parse(id).unwrap()
}

/// A folder as a v2 host leaves it: everything in one place.
fn v2(root: &Path) {
    fs::create_dir_all(root.join("outbox/msg-1")).unwrap();
    fs::write(root.join("outbox/msg-1/a.txt"), "file").unwrap();
    fs::write(root.join(".heartbeat"), "").unwrap();
    crate::inbox::Inbox::open(&root.join("inbound.db")).unwrap();
    let conn = rusqlite::Connection::open(root.join("outbound.db")).unwrap();
    conn.execute_batch(OUTBOUND_SQL).unwrap();
    conn.execute_batch("INSERT INTO messages_out (id, seq, timestamp, kind, content) VALUES ('msg-1', 3, '', 'chat', '{}')")
        .unwrap();
}

fn rows(dir: &SessionDir) -> usize {
    crate::outbox::OutboxReader::open(&dir.outbound()).unwrap().rows_after(0, 10).unwrap().len()
}

#[test]
fn v2s_folder_is_moved_into_our_shape_once() {
    let temp = tempfile::tempdir().unwrap();
    let dir = SessionDir::at(temp.path().join("session"));
    v2(dir.root());
    assert!(!dir.is_sealed());
    for _ in 0..3 {
        dir.create().unwrap();
        dir.seal().unwrap();
        assert!(dir.is_sealed());
        assert_eq!(rows(&dir), 1);
        for name in ["outbound.db", "outbox", ".heartbeat"] {
            let link = dir.root().join(name);
            assert!(link.symlink_metadata().unwrap().is_symlink(), "{name}");
            assert!(link.exists(), "v2 does not find {name}");
        }
        let mut text = String::new();
        dir.open_outbox_file(&out("msg-1"), "a.txt").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "file");
    }
}

#[test]
fn a_move_that_was_cut_off_is_finished() {
    for done in 0..4 {
        let temp = tempfile::tempdir().unwrap();
        let dir = SessionDir::at(temp.path().join("session"));
        v2(dir.root());
        fs::create_dir_all(dir.writable()).unwrap();
        // What a move does first.
        for name in ["outbound.db", "outbox", ".heartbeat"].iter().take(done) {
            fs::rename(dir.root().join(name), dir.writable().join(name)).unwrap();
        }
        assert!(!dir.is_sealed(), "after {done} steps");
        dir.create().unwrap();
        dir.seal().unwrap();
        assert_eq!(rows(&dir), 1, "after {done} steps");
        assert!(dir.open_outbox_file(&out("msg-1"), "a.txt").is_ok(), "after {done} steps");
    }
}

#[test]
fn two_outboxes_with_files_are_never_merged() {
    let (_temp, dir) = made();
    fs::create_dir_all(dir.writable().join("outbox/msg-2")).unwrap();
    v2(dir.root());
    let refused = dir.create().unwrap_err().to_string();
    assert!(refused.contains("both hold files"), "{refused}");
}

#[test]
fn ids_that_are_no_folder_names_are_refused() {
    let data = Path::new("/nowhere");
    let session = SessionId::parse("sess-1").unwrap();
    for agent in ["..", "a/b", "."] {
        let agent = AgentId::parse(agent).unwrap();
        assert!(matches!(SessionDir::new(data, &agent, &session), Err(Error::Refused(_))));
    }
}

#[test]
fn nothing_but_a_plain_file_below_the_box_is_opened() {
    let (temp, dir) = made();
    let (secret, files) = (temp.path().join("secret"), dir.writable().join("outbox/m"));
    fs::write(&secret, "secret").unwrap();
    fs::create_dir_all(files.join("folder")).unwrap();
    symlink(&secret, files.join("link")).unwrap();
    symlink(temp.path(), dir.writable().join("outbox/linked")).unwrap();
    nix::unistd::mkfifo(&files.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::write(files.join("big"), "12345").unwrap();
    for path in [
        "outbox/m/link",
        "outbox/linked/secret",
        "outbox/m/pipe",
        "outbox/m/folder",
        "../inbound.db",
        "outbox/../../inbound.db",
        "/etc/passwd",
        "outbox/m/none",
        "",
    ] {
        let opened = dir.open_from_box(Path::new(path), 100);
        assert!(matches!(opened, Err(Error::Refused(_) | Error::Io { .. })), "{path}");
    }
    assert!(dir.open_from_box(Path::new("outbox/m/big"), 4).is_err());
    assert!(dir.open_from_box(Path::new("outbox/m/big"), 5).is_ok());
}

#[test]
fn file_names_and_ids_that_are_paths_are_refused() {
    let (_temp, dir) = made();
    for (id, name) in [("m", ".."), ("m", "a/b"), ("m", ""), ("..", "a"), ("a/b", "a")] {
        assert!(matches!(dir.open_outbox_file(&out(id), name), Err(Error::Refused(_))));
        let message = MessageId::parse(id).unwrap();
        assert!(matches!(dir.write_inbox_file(&message, name, b"x"), Err(Error::Refused(_))));
    }
}

#[test]
fn a_box_that_is_a_link_itself_is_not_followed() {
    let (temp, dir) = made();
    let elsewhere = temp.path().join("elsewhere");
    fs::create_dir_all(elsewhere.join("outbox/m")).unwrap();
    fs::write(elsewhere.join("outbox/m/a"), "x").unwrap();
    fs::remove_dir_all(dir.writable()).unwrap();
    symlink(&elsewhere, dir.writable()).unwrap();
    assert!(dir.open_outbox_file(&out("m"), "a").is_err());
    assert!(dir.clear_outbox(&out("m")).is_err());
    assert!(elsewhere.join("outbox/m/a").exists());
}

#[test]
fn clearing_takes_the_files_of_one_message_and_follows_nothing() {
    let (temp, dir) = made();
    let (outbox, host) = (dir.writable().join("outbox"), temp.path().join("host"));
    fs::create_dir_all(&host).unwrap();
    fs::write(host.join("keep"), "x").unwrap();
    for id in ["m1", "m2"] {
        fs::create_dir_all(outbox.join(id)).unwrap();
        fs::write(outbox.join(id).join("a"), "x").unwrap();
    }
    symlink(host.join("keep"), outbox.join("m1/link")).unwrap();
    symlink(&host, outbox.join("m1/linked folder")).unwrap();
    dir.clear_outbox(&out("m1")).unwrap();
    assert!(!outbox.join("m1").exists());
    assert!(outbox.join("m2/a").exists());

    // The folder of a message, or the whole outbox, as a link to the host's own.
    symlink(&host, outbox.join("m3")).unwrap();
    assert!(dir.clear_outbox(&out("m3")).is_err());
    fs::rename(&outbox, temp.path().join("aside")).unwrap();
    fs::create_dir_all(host.join("m4")).unwrap();
    fs::write(host.join("m4/keep"), "x").unwrap();
    symlink(&host, &outbox).unwrap();
    assert!(dir.clear_outbox(&out("m4")).is_err());
    assert!(host.join("keep").exists() && host.join("m4/keep").exists());
}

#[test]
fn clearing_what_is_not_there_is_nothing() {
    let (_temp, dir) = made();
    dir.clear_outbox(&out("none")).unwrap();
    dir.clear_outbox(&out("../..")).unwrap();
    assert!(dir.inbound().exists());
}

#[test]
fn a_folder_of_too_many_files_is_not_walked_for_ever() {
    let (_temp, dir) = made();
    let folder = dir.writable().join("outbox/m");
    fs::create_dir_all(&folder).unwrap();
    for n in 0..FILES_MAX * 3 {
        fs::write(folder.join(n.to_string()), "").unwrap();
    }
    assert!(dir.clear_outbox(&out("m")).is_err());
    let left = fs::read_dir(&folder).unwrap().count();
    assert!((FILES_MAX..FILES_MAX * 3).contains(&left), "{left} files are left");
}

#[test]
fn a_file_for_the_agent_is_there_under_its_path_and_replaced() {
    let (_temp, dir) = made();
    let id = MessageId::parse("m 1").unwrap();
    for bytes in ["one", "two"] {
        let path = dir.write_inbox_file(&id, "a.txt", bytes.as_bytes()).unwrap();
        assert_eq!(path, "inbox/m 1/a.txt");
        assert_eq!(fs::read_to_string(dir.root().join(path)).unwrap(), bytes);
    }
}
