//! The credential file: what is accepted, how it lies on disk, that it never shows.

use super::*;
use std::os::unix::fs::PermissionsExt as _;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_value_is_never_printed() {
    let credential = Credential::parse("sk-ant-api03-topsecret", None, None).unwrap();
    assert!(!format!("{credential:?}").contains("topsecret"));
    for bad in ["", "   ", "short", "has a space in it", "line\nbreak-line", "caf\u{e9}-12345678"] {
        let error = Credential::parse(bad, None, None).unwrap_err();
        assert!(bad.trim().is_empty() || !format!("{error} {error:?}").contains(bad), "{error}");
    }
    Credential::parse(&"x".repeat(SECRET_MAX + 1), None, None).unwrap_err();
}

#[test]
fn the_prefix_tells_the_kind_and_a_contradiction_is_refused() {
    let kind = |value, said| Credential::parse(value, said, None).map(|c| c.kind).ok();
    assert_eq!(kind("sk-ant-oat01-abc", None), Some(Kind::Oauth));
    assert_eq!(kind(" sk-ant-api03-abc\n", None), Some(Kind::ApiKey));
    assert_eq!(kind("anything-else", None), Some(Kind::ApiKey));
    assert_eq!(kind("anything-else", Some(Kind::Oauth)), Some(Kind::Oauth));
    assert_eq!(kind("sk-ant-oat01-abc", Some(Kind::ApiKey)), None);
    assert_eq!(kind("sk-ant-api03-abc", Some(Kind::Oauth)), None);
}

#[test]
fn a_credential_is_set_told_about_and_removed() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::new(data.path());
    assert_eq!(store.status().unwrap(), None);
    assert!(!store.remove().unwrap());
    let credential = Credential::parse("sk-ant-oat01-abc", None, Some("http://127.0.0.1:9/x/"));
    store.set(&credential.unwrap()).unwrap();
    let status = store.status().unwrap().unwrap();
    assert_eq!((status.kind, status.base_url.as_str()), (Kind::Oauth, "http://127.0.0.1:9/x"));
    assert_eq!(mode(&store.dir), 0o700);
    assert_eq!(mode(&store.dir.join("vault.db")), 0o600);
    assert!(store.remove().unwrap());
    assert_eq!(store.status().unwrap(), None);
}

#[test]
fn the_file_of_an_earlier_version_is_taken_over_once() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::new(data.path());
    fs::create_dir(&store.dir).unwrap();
    let old = store.dir.join(OLD);
    let text = r#"{"kind":"oauth","value":"sk-ant-oat01-abc","base_url":"http://127.0.0.1:9/x"}"#;
    fs::write(&old, text).unwrap();
    fs::set_permissions(&old, fs::Permissions::from_mode(0o640)).unwrap();
    let error = store.status().unwrap_err().to_string();
    assert!(error.contains("chmod 600"), "{error}");
    fs::set_permissions(&old, fs::Permissions::from_mode(0o600)).unwrap();
    let status = store.status().unwrap().unwrap();
    assert_eq!((status.kind, status.base_url.as_str()), (Kind::Oauth, "http://127.0.0.1:9/x"));
    assert!(!old.exists());
    assert!(store.status().unwrap().is_some());
    fs::write(&old, r#"{"kind":"sk-ant-api03-abc"}"#).unwrap();
    fs::set_permissions(&old, fs::Permissions::from_mode(0o600)).unwrap();
    let error = store.status().unwrap_err().to_string();
    assert!(error.contains("damaged") && !error.contains("sk-ant"), "{error}");
}

#[test]
fn the_cache_notices_every_change() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::new(data.path());
    let cached = Cached::new(Arc::new(store.open().unwrap()), false);
    let now = || cached.get().unwrap().map(|c| c.secret.expose().to_owned());
    assert_eq!(now(), None);
    for value in ["value-one", "value-two", "value-six"] {
        store.set(&Credential::parse(value, None, None).unwrap()).unwrap();
        assert_eq!(now().as_deref(), Some(value));
        assert_eq!(now().as_deref(), Some(value), "the second time from memory");
    }
    store.remove().unwrap();
    assert_eq!(now(), None);
}
