//! Kept, found again, refused when changed.

use super::*;
use crate::{Binding, Cost, Grant, Inject, Kind, NewSecret, Rotation, SecretId, Slot};
use nanoclaw_policy::{AgentNames, Authority};

const CANARY: &str = "CANARY-5f2c9a71e0b84d36a1c7f04e9d2b6a58";
const OTHER: &str = "CANARY-00112233445566778899aabbccddeeff";
const CHEAP: Cost = Cost { memory: 64, rounds: 1, lanes: 1 };

fn clock() -> i64 {
    1_800_000_000
}

fn open(dir: &Path) -> Result<Store> {
    Store::open_with(dir, &KeySource::File, Around::default(), clock)
}

fn passphrase(text: &str) -> KeySource {
    KeySource::Passphrase(Value::new(text.into()), CHEAP)
}

fn secret(name: &str, value: &str) -> NewSecret {
    NewSecret {
        name: name.into(),
        kind: Kind::Bearer,
        value: Value::new(value.into()),
        bindings: vec![Binding::new("api.example.com".parse().unwrap(), Slot::bearer())],
        grants: vec![Grant { to: "*".parse().unwrap(), until: None }],
        expires: None,
        settings: BTreeMap::new(),
    }
}

fn says(store: &Store, id: &SecretId) -> String {
    store.value(id).unwrap().expose().to_owned()
}

fn is_integrity<T>(result: Result<T>) {
    match result {
        Err(SecretsError::Integrity(why)) => assert!(!why.contains("CANARY"), "{why}"),
        Err(e) => panic!("another error: {e}"),
        Ok(_) => panic!("it was accepted"),
    }
}

fn raw(dir: &Path) -> Connection {
    Connection::open(dir.join(FILE)).unwrap()
}

#[test]
fn v1_a_vault_opens_with_its_own_key_alone() {
    let dir = tempfile::tempdir().unwrap();
    let id = open(dir.path()).unwrap().add(secret("a", CANARY)).unwrap().id;
    assert_eq!(says(&open(dir.path()).unwrap(), &id), CANARY);
    let key = fs::read(dir.path().join("key")).unwrap();
    let other = tempfile::tempdir().unwrap();
    drop(open(other.path()).unwrap());
    fs::copy(other.path().join("key"), dir.path().join("key")).unwrap();
    is_integrity(open(dir.path()));
    fs::write(dir.path().join("key"), b"no key at all").unwrap();
    is_integrity(open(dir.path()));
    fs::write(dir.path().join("key"), key).unwrap();
    assert_eq!(says(&open(dir.path()).unwrap(), &id), CANARY);
}

#[test]
fn v1_a_flipped_byte_anywhere_in_a_record_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let (a, b) =
        (store.add(secret("a", CANARY)).unwrap().id, store.add(secret("b", OTHER)).unwrap().id);
    let db = raw(dir.path());
    for (field, at) in [("value", 1), ("value", 30), ("value", 60), ("meta", 40)] {
        let of = (a.as_str(), field);
        let sql = "SELECT sealed FROM records WHERE id = ?1 AND field = ?2";
        let good: Vec<u8> = db.query_row(sql, of, |row| row.get(0)).unwrap();
        let mut bad = good.clone();
        bad[at] ^= 1;
        let put = |bytes: &[u8]| {
            let sql = "UPDATE records SET sealed = ?3 WHERE id = ?1 AND field = ?2";
            db.execute(sql, params![of.0, of.1, bytes]).unwrap();
        };
        put(&bad);
        if field == "value" {
            is_integrity(store.value(&a));
        } else {
            assert_eq!(store.damaged().unwrap(), [a.to_string()]);
            assert_eq!(store.list().unwrap().len(), 1, "what is damaged is not used");
        }
        assert_eq!(says(&store, &b), OTHER, "the others go on");
        put(&good);
    }
    assert_eq!(says(&store, &a), CANARY);
    for column in ["wrapped", "manifest", "install", "kek"] {
        let before: rusqlite::types::Value =
            db.query_row(&format!("SELECT {column} FROM head"), [], |row| row.get(0)).unwrap();
        let after = match before.clone() {
            rusqlite::types::Value::Blob(mut bytes) => {
                bytes[28] ^= 0x80;
                rusqlite::types::Value::Blob(bytes)
            }
            rusqlite::types::Value::Text(text) => {
                rusqlite::types::Value::Text(text.replace("\"key\"", "\"key.b\"").replace('0', "1"))
            }
            other => other,
        };
        let put = |value| db.execute(&format!("UPDATE head SET {column} = ?1"), [value]).unwrap();
        put(after);
        assert!(open(dir.path()).is_err(), "{column}");
        assert!(store.value(&a).is_err(), "{column}");
        put(before);
    }
    assert_eq!(says(&store, &a), CANARY);
}

#[test]
fn v1_rows_cannot_be_swapped_put_back_or_brought_in() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let (a, b) =
        (store.add(secret("a", CANARY)).unwrap().id, store.add(secret("b", OTHER)).unwrap().id);
    let db = raw(dir.path());
    let keep =
        "CREATE TABLE old AS SELECT * FROM records; CREATE TABLE oldhead AS SELECT * FROM head";
    db.execute_batch(keep).unwrap();
    let swap = "UPDATE records SET sealed = (SELECT sealed FROM old WHERE id = ?2 AND field = ?3)
                WHERE id = ?1 AND field = ?3";
    for field in ["value", "meta"] {
        db.execute(swap, (a.as_str(), b.as_str(), field)).unwrap();
        match field {
            "value" => is_integrity(store.value(&a)),
            _ => assert_eq!(store.damaged().unwrap(), [a.to_string()]),
        }
        db.execute(swap, (a.as_str(), a.as_str(), field)).unwrap();
    }
    assert!(store.revoke("a", &"*".parse().unwrap()).unwrap());
    let new =
        Rotation { value: Value::new("CANARY-rotated-rotated-rotated".into()), expires: None };
    store.rotate("a", new).unwrap();
    let back = "INSERT OR REPLACE INTO records SELECT * FROM old WHERE id = ?1";
    db.execute(back, [a.as_str()]).unwrap();
    is_integrity(store.value(&a));
    assert_eq!(store.damaged().unwrap(), [a.to_string()], "the old grant does not come back");
    store.remove("b").unwrap();
    db.execute(back, [b.as_str()]).unwrap();
    assert!(store.info("b").is_err() && store.value(&b).is_err(), "a removed secret stays removed");
    let all = "DELETE FROM records; INSERT INTO records SELECT * FROM old; DELETE FROM head;
               INSERT INTO head SELECT * FROM oldhead";
    db.execute_batch(all).unwrap();
    is_integrity(store.value(&a));
    is_integrity(open(dir.path()));
}

#[test]
fn v1_a_database_whose_log_was_cut_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.add(secret("a", CANARY)).unwrap();
    let keeps_the_log = raw(dir.path());
    keeps_the_log.query_row("SELECT count(*) FROM records", [], |_| Ok(())).unwrap();
    let wal = dir.path().join("vault.db-wal");
    let before = fs::metadata(&wal).unwrap().len();
    store.add(secret("b", OTHER)).unwrap();
    let copy = tempfile::tempdir().unwrap();
    for name in ["vault.db", "vault.db-wal", "key", "seen"] {
        fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    assert_eq!(open(copy.path()).unwrap().list().unwrap().len(), 2);
    let cut = tempfile::tempdir().unwrap();
    for name in ["vault.db", "vault.db-wal", "key", "seen"] {
        fs::copy(dir.path().join(name), cut.path().join(name)).unwrap();
    }
    let file = fs::OpenOptions::new().write(true).open(cut.path().join("vault.db-wal")).unwrap();
    file.set_len(before).unwrap();
    is_integrity(open(cut.path()));
}

#[test]
fn v2_no_file_holds_a_value_in_clear() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let id = store.add(secret("a", CANARY)).unwrap().id;
    store.set_state(&id, 1, OTHER.as_bytes()).unwrap();
    store.set_record("meta", "ca", Some(OTHER.as_bytes())).unwrap();
    let new = Rotation { value: Value::new(OTHER.into()), expires: None };
    store.rotate("a", new).unwrap();
    store.rotate_dek().unwrap();
    store.backup(&dir.path().join("copy"), &Value::new("a passphrase".into()), CHEAP).unwrap();
    let mut looked = 0;
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        looked += 1;
        assert!(!bytes.windows(7).any(|w| w == b"CANARY-"), "{path:?}");
        // What decides is sealed as well.
        assert!(!bytes.windows(15).any(|w| w == b"api.example.com"), "{path:?}");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        let open_to_others = mode & 0o077 != 0 && path.file_name().unwrap() != "seen";
        assert!(!open_to_others, "{path:?} {mode:o}");
    }
    assert!(looked >= 4, "{looked}");
}

#[test]
fn v4_a_locked_vault_says_so_and_wrong_passphrases_have_to_wait() {
    let dir = tempfile::tempdir().unwrap();
    let made =
        Store::open_with(dir.path(), &passphrase("right and long"), Around::default(), clock);
    let id = made.unwrap().add(secret("a", CANARY)).unwrap().id;
    let store = open(dir.path()).unwrap();
    assert!(store.is_locked());
    assert!(matches!(store.value(&id), Err(SecretsError::Locked)));
    assert!(matches!(store.list(), Err(SecretsError::Locked)));
    assert!(matches!(store.add(secret("b", CANARY)), Err(SecretsError::Locked)));
    let unlock = |text: &str| store.unlock(Value::new(text.into()));
    assert!(matches!(unlock("wrong and long"), Err(SecretsError::WrongPassphrase)));
    assert!(matches!(unlock("right and long"), Err(SecretsError::Wait(1))));
    store.lock().not_before = 0;
    assert!(matches!(unlock("wrong and long"), Err(SecretsError::WrongPassphrase)));
    assert!(matches!(unlock("right and long"), Err(SecretsError::Wait(2))));
    store.lock().not_before = 0;
    unlock("right and long").unwrap();
    assert_eq!(says(&store, &id), CANARY);
    store.relock();
    assert!(matches!(store.value(&id), Err(SecretsError::Locked)));
}

#[test]
fn v5_a_key_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let key = dir.path().join("key");
    for mode in [0o644, 0o640, 0o604] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let why = open(dir.path()).err().unwrap().to_string();
        assert!(why.contains("chmod 600"), "{why}");
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    drop(open(dir.path()).unwrap());
    let elsewhere = dir.path().join("elsewhere");
    fs::rename(&key, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &key).unwrap();
    assert!(open(dir.path()).is_err(), "no link is followed");
}

#[test]
fn the_key_can_be_changed_while_another_process_works() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (open(dir.path()).unwrap(), open(dir.path()).unwrap());
    let id = one.add(secret("a", CANARY)).unwrap().id;
    assert_eq!(says(&two, &id), CANARY);
    one.rekey(&KeySource::File).unwrap();
    assert!(!dir.path().join("key").exists() && dir.path().join("key.b").exists());
    assert_eq!(says(&two, &id), CANARY);
    two.rotate_dek().unwrap();
    assert_eq!(says(&one, &id), CANARY);
    assert_eq!(one.protection().unwrap().source, "key file");
    one.rekey(&passphrase("a good passphrase")).unwrap();
    assert!(!dir.path().join("key.b").exists());
    assert_eq!(says(&one, &id), CANARY);
    one.rotate_dek().unwrap();
    assert!(matches!(two.value(&id), Err(SecretsError::Locked)), "it has the old key");
    two.unlock(Value::new("a good passphrase".into())).unwrap();
    assert_eq!(says(&two, &id), CANARY);
    two.rekey(&KeySource::File).unwrap();
    assert_eq!(says(&open(dir.path()).unwrap(), &id), CANARY);
}

#[test]
fn a_credential_of_systemd_and_a_keyring_open_a_vault() {
    let (dir, around) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(around.path().join("nanoclaw-vault-key"), [7; 32]).unwrap();
    let tool = around.path().join("secret-tool");
    let script = format!(
        "#!/bin/sh\ncd {:?}\nfor last; do :; done\ncase $1 in\nstore) cat > \"entry-$last\";;\n\
         lookup) cat \"entry-$last\" 2>/dev/null;;\nclear) rm \"entry-$last\";;\nesac\n",
        around.path()
    );
    fs::write(&tool, script).unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o700)).unwrap();
    let systemd =
        Around { credentials: Some(around.path().into()), secret_tool: Some(tool.clone()) };
    let keyring = Around { credentials: None, secret_tool: Some(tool) };
    let auto =
        |around: &Around| Store::open_with(dir.path(), &KeySource::Auto, around.clone(), clock);
    let store = auto(&systemd).unwrap();
    assert_eq!(store.protection().unwrap().source, "systemd credential");
    let id = store.add(secret("a", CANARY)).unwrap().id;
    assert!(auto(&keyring).is_err(), "there is no falling back to another source");
    store.rekey(&KeySource::Keyring).unwrap();
    assert_eq!(says(&auto(&keyring).unwrap(), &id), CANARY);
    assert!(auto(&Around::default()).is_err());
    store.rekey(&KeySource::File).unwrap();
    let left = fs::read_dir(around.path()).unwrap().count();
    assert_eq!(left, 2, "the entry of the keyring is gone");
    assert_eq!(says(&auto(&Around::default()).unwrap(), &id), CANARY);
}

#[test]
fn a_backup_opens_elsewhere_with_its_passphrase() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(here.path()).unwrap();
    let id = store.add(secret("a", CANARY)).unwrap().id;
    store.set_record("meta", "ca", Some(b"a key")).unwrap();
    let file = there.path().join("copy");
    store.backup(&file, &Value::new("of the backup".into()), CHEAP).unwrap();
    assert!(
        store.backup(&file, &Value::new("of the backup".into()), CHEAP).is_err(),
        "not over another"
    );
    let other = open(there.path()).unwrap();
    other.add(secret("b", OTHER)).unwrap();
    assert!(other.restore(&file, &Value::new("of something else".into())).is_err());
    assert_eq!(other.list().unwrap().len(), 1, "nothing changed");
    other.restore(&file, &Value::new("of the backup".into())).unwrap();
    assert_eq!(says(&other, &id), CANARY);
    assert!(other.info("b").is_err());
    assert_eq!(other.record("meta", "ca").unwrap().unwrap().as_slice(), b"a key");
    let names = AgentNames { id: "agent-1".into(), folder: "one".into() };
    assert_eq!(other.dummies(&names).unwrap(), store.dummies(&names).unwrap());
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    assert!(other.restore(&file, &Value::new("of the backup".into())).is_err());
}

#[test]
fn changes_of_one_process_are_seen_by_another_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (open(dir.path()).unwrap(), open(dir.path()).unwrap());
    let before = two.generation().unwrap();
    one.set_record("held", "1", Some(b"x")).unwrap();
    assert_eq!(two.generation().unwrap(), before, "nothing about secrets");
    assert_eq!(two.record_ids("held").unwrap(), ["1"]);
    one.add(secret("a", CANARY)).unwrap();
    assert_ne!(two.generation().unwrap(), before);
    let authority = Authority::parse("api.example.com:443", None).unwrap();
    let agent = AgentNames { id: "agent-1".into(), folder: "one".into() };
    assert_eq!(two.bound(&agent, &authority).unwrap().len(), 1);
    one.revoke("a", &"*".parse().unwrap()).unwrap();
    assert!(two.bound(&agent, &authority).unwrap().is_empty());
    assert_eq!(two.bound_there(&authority).unwrap(), ["a"]);
    assert!(two.record("secret", "x").is_err() && two.set_record("manifest", "", None).is_err());
}

#[test]
fn a_lock_has_one_holder_until_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    assert!(store.try_lock("refresh", "one", 30).unwrap());
    assert!(!store.try_lock("refresh", "two", 30).unwrap());
    assert!(store.try_lock("refresh", "one", 30).unwrap());
    store.unlock_name("refresh", "two").unwrap();
    assert!(!store.try_lock("refresh", "two", 30).unwrap());
    store.unlock_name("refresh", "one").unwrap();
    assert!(store.try_lock("refresh", "two", -1).unwrap());
    assert!(store.try_lock("refresh", "one", 30).unwrap(), "the time of the other is over");
}

#[test]
fn always_and_placeholder_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let mut new = secret("a", CANARY);
    new.bindings[0].mode = Inject::Always;
    new.bindings[0].methods = vec!["GET".into()];
    let bindings = new.bindings.clone();
    store.add(new).unwrap();
    assert_eq!(open(dir.path()).unwrap().info("a").unwrap().bindings, bindings);
}
