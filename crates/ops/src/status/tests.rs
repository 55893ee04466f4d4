//! The state of nothing, and of a stopped install.

use super::*;
use std::collections::BTreeMap;
use std::path::Path;

fn config(root: &Path) -> Config {
    Config::parse(&BTreeMap::<String, String>::new(), root, Path::new("/bin/nanoclaw")).unwrap()
}

#[test]
fn an_empty_folder_is_not_set_up() {
    let dir = tempfile::tempdir().unwrap();
    let status = look(&config(dir.path()), Ok(None)).unwrap();
    assert!(!status.running);
    assert_eq!(status.problems, ["not set up: run nanoclaw setup"]);
    assert!(!dir.path().join("data").exists(), "looking makes nothing");
}

#[test]
fn a_stopped_install_says_what_it_has_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    std::fs::create_dir(&config.data).unwrap();
    drop(config.open_central().unwrap());
    let status = look(&config, Ok(Some("key, set today".into()))).unwrap();
    let text = status.to_text();
    assert!(text.contains("stopped"), "{text}");
    assert!(text.contains("credential  key, set today"), "{text}");
    assert!(text.contains("problem     the host does not run: nanoclaw start"), "{text}");
    let broken = look(&config, Err("file is open to others".into())).unwrap();
    assert_eq!(broken.problems[0], "the vault: file is open to others");
}

#[test]
fn durations_have_two_units() {
    for (seconds, text) in
        [(5, "5 s"), (65, "1 min 5 s"), (3_700, "1 h 1 min"), (90_000, "1 d 1 h")]
    {
        assert_eq!(duration(seconds), text);
    }
}
