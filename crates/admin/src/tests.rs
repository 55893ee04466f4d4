use crate::args::{Args, BYTES_MAX, canonical, complete};
use crate::completions::{Shell, script};
use crate::help::{help, reference};
use crate::parse::{Asked, parse};
use crate::print::render;
use crate::program::{Screen, Seat};
use crate::table::{Own, RESOURCES, Reach, VERBS, find, find_command};
use crate::wire::{Code, Failure, Frame};
use expect_test::expect_file;
use serde_json::{Map, Value, json};

/// Words as a shell cuts them, with `'` as the only quote.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (n, part) in line.split('\'').enumerate() {
        match n % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

fn asked(line: &str) -> (String, Value, bool) {
    match parse(&words(line)) {
        Ok(Asked::Do { request, json }) => (request.command, request.args.into(), json),
        other => panic!("{line}: {other:?}"),
    }
}

fn refused(line: &str) -> Failure {
    match parse(&words(line)) {
        Err(failure) => failure,
        other => panic!("{line}: {other:?}"),
    }
}

/// What a request over the wire comes to.
fn over_the_wire(command: &str, args: Value) -> Result<Args, Failure> {
    let (verb, _) = find_command(command).unwrap_or_else(|| panic!("{command}"));
    let Value::Object(map) = args else { panic!("no object") };
    let mut args = canonical(verb, map)?;
    complete(verb, &mut args)?;
    Ok(args)
}

#[test]
fn words_become_commands() {
    for (line, command, args) in [
        ("sessions", "sessions-list", json!({})),
        ("sessions list --limit 5", "sessions-list", json!({"limit": 5})),
        ("sessions --limit 5", "sessions-list", json!({"limit": 5})),
        ("sessions clear sess-1", "sessions-clear", json!({"id": "sess-1"})),
        ("sessions clear --id=sess-1", "sessions-clear", json!({"id": "sess-1"})),
        ("sessions get -- --odd-", "sessions-get", json!({"id": "--odd-"})),
        ("sessions get --id=--odd", "sessions-get", json!({"id": "--odd"})),
        ("why list", "why", json!({"id": "list"})),
        ("groups config get ag-1-x", "groups-config-get", json!({"id": "ag-1-x"})),
        (
            "groups config update ag-1 --cli-scope global --model=",
            "groups-config-update",
            json!({"cli_scope": "global", "id": "ag-1", "model": null}),
        ),
        (
            "groups config update ag-1 --clear model --clear max-messages-per-prompt",
            "groups-config-update",
            json!({"id": "ag-1", "max_messages_per_prompt": null, "model": null}),
        ),
        (
            "messaging-groups update mg-1 --denied-at ''",
            "messaging-groups-update",
            json!({"denied_at": null, "id": "mg-1"}),
        ),
        ("groups delete ag-1 --force", "groups-delete", json!({"force": true, "id": "ag-1"})),
        ("groups delete --force ag-1", "groups-delete", json!({"force": true, "id": "ag-1"})),
        ("groups delete --force no ag-1", "groups-delete", json!({"force": false, "id": "ag-1"})),
        (
            "members add --user-id cli:eve --agent-group-id ag-1",
            "members-add",
            json!({"group": "ag-1", "user": "cli:eve"}),
        ),
        (
            "groups config add-mcp-server ag-1 --name x --command npx --args '[\"-y\"]' --env '{\"B\":\"2\",\"A\":\"1\"}'",
            "groups-config-add-mcp-server",
            json!({"args": ["-y"], "command": "npx", "env": {"A": "1", "B": "2"}, "id": "ag-1", "name": "x"}),
        ),
        // An agent's own id is filled in by the host.
        ("groups get", "groups-get", json!({})),
        ("destinations list", "destinations-list", json!({})),
    ] {
        assert_eq!(asked(line), (command.into(), args, false), "{line}");
    }
    assert!(asked("sessions list --json").2);
}

#[test]
fn what_is_not_understood_is_refused() {
    for (line, code, why) in [
        ("sessions clear", Code::InvalidArgs, "which one?"),
        ("sessions clear a b", Code::InvalidArgs, "more than once"),
        ("sessions list x", Code::InvalidArgs, "takes no \"x\""),
        ("sessions list --limit 3 x", Code::InvalidArgs, "takes no \"x\""),
        ("sessions nonsense", Code::UnknownCommand, "sessions has list, get, clear, stop"),
        ("status --limit 3", Code::InvalidArgs, "takes none"),
        ("sessions list --limit", Code::InvalidArgs, "needs a value"),
        ("sessions list --limit few", Code::InvalidArgs, "whole number"),
        ("sessions list --limit -1", Code::InvalidArgs, "whole number"),
        ("sessions list --limit 99999999999999999999", Code::InvalidArgs, "whole number"),
        ("nonsense", Code::UnknownCommand, "ncl help"),
        ("groups create", Code::InvalidArgs, "--name is required"),
        ("groups update ag-1 --name ''", Code::InvalidArgs, "needs a value"),
        ("groups config update a --cli-scope all", Code::InvalidArgs, "disabled, group, global"),
        (
            "groups config add-mcp-server a --name x --command y --args -v",
            Code::InvalidArgs,
            "JSON",
        ),
        (
            "groups config add-mcp-server a --name x --command y --args [1]",
            Code::InvalidArgs,
            "JSON",
        ),
        (
            "groups config add-mcp-server a --name x --command y --env '{\"A\":{\"B\":1}}'",
            Code::InvalidArgs,
            "JSON",
        ),
        ("groups delete a --id b", Code::InvalidArgs, "more than once"),
        ("groups get --id own --id other", Code::InvalidArgs, "more than once"),
        (
            "destinations list --agent-group-id a --agent_group_id b",
            Code::InvalidArgs,
            "more than once",
        ),
        ("destinations list --agent-group-id a --id b", Code::InvalidArgs, "more than once"),
        ("members list --group a --agent-group-id b", Code::InvalidArgs, "more than once"),
        ("groups config update a --model x --clear model", Code::InvalidArgs, "more than once"),
        ("groups config update a --clear cli-scope", Code::InvalidArgs, "needs a value"),
        ("completions csh", Code::InvalidArgs, "bash"),
    ] {
        let failure = refused(line);
        assert!(failure.code == code && failure.message.contains(why), "{line}: {failure:?}");
    }
    let big = format!("groups restart ag-1 --message {}", "x".repeat(BYTES_MAX));
    assert!(refused(&big).message.contains("more than 65536 bytes"));
}

#[test]
fn every_spelling_on_the_wire_comes_to_the_same() {
    let own = json!({"agent_group_id": "own", "limit": 200, "offset": 0});
    for args in [
        json!({"agent_group_id": "own"}),
        json!({"agent-group-id": "own"}),
        json!({"group": "own", "limit": "200"}),
        json!({"group": "own", "limit": 200}),
    ] {
        let args = over_the_wire("sessions-list", args).unwrap();
        assert_eq!(json!(args), own);
        let again: Map<_, _> = args.clone().into_iter().collect();
        assert_eq!(over_the_wire("sessions-list", again.into()).unwrap(), args, "not stable");
    }
    for args in [
        json!({"agent_group_id": "own", "agent-group-id": "other"}),
        json!({"agent_group_id": "own", "group": "other"}),
        json!({"group": {"id": "own"}}),
        json!({"group": ["own", "other"]}),
        json!({"group": true}),
        json!({"group": ""}),
        json!({"group": null}),
        json!({"AGENT_GROUP_ID": "own"}),
        json!({"agent_group_id ": "own"}),
        json!({"agent_group_id\u{0}": "own"}),
        json!({"cli_scope": "global"}),
        json!({"limit": -1}),
        json!({"limit": 1.5}),
        json!({"limit": {"$gt": 0}}),
        json!({"messaging_group_id": "a\u{0}b"}),
        json!({"messaging_group_id": "x".repeat(10 << 20)}),
    ] {
        let shown: String = args.to_string().chars().take(80).collect();
        let code =
            over_the_wire("sessions-list", args).map_err(|e| (e.code, e.message.len() < 300));
        assert_eq!(code, Err((Code::InvalidArgs, true)), "{shown}");
    }
}

#[test]
fn commands_on_the_wire_may_carry_an_id() {
    let found = |command| find_command(command).map(|(v, id)| (v.command(), id));
    let is = |command: &str, id| Some((command.to_owned(), id));
    assert_eq!(found("sessions-get"), is("sessions-get", None));
    assert_eq!(found("sessions-get-sess-17-a"), is("sessions-get", Some("sess-17-a")));
    assert_eq!(found("groups-config-get-ag-1"), is("groups-config-get", Some("ag-1")));
    assert_eq!(found("sessions"), is("sessions-list", None));
    assert_eq!(found("why-x"), is("why", Some("x")));
    for unknown in
        ["", "-", "sessions-", "sessions-get-", "sessions-list-x", "config", "groups-nonsense"]
    {
        assert_eq!(found(unknown), None, "{unknown}");
    }
}

#[test]
fn the_table_is_sound() {
    for verb in VERBS {
        let name = verb.command();
        assert!(RESOURCES.iter().any(|(r, _)| *r == verb.resource), "{name}");
        assert_eq!(
            find_command(&name).map(|(v, id)| (v.command(), id)),
            Some((name.clone(), None))
        );
        let words = words(&verb.words());
        let found = find(&words).map(|(v, n)| (v.command(), n));
        assert_eq!(found, Some((name.clone(), words.len())));
        assert!(verb.positional.is_none_or(|p| verb.flag(p).is_some()), "{name}");
        assert!(verb.own_flag().is_none_or(|f| verb.flag(f).is_some()), "{name}");
        if matches!(verb.reach, Reach::Group(Own::Session)) {
            assert!(verb.flag("id").is_some(), "{name}");
        }
        for (n, flag) in verb.flags.iter().enumerate() {
            let names = [flag.name, flag.alias];
            let others = verb.flags.iter().take(n);
            let taken =
                others.flat_map(|f| [f.name, f.alias]).any(|n| !n.is_empty() && names.contains(&n));
            assert!(!taken, "{name}: {} twice", flag.name);
            if let Some(default) = flag.default {
                let given = [(flag.name.to_owned(), Value::from(default))];
                assert!(canonical(verb, given).is_ok(), "{name}: default of {}", flag.name);
            }
        }
    }
}

#[test]
fn help_names_every_command() {
    let text = help(None, |_| true);
    for (resource, about) in RESOURCES {
        assert!(text.contains(about), "{resource}");
        let of_it = help(Some(resource), |_| true);
        for verb in VERBS.iter().filter(|v| v.resource == *resource) {
            assert!(text.contains(verb.verb) && of_it.contains(verb.about), "{}", verb.command());
            for flag in verb.flags {
                assert!(of_it.contains(&flag.spelt()), "{} {}", verb.command(), flag.name);
            }
        }
    }
    let some = help(None, |v| v.resource == "groups");
    assert!(some.contains("groups") && !some.contains("wirings"), "{some}");
    let line = |l| parse(&words(l));
    for l in ["", "help", "--help", "-h", "nonsense help --help"] {
        assert!(matches!(line(l), Ok(Asked::Help(_))), "{l}");
    }
    for l in ["groups --help", "help groups", "groups help", "groups list -h"] {
        assert_eq!(line(l), Ok(Asked::Help(Some("groups".into()))), "{l}");
    }
}

#[test]
fn tables_are_aligned_and_clean() {
    let verb = VERBS.iter().find(|v| v.command() == "groups-list");
    let rows = json!([{"id": "ag-1", "name": "A\u{1b}[31m", "folder": "a", "provider": null}]);
    let text = render(verb, &rows);
    assert_eq!(text.lines().count(), 3);
    assert!(!text.contains('\u{1b}'), "{text}");
    assert_eq!(render(verb, &json!([])), "none\n");
    assert_eq!(render(None, &json!("a\nb\u{7}")), "a\nb \n");
}

/// The page says what the table says; `UPDATE_EXPECT=1` writes it anew.
#[test]
fn the_page_is_what_the_table_says() {
    let page = include_str!("../../../docs/ncl.md");
    let (head, _) = page.split_once("\n## Every command\n").expect("docs/ncl.md has no list");
    let page = format!("{head}\n## Every command\n{}", reference());
    expect_file!["../../../docs/ncl.md"].assert_eq(&page);
}

/// What Bash offers after this line.
fn offered(line: &str) -> Vec<String> {
    let program = format!(
        "{}\nCOMP_WORDS=({line}\"\"); COMP_CWORD=$((${{#COMP_WORDS[@]}}-1)); _ncl; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script(Shell::Bash)
    );
    let done = std::process::Command::new("bash").args(["-c", &program]).output().unwrap();
    assert!(done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn shells_complete_from_the_table() {
    let all = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert!(offered("ncl ").contains(&"wirings".to_owned()));
    assert_eq!(offered("ncl ses"), ["sessions"]);
    assert_eq!(offered("ncl sessions "), all("list get clear stop"));
    assert!(offered("ncl groups config ").contains(&"add-package".to_owned()));
    assert_eq!(offered("ncl groups config update ag-1 --cli-scope "), all("disabled group global"));
    assert_eq!(offered("ncl groups config update ag-1 --mod"), ["--model"]);
    assert_eq!(offered("ncl wirings list --mess"), ["--messaging-group-id"]);
    assert_eq!(offered("ncl completions "), all("bash zsh fish"));
    assert!(script(Shell::Zsh).starts_with("#compdef ncl\n"));
    let fish = script(Shell::Fish);
    assert!(fish.contains(
        r#"'__ncl_at "groups config update" more' -l cli-scope -xa 'disabled group global'"#
    ));
}

#[tokio::test]
async fn errors_go_to_stderr_with_an_exit_code() {
    let nowhere = std::path::Path::new("/nonexistent/ncl.sock");
    for (line, code, why) in [
        ("nonsense", 2, "there is no command"),
        ("sessions clear", 2, "which one?"),
        ("status", 2, "the host does not run; start it with `nanoclaw start`"),
    ] {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let screen = Screen { out: &mut out, err: &mut err };
        assert_eq!(crate::program::run(&words(line), nowhere, Seat::Operator, screen).await, code);
        let err = String::from_utf8(err).unwrap();
        assert!(out.is_empty() && err.starts_with("ncl: ") && err.contains(why), "{line}: {err}");
    }
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let screen = Screen { out: &mut out, err: &mut err };
    assert_eq!(crate::program::run(&words("--help"), nowhere, Seat::Operator, screen).await, 0);
    assert!(!out.is_empty() && err.is_empty());
}

/// Who waits for a build sees what it says, from its beginning; not what an earlier one said.
#[tokio::test(start_paused = true)]
async fn a_build_is_seen_while_it_is_waited_for() {
    let home = tempfile::tempdir().unwrap();
    let (socket, log) = (home.path().join("ncl.sock"), home.path().join("logs/build-ag-a.log"));
    std::fs::create_dir(home.path().join("logs")).unwrap();
    std::fs::write(&log, "an earlier one\n").unwrap();
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let host = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        for said in ["fetching\n", "fetching\nunpa\u{1b}[31mcking\n"] {
            std::fs::write(&log, said).unwrap();
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        let frame = Frame::of("1", Ok(json!({"note": "Done."})));
        let text = format!("{}\n", serde_json::to_string(&frame).unwrap());
        tokio::io::AsyncWriteExt::write_all(&mut stream, text.as_bytes()).await.unwrap();
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let screen = Screen { out: &mut out, err: &mut err };
    let line = words("groups restart ag-a --rebuild");
    let client = crate::program::run(&line, &socket, Seat::Operator, screen);
    assert_eq!(tokio::join!(host, client).1, 0);
    assert_eq!(String::from_utf8(err).unwrap(), "fetching\nunpa [31mcking\n");
    assert!(String::from_utf8(out).unwrap().contains("Done."));
}
