//! What is found, replaced and refused; npm itself is tried by `nanoclaw.sh test`.

use super::*;
use std::os::unix::fs::PermissionsExt as _;

const TOOL: ToolSpec =
    ToolSpec { name: "thing", package: |_| Some("@x/thing"), version: "1.2.3", binary: "thing" };

fn unpacked(work: &Path, version: &str) {
    fs::create_dir_all(work.join("package")).unwrap();
    let binary = work.join("package/thing");
    fs::write(&binary, format!("#!/bin/sh\necho {version}\n")).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_new_version_takes_the_place_of_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let tools = dir.path();
    assert_eq!(installed(tools, &TOOL), None);
    let old = ToolSpec { version: "1.2.2", ..TOOL };
    for (tool, work) in [(old, tools.join("a")), (TOOL, tools.join("b"))] {
        unpacked(&work, tool.version);
        put_in_place(&work, tools, &tool).unwrap();
        assert_eq!(installed(tools, &tool), Some(tools.join("thing/thing")));
    }
    assert_eq!(installed(tools, &old), None);
    let said = std::sync::Mutex::new(Vec::new());
    let say = |line: &str| said.lock().unwrap().push(line.to_owned());
    assert_eq!(install(tools, &TOOL, &say).unwrap(), tools.join("thing/thing"));
    assert_eq!(*said.lock().unwrap(), ["thing 1.2.3 is there"]);
}

#[test]
fn a_cpu_without_a_package_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let none = ToolSpec { package: |_| None, ..TOOL };
    let error = install(dir.path(), &none, &|_| ()).unwrap_err();
    assert!(error.what.contains("is not made for"), "{error}");
}

#[test]
fn a_program_that_fails_or_is_missing_is_named() {
    let missing = run(&mut Command::new("nanoclaw-no-such-program")).unwrap_err();
    assert!(missing.what.contains("nanoclaw-no-such-program"), "{missing}");
    let failing = run(Command::new("sh").args(["-c", "echo oh no >&2; exit 3"])).unwrap_err();
    assert!(failing.what.contains("oh no"), "{failing}");
}
