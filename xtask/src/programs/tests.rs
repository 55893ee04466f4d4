use super::*;

#[test]
fn what_cargo_says_is_read() {
    let line = |id: &str, test: bool, file: &str| {
        format!(
            r#"{{"reason":"compiler-artifact","package_id":"{id}","manifest_path":"/w/a/Cargo.toml",
            "target":{{"kind":["test"],"name":"all"}},"profile":{{"opt_level":"0","test":{test}}},
            "executable":{file}}}"#
        )
    };
    let program = |package: &str| Program {
        package: package.into(),
        name: "all".into(),
        folder: "/w/a".into(),
        file: "/t/all-1".into(),
    };
    let read = |id, test, file| parse(&line(id, test, file));
    assert_eq!(read("path+file:///w/a#b@0.1.0", true, r#""/t/all-1""#), Some(program("b")));
    assert_eq!(read("path+file:///w/a#0.1.0", true, r#""/t/all-1""#), Some(program("a")));
    assert_eq!(read("path+file:///w/a#0.1.0", false, r#""/t/all-1""#), None);
    assert_eq!(read("path+file:///w/a#0.1.0", true, "null"), None);
    assert_eq!(parse(r#"{"reason":"build-finished","success":true}"#), None);
}

/// All are run, whatever failed before, and each failure is named.
#[test]
fn failures_are_named_after_all_ran() {
    let folder = std::env::temp_dir();
    let program = |name: &str, file: &str| Program {
        package: "p".into(),
        name: name.into(),
        folder: folder.clone(),
        file: file.into(),
    };
    let all = vec![
        program("bad", "/bin/false"),
        program("absent", "/no/such/program"),
        program("good", "/bin/true"),
    ];
    let said = run(all, 2, &[]).unwrap_err().to_string();
    assert!(said.contains("p bad") && said.contains("p absent") && !said.contains("p good"));
    run(vec![program("good", "/bin/true")], 2, &[]).unwrap();
}
