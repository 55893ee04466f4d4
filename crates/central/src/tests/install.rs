//! Fresh and imported databases, agents, chats and configurations.

use super::*;
use std::collections::BTreeSet;

const FIXTURE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/v2-install/data/v2.db");

fn fixture() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v2.db");
    std::fs::write(&path, std::fs::read(FIXTURE).unwrap()).unwrap();
    (dir, path)
}

fn texts(conn: &Connection, sql: &str) -> Vec<String> {
    let mut query = conn.prepare(sql).unwrap();
    query.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Columns, foreign keys and indexes of one table.
fn shape(conn: &Connection, table: &str) -> Vec<String> {
    let mut all = texts(
        conn,
        &format!(
            "SELECT name || ' ' || type || ' ' || \"notnull\" || ' ' || COALESCE(dflt_value, '-') || ' ' || pk
             FROM pragma_table_info('{table}') ORDER BY cid"
        ),
    );
    all.extend(texts(
        conn,
        &format!(
            "SELECT \"from\" || ' -> ' || \"table\" || '.' || \"to\" || ' ' || on_delete
             FROM pragma_foreign_key_list('{table}') ORDER BY 1"
        ),
    ));
    all.extend(texts(
        conn,
        &format!(
            "SELECT i.name || ' ' || i.\"unique\" || ' ' ||
               (SELECT group_concat(name) FROM pragma_index_info(i.name))
             FROM pragma_index_list('{table}') i WHERE i.name <> 'idx_sessions_live' ORDER BY 1"
        ),
    ));
    all
}

#[test]
fn a_fresh_database_has_the_tables_of_v2() {
    let (_dir, path) = fixture();
    let v2 = Connection::open(path).unwrap();
    let fresh = central();
    let tables = texts(&v2, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name");
    assert_eq!(tables.len(), 20);
    for table in tables {
        let (ours, theirs) = (shape(&fresh.lock(), &table), shape(&v2, &table));
        let added: Vec<_> = ours.iter().filter(|line| !theirs.contains(line)).collect();
        let kept: Vec<_> = ours.iter().filter(|line| theirs.contains(line)).collect();
        assert_eq!(kept, theirs.iter().collect::<Vec<_>>(), "{table}");
        // v2 writes rows without them: they are null, or have a default.
        for column in added.iter().filter(|c| c.split(' ').count() == 5) {
            let fields: Vec<_> = column.split(' ').collect();
            assert!(fields[2] == "0" || fields[3] != "-", "{table}: {column}");
        }
    }
}

#[test]
fn the_ledger_is_one_that_v2_continues() {
    let (_dir, path) = fixture();
    let names = |c: &Connection| {
        texts(c, "SELECT version || ' ' || name FROM schema_version ORDER BY version")
    };
    let of_v2 = names(&Connection::open(&path).unwrap());
    let fresh = names(&central().lock());
    assert_eq!(of_v2.len(), 13);
    assert_eq!(fresh[..13], of_v2);
    assert!(fresh[13..].iter().all(|n| n.contains(" nanoclaw-rs-")), "{fresh:?}");
    assert_eq!(names(&Central::open(&path, at(0)).unwrap().lock()), fresh);
}

#[test]
fn opening_again_changes_nothing() {
    let (_dir, path) = fixture();
    let all = |c: &Central| {
        texts(&c.lock(), "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY 1")
    };
    let first = Central::open(&path, at(0)).unwrap();
    first.set_due(&id("sess-1795357558415-kir1v7"), Some(at(5))).unwrap();
    let (schema, due) = (all(&first), first.next_due().unwrap());
    let second = Central::open(&path, at(1000)).unwrap();
    assert_eq!(all(&second), schema);
    assert_eq!((second.next_due().unwrap(), due), (Some(at(5)), Some(at(5))));
    assert_eq!(texts(&second.lock(), "PRAGMA journal_mode"), ["wal"]);
}

#[test]
fn a_database_of_another_age_refuses_with_the_next_step() {
    let (_dir, path) = fixture();
    Connection::open(&path)
        .unwrap()
        .execute("DELETE FROM schema_version WHERE name = 'cli-scope'", [])
        .unwrap();
    let why = Central::open(&path, at(0)).unwrap_err().to_string();
    assert!(why.contains("\"cli-scope\" is missing") && why.contains("start once"), "{why}");

    let (_dir, path) = fixture();
    let newer = "INSERT INTO schema_version VALUES (99, 'nanoclaw-rs-from-tomorrow', '')";
    Connection::open(&path).unwrap().execute(newer, []).unwrap();
    let why = Central::open(&path, at(0)).unwrap_err().to_string();
    assert!(why.contains("newer version wrote it"), "{why}");

    // What others added to v2 is not ours to judge.
    let (_dir, path) = fixture();
    let other = "INSERT INTO schema_version VALUES (99, 'some-plugin', '')";
    Connection::open(&path).unwrap().execute(other, []).unwrap();
    Central::open(&path, at(0)).unwrap();

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v2.db");
    std::fs::write(&path, [b'x'; 5000]).unwrap();
    Central::open(&path, at(0)).unwrap_err();
}

#[test]
fn every_table_of_an_install_is_read() {
    let (_dir, path) = fixture();
    let c = Central::open(&path, at(0)).unwrap();
    assert_eq!(c.broken_rows().unwrap(), []);
    let names: Vec<_> = c.agents().unwrap().into_iter().map(|a| a.name).collect();
    assert_eq!(names, ["Andy", "PR Manager", "PR Worker", "Supervisor"]);
    assert_eq!(c.chats().unwrap().len(), 7);
    let dc = c.chat(&id("mg-fix-dc")).unwrap().unwrap();
    assert_eq!((dc.kind, dc.policy), (ChatKind::Group, UnknownSenderPolicy::RequestApproval));

    let wirings: Vec<_> = c.wirings().unwrap().into_iter().map(Result::unwrap).collect();
    assert_eq!(wirings.len(), 9);
    fn seen<T: Ord + Copy>(all: &[Wiring], of: impl Fn(&Wiring) -> T) -> BTreeSet<T> {
        all.iter().map(of).collect()
    }
    assert_eq!(seen(&wirings, |w| w.engage_mode.unwrap()).len(), EngageMode::ALL.len());
    assert_eq!(seen(&wirings, |w| w.session_mode).len(), SessionMode::ALL.len());
    assert_eq!(seen(&wirings, |w| w.sender_scope).len(), SenderScope::ALL.len());
    assert_eq!(seen(&wirings, |w| w.ignored).len(), IgnoredPolicy::ALL.len());

    assert_eq!(c.owners().unwrap(), [id("telegram:4711")]);
    assert_eq!(c.roles_of(&id("discord:901")).unwrap(), [(Role::Admin, Some(id("ag-fix-worker")))]);
    assert!(c.is_member(&id("discord:900"), &id("ag-fix-super")).unwrap());
    assert_eq!(c.user_dm(&id("telegram:4711"), &id("telegram")).unwrap(), Some(id("mg-fix-tg")));
    assert_eq!(c.users().unwrap().len(), 5);

    assert_eq!(c.sessions(100, 0).unwrap().len(), 5);
    let thread = id("discord:111:222:7001");
    let s = c.find_session(&id("ag-fix-worker"), &id("mg-fix-dc"), Some(&thread)).unwrap().unwrap();
    assert_eq!(s.id, id("sess-1795357558387-5bh07s"));
    // A conversation that was under way goes on without a new mention.
    assert!(c.is_thread_engaged(&s.agent, &id("mg-fix-dc"), &thread).unwrap());

    let q = c.question(&id("q-fix-1")).unwrap().unwrap();
    assert_eq!((q.title.as_str(), q.options[1].value.as_str()), ("Deploy?", "no"));
    let config = c.config(&id("ag-fix-super")).unwrap().unwrap();
    assert_eq!(
        (config.model.as_deref(), config.cli_scope),
        (Some("claude-sonnet-4-5"), CliScope::Group)
    );
    assert_eq!(config.skills, "all");
    let of: Vec<_> =
        c.destinations_of(&id("ag-fix-worker")).unwrap().into_iter().map(|d| d.name).collect();
    assert_eq!(of, ["acme-site", "manager", "pr-reviews", "supervisor"]);
    assert_eq!(c.drops().unwrap(), []);
}

#[test]
fn agents_are_found_by_id_folder_and_name() {
    let c = home();
    assert_eq!(c.agent(&id("ag-a")).unwrap(), Some(agent("a")));
    assert_eq!(c.agent(&id("ag-x")).unwrap(), None);
    assert_eq!(c.agent_by_name("a").unwrap(), Some(agent("a")));
    assert_eq!(c.agent_by_name("B").unwrap(), Some(agent("b")));
    assert_eq!(c.agent_by_name("c").unwrap(), None);
    c.create_agent(&Agent { name: "B".into(), ..agent("b2") }).unwrap();
    assert!(refusal(c.agent_by_name("B")).contains("more than one"));
    // A folder is never ambiguous.
    c.create_agent(&Agent { name: "b2".into(), ..agent("b3") }).unwrap();
    assert_eq!(c.agent_by_name("b2").unwrap().unwrap().folder, "b2");
}

#[test]
fn an_agent_folder_that_is_no_plain_name_refuses() {
    let c = home();
    for folder in [
        "",
        ".",
        "..",
        "../x",
        "/etc",
        "a/b",
        "a b",
        "global",
        "GLOBAL",
        "-x",
        "a\0",
        "é",
        &"x".repeat(65),
    ] {
        let why = refusal(c.create_agent(&Agent { folder: folder.into(), ..agent("new") }));
        assert!(why.contains("cannot be an agent's folder"), "{folder:?}: {why}");
    }
    for folder in ["main", "family-chat", "Team_42", "7"] {
        let new = Agent { id: id(&format!("ag-{folder}")), folder: folder.into(), ..agent("new") };
        c.create_agent(&new).unwrap();
    }
    // Two folders that some file systems take for one.
    let why =
        refusal(c.create_agent(&Agent { id: id("ag-2"), folder: "MAIN".into(), ..agent("new") }));
    assert!(why.contains("belongs to another agent"), "{why}");
    assert!(
        refusal(c.create_agent(&Agent { id: id("ag/../x"), ..agent("new") })).contains("folder")
    );
}

#[test]
fn a_chat_is_one_per_address() {
    let c = home();
    assert_eq!(c.chat_by_address(&id("cli"), &id("one")).unwrap(), Some(chat("one")));
    assert_eq!(c.chat_by_address(&id("other"), &id("one")).unwrap(), None);
    let again = Chat { id: id("mg-again"), ..chat("one") };
    assert!(refusal(c.create_chat(&again)).contains("UNIQUE"));
    let policy = UnknownSenderPolicy::Public;
    let renamed = Chat { name: Some("Uno".into()), policy, ..chat("one") };
    assert!(c.update_chat(&renamed).unwrap());
    assert!(c.set_chat_denied(&id("mg-one"), Some("now")).unwrap());
    assert!(!c.update_chat(&Chat { id: id("mg-none"), ..renamed }).unwrap());
    let now = c.chat(&id("mg-one")).unwrap().unwrap();
    assert_eq!((now.name.as_deref(), now.denied_at.as_deref()), (Some("Uno"), Some("now")));
    assert_eq!(now.policy, UnknownSenderPolicy::Public);
}

#[test]
fn an_unreadable_policy_refuses_strangers() {
    let c = home();
    sql(&c, "UPDATE messaging_groups SET unknown_sender_policy = 'everyone', is_group = NULL");
    let it = c.chat(&id("mg-one")).unwrap().unwrap();
    assert_eq!((it.policy, it.kind), (UnknownSenderPolicy::Strict, ChatKind::Direct));
}

#[test]
fn a_row_that_cannot_be_read_is_listed_and_hides_no_other() {
    let c = home();
    sql(&c, "INSERT INTO agent_groups VALUES ('', 'no id', 'f', NULL, '')");
    sql(
        &c,
        "INSERT INTO messaging_groups (id, channel_type, platform_id, created_at) VALUES ('x', '', 'p', '')",
    );
    assert_eq!(c.agents().unwrap().len(), 2);
    assert_eq!(c.chats().unwrap().len(), 2);
    let broken: Vec<_> = c.broken_rows().unwrap().into_iter().map(|b| (b.table, b.id)).collect();
    assert_eq!(broken, [("agent_groups", String::new()), ("messaging_groups", "x".into())]);
}

#[test]
fn a_configuration_is_replaced_as_a_whole() {
    let c = home();
    let agent = id("ag-a");
    assert_eq!(c.config(&agent).unwrap(), Some(AgentConfig::default()));
    let new = AgentConfig {
        provider: Some("demo".into()),
        packages_apt: vec!["jq"].into(),
        cli_scope: CliScope::Global,
        max_messages_per_prompt: Some(3),
        ..AgentConfig::default()
    };
    c.put_config(&agent, &new, at(9)).unwrap();
    assert_eq!(c.config(&agent).unwrap(), Some(new));
    assert!(
        refusal(c.put_config(&id("ag-x"), &AgentConfig::default(), at(9))).contains("FOREIGN KEY")
    );
    // Closed when unsure: no box starts with half a configuration.
    for bad in ["cli_scope = 'root'", "mcp_servers = '{'"] {
        sql(&c, &format!("UPDATE container_configs SET {bad} WHERE agent_group_id = 'ag-b'"));
        c.config(&id("ag-b")).unwrap_err();
        sql(&c, "UPDATE container_configs SET cli_scope = 'group', mcp_servers = '{}'");
    }
}
