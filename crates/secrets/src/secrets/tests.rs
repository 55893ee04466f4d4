//! What secrets are allowed and what they give.

use super::*;
use crate::kind::{Slot, usual};
use crate::{KeySource, VALUE_MAX};

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &KeySource::File).unwrap();
    (dir, store)
}

fn new(name: &str, kind: Kind, value: &str) -> NewSecret {
    let bindings = usual(kind, "api.example.com", value).unwrap();
    let grants = vec![Grant { to: "dev-*".parse().unwrap(), until: None }];
    let value = Value::new(value.into());
    let settings = BTreeMap::new();
    NewSecret { name: name.into(), kind, value, bindings, grants, expires: None, settings }
}

fn agent(folder: &str) -> AgentNames {
    AgentNames { id: format!("agent-{folder}"), folder: folder.into() }
}

fn kept(kind: Kind, value: &str) -> Option<String> {
    let (_dir, store) = store();
    let id = store.add(new("x", kind, value)).ok()?.id;
    Some(store.value(&id).unwrap().expose().to_owned())
}

#[test]
fn v7_a_value_fits_its_place_or_is_refused() {
    let good = "a-token-of-some-length";
    for kind in [Kind::Bearer, Kind::Header, Kind::Openai] {
        assert_eq!(kept(kind, good).as_deref(), Some(good));
        assert_eq!(kept(kind, &format!("  {good}\n")).as_deref(), Some(good), "from copying");
        for bad in [
            "",
            "  ",
            "short",
            "with space in it",
            "with\rreturn",
            "with\nline",
            "with\0nul",
            "schlüssel",
        ] {
            assert_eq!(kept(kind, bad), None, "{kind:?} {bad:?}");
        }
        assert_eq!(kept(kind, &"x".repeat(VALUE_MAX + 1)), None);
        assert!(kept(kind, &"x".repeat(VALUE_MAX)).is_some());
    }
    for kind in [Kind::Basic, Kind::Query] {
        assert_eq!(kept(kind, " schlüssel mit raum").as_deref(), Some(" schlüssel mit raum"));
        for bad in ["", "with\rreturn", "with\nline", "with\0nul", "a\u{85}bcdefghij"] {
            assert_eq!(kept(kind, bad), None, "{kind:?} {bad:?}");
        }
        assert_eq!(kept(kind, &"x".repeat(VALUE_MAX + 1)), None);
    }
    assert_eq!(kept(Kind::Path, "........"), None);
    let pem = "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----";
    assert_eq!(kept(Kind::GithubApp, pem).as_deref(), Some(pem));
    assert_eq!(kept(Kind::HostOnly, "a\0b"), None);
    assert_eq!(kept(Kind::HostOnly, "1").as_deref(), Some("1"));
}

#[test]
fn a_value_that_looks_like_something_else_is_refused() {
    let why = |kind, value| {
        let (_dir, store) = store();
        store.add(new("x", kind, value)).err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert!(why(Kind::Openai, "sk-ant-api03-0123456789").contains("looks like anthropic"));
    assert!(why(Kind::Anthropic, "sk-proj-0123456789012").contains("looks like openai"));
    assert_eq!(why(Kind::Anthropic, "sk-ant-oat01-0123456789"), "");
    let (_dir, store) = store();
    let info = store.add(new("x", Kind::Anthropic, "sk-ant-oat01-0123456789")).unwrap();
    assert!(info.is_oauth && info.bindings[0].slot == Slot::bearer());
    let key = Rotation { value: Value::new("sk-ant-api03-0123456789".into()), expires: None };
    assert!(store.rotate("x", key).is_err(), "a key is sent in another header");
}

#[test]
fn what_cannot_be_bound_or_named_is_refused() {
    let (_dir, store) = store();
    for name in ["", "-x", "a b", "a/b", "ü", &"x".repeat(65)] {
        assert!(store.add(new(name, Kind::Bearer, "0123456789")).is_err(), "{name:?}");
    }
    let change = |f: &dyn Fn(&mut NewSecret)| {
        let mut secret = new("x", Kind::Bearer, "0123456789");
        f(&mut secret);
        store.add(secret).err().map(|e| e.to_string())
    };
    assert!(change(&|s| s.bindings.clear()).unwrap().contains("--host"));
    assert!(change(&|s| s.bindings[0].host = "*".parse().unwrap()).is_some());
    assert!(change(&|s| s.bindings[0].port = 0).is_some());
    assert!(change(&|s| s.bindings[0].methods = vec!["get".into()]).is_some());
    for format in ["Bearer", "{value}{value}", "a\r\nb: {value}", "ü{value}"] {
        let slot = Slot::Header { name: "authorization".into(), format: format.into() };
        assert!(change(&|s| s.bindings[0].slot = slot.clone()).is_some(), "{format:?}");
    }
    for name in ["", "X-Key", "a b", "a:b"] {
        let slot = Slot::Header { name: name.into(), format: "{value}".into() };
        assert!(change(&|s| s.bindings[0].slot = slot.clone()).is_some(), "{name:?}");
    }
    assert!(change(&|s| s.bindings[0].slot = Slot::Basic { user: "a:b".into() }).is_some());
    assert_eq!(change(&|_| {}), None);
    assert!(change(&|_| {}).unwrap().contains("rotate"), "there is one already");
}

#[test]
fn a_grant_decides_who_may_use_a_secret_and_until_when() {
    let (_dir, store) = store();
    store.add(new("x", Kind::Bearer, "0123456789")).unwrap();
    let there = Authority::parse("api.example.com:443", None).unwrap();
    let may = |folder: &str| !store.bound(&agent(folder), &there).unwrap().is_empty();
    assert!(may("dev-one") && !may("sales"));
    let until = |seconds: i64| Some(store.now() + seconds);
    store.grant("x", Grant { to: "sales".parse().unwrap(), until: until(60) }).unwrap();
    assert!(may("sales"));
    store.grant("x", Grant { to: "sales".parse().unwrap(), until: until(-1) }).unwrap();
    assert!(!may("sales") && store.dummies(&agent("sales")).unwrap().is_empty());
    store.grant("x", Grant { to: "agent-sales".parse().unwrap(), until: None }).unwrap();
    assert!(may("sales"), "by its id");
    let other_port = Authority::parse("api.example.com:8443", None).unwrap();
    assert!(store.bound(&agent("dev-one"), &other_port).unwrap().is_empty());
    store.add(new("TOKEN", Kind::HostOnly, "0123456789")).unwrap();
    assert!(store.grant("TOKEN", Grant { to: "*".parse().unwrap(), until: None }).is_err());
    assert_eq!(store.host_value("TOKEN").unwrap().unwrap().expose(), "0123456789");
    assert!(store.host_value("x").unwrap().is_none(), "the host gets no secret of the agents");
}

#[test]
fn a_dummy_has_the_shape_of_the_value_and_is_each_agents_own() {
    let (_dir, store) = store();
    let values = [
        "sk-ant-api03-AbCdEfGh0123456789AbCdEfGh0123456789-_xyzAA",
        "ghp_AbCdEfGh0123456789AbCdEfGh0123456789",
        "0123456789abcdef0123456789abcdef",
        "eyJhbGciOiJI.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl",
    ];
    for (n, value) in values.into_iter().enumerate() {
        let kind = if n == 0 { Kind::Anthropic } else { Kind::Bearer };
        store.add(new(&format!("s{n}"), kind, value)).unwrap();
    }
    let (one, two) =
        (store.dummies(&agent("dev-1")).unwrap(), store.dummies(&agent("dev-2")).unwrap());
    for (dummy, value) in one.iter().zip(values) {
        assert_eq!(dummy.text.len(), value.len());
        for (a, b) in dummy.text.chars().zip(value.chars()) {
            let class = |c: char| (c.is_ascii_alphanumeric(), c.is_ascii_uppercase());
            assert_eq!(class(a), class(b), "{} {value}", dummy.text);
        }
        assert_ne!(dummy.text, value);
        assert!(two.iter().all(|other| other.text != dummy.text));
    }
    assert!(one[0].text.starts_with("sk-ant-api03-") && one[1].text.starts_with("ghp_"));
    assert!(one[2].text.bytes().all(|b| b.is_ascii_hexdigit()));
    let value = Value::new("ghp_ZZZZZZZZ0123456789AbCdEfGh0123456789".into());
    store.rotate("s1", Rotation { value, expires: None }).unwrap();
    assert_eq!(store.dummies(&agent("dev-1")).unwrap()[1], one[1], "a box that runs goes on");
    store.add(new("short", Kind::Bearer, "hunter2hunter2")).unwrap();
    let dummies = store.dummies(&agent("dev-1")).unwrap();
    let short = dummies.iter().find(|d| d.name == "short").unwrap();
    assert!(short.text.len() >= 24, "too short to be told from ordinary text: {}", short.text);
}

#[test]
fn what_was_made_from_a_value_ends_with_it() {
    let (_dir, store) = store();
    let id = store.add(new("x", Kind::Oauth2, "0123456789")).unwrap().id;
    store.set_state(&id, 1, b"access token").unwrap();
    assert_eq!(store.state(&id).unwrap().unwrap().as_slice(), b"access token");
    let value = Value::new("9876543210".into());
    assert_eq!(store.rotate("x", Rotation { value, expires: Some(7) }).unwrap().epoch, 2);
    assert!(store.state(&id).unwrap().is_none());
    assert!(store.set_state(&id, 1, b"late").is_err(), "made from the old value");
    store.set_state(&id, 2, b"new").unwrap();
    store.remove("x").unwrap();
    assert!(store.state(&id).unwrap().is_none() && store.value(&id).is_err());
}

#[test]
fn a_place_is_read_as_people_write_it() {
    let one = |place: &str| {
        let bindings = usual(Kind::Bearer, place, "").ok()?;
        let b = &bindings[0];
        Some((b.host.to_string(), b.port, b.path.to_string(), b.allow_plaintext))
    };
    let is =
        |host: &str, port, path: &str, plain| Some((host.to_owned(), port, path.to_owned(), plain));
    assert_eq!(one("Api.Example.com"), is("api.example.com", 443, "/**", false));
    assert_eq!(one("*.example.com:8443"), is("*.example.com", 8443, "/**", false));
    assert_eq!(one("https://api.example.com/v2/"), is("api.example.com", 443, "/v2/**", false));
    assert_eq!(one("http://127.0.0.1:9/x"), is("127.0.0.1", 9, "/x/**", true));
    for bad in ["", "ftp://x.com", "x.com:0", "x.com:99999", "a b.com", "user@x.com", "*.com"] {
        assert_eq!(one(bad), None, "{bad:?}");
    }
    let github = usual(Kind::Bearer, "api.github.com", "").unwrap();
    assert_eq!(github[1].slot, Slot::Basic { user: "x-access-token".into() });
    let model = usual(Kind::Anthropic, "https://gate.example/anthropic", "sk-ant-api03-x").unwrap();
    assert_eq!(model[0].path.to_string(), "/anthropic/v1/messages/**");
}

#[test]
fn a_secret_is_replaced_and_who_may_use_it_stays() {
    let (_dir, store) = store();
    store.put(new("x", Kind::Bearer, "0123456789")).unwrap();
    store.grant("x", Grant { to: "sales".parse().unwrap(), until: None }).unwrap();
    let info = store.put(new("x", Kind::Header, "another-value")).unwrap();
    assert_eq!((info.kind, info.grants.len(), store.list().unwrap().len()), (Kind::Header, 2, 1));
    assert_eq!(store.value(&info.id).unwrap().expose(), "another-value");
}
