use super::*;
use nanoclaw_admin::args::canonical;
use nanoclaw_admin::table::{VERBS, find_command};
use serde_json::{Map, json};

fn id(text: &str) -> AgentId {
    AgentId::parse(text).unwrap()
}

/// What comes of a request of the agent `own`: the arguments that will be used, or the refusal.
fn asked(scope: CliScope, command: &str, given: Value) -> Result<Args, Failure> {
    let Value::Object(given) = given else { panic!("no object") };
    let (verb, _) = find_command(command).unwrap();
    let mut args = canonical(verb, given)?;
    let owner = |named: &str| match named {
        "sess-own" => Some(id("own")),
        "sess-other" => Some(id("other")),
        _ => None,
    };
    permit(verb, &mut args, (&id("own"), scope), owner).map(|()| args)
}

#[test]
fn a_disabled_agent_is_refused_whatever_it_asks() {
    for verb in VERBS {
        let why = permit(verb, &mut Args::new(), (&id("own"), CliScope::Disabled), |_| None);
        let why = why.unwrap_err();
        assert!(why.code == Code::Forbidden && why.message.contains("disabled"), "{why:?}");
    }
}

#[test]
fn its_own_id_is_filled_in_and_no_other_passes() {
    let own = |command, given| asked(CliScope::Group, command, given).map(|args| json!(args));
    for (command, key) in [
        ("groups-get", "id"),
        ("groups-list", "id"),
        ("groups-update", "id"),
        ("groups-restart", "id"),
        ("groups-config-get", "id"),
        ("groups-config-update", "id"),
        ("groups-config-add-package", "id"),
        ("groups-config-add-mcp-server", "id"),
        ("sessions-list", "agent_group_id"),
        ("tasks-list", "agent_group_id"),
        ("tasks-get", "agent_group_id"),
        ("tasks-run", "agent_group_id"),
        ("tasks-cancel", "agent_group_id"),
        ("tasks-update", "agent_group_id"),
        ("destinations-list", "agent_group_id"),
        ("destinations-add", "agent_group_id"),
        ("destinations-remove", "agent_group_id"),
        ("members-list", "group"),
        ("members-add", "group"),
        ("members-remove", "group"),
    ] {
        let filled = json!({ key: "own" });
        assert_eq!(own(command, json!({})), Ok(filled.clone()), "{command}");
        assert_eq!(own(command, filled.clone()), Ok(filled), "{command}");
        let refused = own(command, json!({ key: "other" })).unwrap_err();
        assert_eq!(refused.code, Code::Forbidden, "{command}");
        assert!(refused.message.contains("different agent group"), "{}", refused.message);
    }
}

#[test]
fn no_spelling_escapes_the_scope() {
    for (command, given) in [
        ("sessions-list", json!({"agent-group-id": "other"})),
        ("sessions-list", json!({"group": "other"})),
        ("sessions-list", json!({"agent_group_id": "own", "agent-group-id": "other"})),
        ("sessions-list", json!({"agent_group_id": "own", "group": "other"})),
        ("sessions-list", json!({"agent_group_id": ["own", "other"]})),
        ("sessions-list", json!({"agent_group_id": {"$ne": "own"}})),
        ("sessions-list", json!({"agent_group_id": "OWN"})),
        ("sessions-list", json!({"agent_group_id": "own "})),
        ("sessions-list", json!({"agent_group_id": "own\u{0}other"})),
        ("members-list", json!({"agent-group-id": "other"})),
        ("members-add", json!({"group": "own", "agent_group_id": "other"})),
        ("destinations-list", json!({"id": "other"})),
        ("destinations-add", json!({"id": "own", "agent_group_id": "other"})),
        ("groups-config-update", json!({"cli_scope": "global"})),
        ("groups-config-update", json!({"cli-scope": "global"})),
        ("groups-config-update", json!({"id": "own", "cli-scope": "group"})),
        ("groups-config-update", json!({"cli_scope": "group", "cli-scope": "global"})),
    ] {
        let refused = asked(CliScope::Group, command, given.clone());
        assert!(refused.is_err(), "{command} {given}: {refused:?}");
    }
}

#[test]
fn only_what_is_its_own_is_there_for_it() {
    let named = |command: &str, named: &str| {
        asked(CliScope::Group, command, json!({"id": named})).map(drop).map_err(|e| e.message)
    };
    for verb in VERBS.iter().filter(|v| v.reach == Reach::Group(Own::Session)) {
        let command = verb.command();
        assert_eq!(named(&command, "sess-own"), Ok(()), "{command}");
        for other in ["sess-other", "nowhere", "../own"] {
            // A foreign one and one that does not exist look the same.
            assert_eq!(named(&command, other), Err(format!("session not found: {other}")));
        }
    }
    for verb in VERBS.iter().filter(|v| v.reach == Reach::Global) {
        let refused = permit(verb, &mut Args::new(), (&id("own"), CliScope::Group), |_| None);
        let refused = refused.unwrap_err();
        assert!(
            refused.code == Code::Forbidden && refused.message.contains(verb.resource),
            "{}: {}",
            verb.command(),
            refused.message
        );
    }
    assert!(asked(CliScope::Group, "help", json!({})).is_ok());
}

#[test]
fn global_reaches_everything_but_decisions() {
    for verb in VERBS {
        let mut args = Args::new();
        let passed = permit(verb, &mut args, (&id("own"), CliScope::Global), |_| None);
        assert_eq!(passed.is_ok(), verb.reach != Reach::Operator, "{}", verb.command());
        assert!(args.is_empty(), "{} was filled in", verb.command());
    }
    let foreign = json!({"id": "other", "cli_scope": "group"});
    assert!(asked(CliScope::Global, "groups-config-update", foreign).is_ok());
    let owner = |role: &str| json!({"user": "fake:eve", "role": role});
    assert!(asked(CliScope::Global, "roles-grant", owner("owner")).is_err());
    assert!(asked(CliScope::Global, "roles-revoke", owner("owner")).is_err());
    assert!(asked(CliScope::Global, "roles-grant", owner("admin")).is_ok());
    assert!(asked(CliScope::Global, "roles-list", json!({"role": "owner"})).is_ok());
    for command in ["approvals-approve", "approvals-reject", "approvals-get", "users-link"] {
        assert!(asked(CliScope::Global, command, json!({"id": "ap-1"})).is_err(), "{command}");
    }
}

#[test]
fn help_shows_what_may_be_asked() {
    let text = |caller: Caller, args: Value| {
        let args: Map<_, _> = args.as_object().cloned().unwrap_or_default();
        let text = help(&caller, &args.into_iter().collect());
        text.as_str().unwrap_or_default().to_owned()
    };
    let own = text(inside(CliScope::Group), json!({}));
    for resource in ["groups", "sessions", "destinations", "members", "tasks"] {
        assert!(own.contains(&format!("\n  {resource} ")), "{resource} is missing:\n{own}");
    }
    for resource in ["wirings", "users", "roles", "approvals", "status"] {
        assert!(!own.contains(&format!("\n  {resource} ")), "{resource} is shown:\n{own}");
    }
    assert!(!own.contains("create") && own.contains("only what is your own"));
    let groups = text(inside(CliScope::Group), json!({"resource": "groups"}));
    assert!(groups.contains("config add-package") && !groups.contains("ncl groups delete"));
    let global = text(inside(CliScope::Global), json!({}));
    assert!(global.contains("\n  wirings ") && !global.contains("approve"));
    assert!(text(Caller::Operator, json!({})).contains("approve"));
}

fn inside(scope: CliScope) -> Caller {
    Caller::Agent(scope, "ag-a".parse().unwrap(), None)
}
