use super::*;
use nanoclaw_secrets::KeySource;
use std::cell::RefCell;

const VALUE: &str = "ghp_0123456789abcdefghijklmnopqrstuvwxyz";
const KEY: [u8; 32] = [7; 32];

/// As OneCLI seals it.
fn sealed(text: &str) -> String {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &KEY).unwrap());
    let (iv, mut bytes) = ([3; 12], text.as_bytes().to_vec());
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(iv), Aad::empty(), &mut bytes)
        .unwrap();
    let (text, tag) = bytes.split_at(bytes.len() - 16);
    [&iv[..], tag, text].map(|part| STANDARD.encode(part)).join(":")
}

fn dump() -> String {
    let row = |cells: &[&str]| cells.join("\t") + "\n";
    let secret = |id: &str, name: &str, kind: &str, value: &str, host: &str, config: &str| {
        row(&[id, "project", name, kind, value, host, "\\N", config])
    };
    let header = r#"{"headerName": "Authorization", "valueFormat": "Bearer {value}"}"#;
    [
        "-- dump\nSET x;\nCOPY public.agents (id, name, identifier, access_token, is_default, secret_mode) FROM stdin;\n".to_owned(),
        row(&["a0", "Default Agent", "default", "aoc_0", "t", "all"]),
        row(&["a1", "Alpha", "alpha", "aoc_1", "f", "selective"]),
        row(&["a2", "Beta", "beta", "aoc_2", "f", "all"]),
        "\\.\n\nCOPY public.secrets (id, scope, name, type, encrypted_value, host_pattern, path_pattern, injection_config) FROM stdin;\n".to_owned(),
        secret("s1", "Git\\tHub key", "generic", &sealed(VALUE), "api.github.com", header),
        secret("s2", "Anthropic", "anthropic", &sealed("sk-ant-api03-0123456789abcdef"), "api.anthropic.com", "\\N"),
        secret("s3", "Ported", "generic", &sealed("12345678"), "a.test:8443", header),
        secret("s4", "Cloud", "generic", "a:b:c:d", "a.test", header),
        secret("s5", "Damaged", "generic", "AAAA:AAAA:AAAA", "a.test", header),
        "\\.\n\nCOPY public.agent_secrets (agent_id, secret_id, created_at) FROM stdin;\n".to_owned(),
        row(&["a1", "s1", "2026-01-01"]),
        "\\.\n\nCOPY public.policy_rules (id, agent_id, name, host_pattern, path_pattern, method, action, enabled, rate_limit, rate_limit_window, conditions) FROM stdin;\n".to_owned(),
        row(&["r1", "\\N", "no deletes", "api.github.com", "/repos/*", "delete", "block", "t", "\\N", "\\N", "\\N"]),
        row(&["r2", "a1", "mail", "gmail.googleapis.com", "\\N", "POST", "manual_approval", "t", "\\N", "\\N", "[]"]),
        row(&["r3", "\\N", "slow", "api.example.com", "\\N", "\\N", "rate_limit", "t", "60", "hour", "\\N"]),
        row(&["r4", "\\N", "off", "api.example.com", "\\N", "\\N", "block", "f", "\\N", "\\N", "\\N"]),
        row(&["r5", "\\N", "body", "api.example.com", "\\N", "\\N", "block", "t", "\\N", "\\N", r#"[{"target": "body"}]"#]),
        "\\.\n\nCOPY public.app_connections (id, provider) FROM stdin;\n".to_owned(),
        row(&["c1", "gmail"]),
        "\\.\n".to_owned(),
    ]
    .concat()
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &KeySource::File).unwrap();
    (dir, store)
}

fn never(name: &str) -> Option<Value> {
    panic!("{name} was asked for")
}

#[test]
fn a_dump_with_its_key_is_taken_over_once() {
    let (_dir, store) = store();
    let source = Source::of_dump(&dump()).unwrap();
    let key = Key::parse(&(STANDARD.encode(KEY) + "\n")).unwrap();
    let told = take(&store, &source, Some(&key), &never).unwrap();
    assert_eq!(told[0], "GitHub key: stored as Git-Hub-key");
    assert_eq!(told[1], "Anthropic: stored as anthropic");
    assert!(
        told[2].starts_with("Ported: not taken: ") && told[2].contains("a port beside it"),
        "{told:?}"
    );
    assert!(told[3].contains("OneCLI's cloud"), "{told:?}");
    assert!(told[4].contains("it is damaged"), "{told:?}");
    assert!(told[5].starts_with("1 connected apps are not taken over"), "{told:?}");

    let info = store.info("Git-Hub-key").unwrap();
    assert!(store.holds(&info.id, VALUE).unwrap());
    let to: Vec<String> = info.grants.iter().map(|grant| grant.to.to_string()).collect();
    assert_eq!(to, ["alpha", "beta"], "one has it by name, one has all");
    let model = store.info("anthropic").unwrap();
    assert_eq!(model.grants, [Grant::to_all().unwrap()], "every agent works with it");
    assert!(store.holds(&model.id, "sk-ant-api03-0123456789abcdef").unwrap());

    let again = take(&store, &source, Some(&key), &never).unwrap();
    assert_eq!(again[0], "GitHub key: there already, as Git-Hub-key");
    assert_eq!(store.list().unwrap().len(), 2);
    let all = told.join("\n") + &again.join("\n");
    assert!(!all.contains("ghp_") && !all.contains("sk-ant") && !all.contains("aoc_"), "{all}");
}

#[test]
fn when_every_agent_has_all_everybody_has() {
    let text = dump().replace("\tselective", "\tall");
    let source = Source::of_dump(&text).unwrap();
    assert_eq!(source.users("s1"), ["*"]);
}

#[test]
fn values_that_are_not_told_are_asked_for() {
    let (_dir, store) = store();
    let source = Source::of_dump(&dump()).unwrap();
    let asked = RefCell::new(Vec::new());
    let ask = |name: &str| {
        asked.borrow_mut().push(name.to_owned());
        (name == "Anthropic").then(|| Value::new("sk-ant-api03-0123456789abcdef".into()))
    };
    let told = take(&store, &source, None, &ask).unwrap();
    assert!(told[0].contains("its value is not told"), "{told:?}");
    assert_eq!(told[1], "Anthropic: stored as anthropic");
    assert_eq!(asked.borrow().len(), 5);
}

#[test]
fn a_wrong_key_and_a_broken_dump_are_told() {
    assert!(Key::parse("x").is_err());
    assert!(Key::parse(&STANDARD.encode([1; 16])).is_err());
    let (_dir, store) = store();
    let wrong = Key::parse(&STANDARD.encode([8; 32])).unwrap();
    let told = take(&store, &Source::of_dump(&dump()).unwrap(), Some(&wrong), &never).unwrap();
    assert!(told[0].contains("does not open with this key"), "{told:?}");
    assert!(store.list().unwrap().is_empty());
    assert!(Source::of_dump("hello").is_err());
    let cut = dump();
    assert!(Source::of_dump(&cut[..cut.len() / 2]).err().is_some_and(|e| e.contains("middle")));
}

#[test]
fn rules_become_a_policy_that_can_be_used() {
    let text = policy(&Source::of_dump(&dump()).unwrap());
    nanoclaw_policy::Policy::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert!(
        text.contains("path = \"/repos/**\"") && text.contains("method = [\"DELETE\"]"),
        "{text}"
    );
    assert!(text.contains("action = \"ask\"") && text.contains("agent = \"alpha\""), "{text}");
    assert!(text.contains("n = 60") && text.contains("per = \"hour\""), "{text}");
    assert!(text.contains("# \"off\" was left out: it is switched off"), "{text}");
    assert!(text.contains("# \"body\" was left out: it looks into bodies"), "{text}");
}

#[test]
fn a_key_of_the_model_that_is_there_stays_the_one() {
    let (_dir, store) = store();
    let ours = Spec {
        name: "anthropic".into(),
        kind: "anthropic".into(),
        host_pattern: "api.anthropic.com".into(),
        path_pattern: None,
        injection_config: None,
    };
    store.add(ours.with(Value::new("sk-ant-api03-ours-0123456789".into())).unwrap()).unwrap();
    let key = Key::parse(&STANDARD.encode(KEY)).unwrap();
    let told = take(&store, &Source::of_dump(&dump()).unwrap(), Some(&key), &never).unwrap();
    assert_eq!(told[1], "Anthropic: stored as Anthropic");
    let grants = store.info("Anthropic").unwrap().grants;
    assert_eq!(grants.iter().map(|g| g.to.to_string()).collect::<Vec<_>>(), ["beta"]);
}
