//! Names and words of a server, and what they may not be.

use super::*;

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
}

fn check(command: &str, args: &[String], env: &BTreeMap<String, String>) -> Result<(), String> {
    let (command, args, env) = (command.into(), args.into(), env.clone());
    judge(&McpServer { name: "a".into(), command, args, env })
}

#[test]
fn names_are_plain_and_not_ours() {
    for good in ["files", "my-db_2", "0x"] {
        assert!(is_name(good), "{good}");
    }
    let long = "a".repeat(NAME_BYTES_MAX + 1);
    for bad in [
        "", "-x", "--flag", "_x", "a b", "a;b", "$(x)", "a/b", "..", "a\n", "a__b", "nanoclaw",
        "NanoClaw", "ü", &long,
    ] {
        assert!(!is_name(bad), "{bad:?}");
    }
}

#[test]
fn a_server_that_cannot_be_started_is_refused_with_the_reason() {
    let none = env(&[]);
    let args = |args: &[&str]| args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>();
    assert_eq!(check("npx", &args(&["-y", "x", "a b; c"]), &env(&[("KEY_1", "v=1\n")])), Ok(()));
    for (command, given, variables, why) in [
        ("", args(&[]), &none, "no command"),
        (" ", args(&[]), &none, "no command"),
        ("--x", args(&[]), &none, "no command"),
        ("a\nb", args(&[]), &none, "character"),
        ("a", args(&["\0"]), &none, "character"),
        ("a", args(&["x"; 200]), &none, "words"),
        ("a", args(&[&"x".repeat(BYTES_MAX)]), &none, "bytes"),
    ] {
        let said = check(command, &given, variables).unwrap_err();
        assert!(said.contains(why), "{command:?}: {said}");
    }
    for key in ["", "A=B", "1A", "A B", "A\n"] {
        let said = check("x", &[], &env(&[(key, "v")])).unwrap_err();
        assert!(said.contains("variable"), "{key:?}: {said}");
    }
}

#[test]
fn one_bad_server_does_not_stop_the_others() {
    let (good, bad) = usable(&json!({
        "fine": {"command": "a", "args": ["b"], "env": {"K": "v"}, "instructions": "Use it."},
        "bare": {"command": "a"},
        "nanoclaw": {"command": "evil"},
        "none": {"args": []},
        "typed": {"command": "a", "env": {"K": 1}},
    }));
    assert_eq!(good.keys().collect::<Vec<_>>(), ["fine", "bare"]);
    assert_eq!(bad.len(), 3, "{bad:?}");
    assert_eq!(usable(&Value::Null), (Map::new(), Vec::new()));
}
