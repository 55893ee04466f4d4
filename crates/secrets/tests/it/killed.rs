//! Killed at a thousand moments of writing, rotating and changing keys: the vault opens, and each secret has
//! its old value or its new one.

use nanoclaw_secrets::{Binding, Cost, KeySource, Kind, NewSecret, Slot, Store, Value};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// In each of two vaults, side by side.
const KILLS: usize = 500;
const CHEAP: Cost = Cost { memory: 64, rounds: 1, lanes: 1 };

fn open(dir: &Path) -> Store {
    let source = KeySource::Passphrase(Value::new("for the test".into()), CHEAP);
    Store::open(dir, &source).unwrap()
}

fn secret(name: &str) -> NewSecret {
    NewSecret {
        name: name.into(),
        kind: Kind::Bearer,
        value: Value::new("the-value-00000000".into()),
        bindings: vec![Binding::new("api.example.com".parse().unwrap(), Slot::bearer())],
        grants: Vec::new(),
        expires: None,
        settings: BTreeMap::new(),
    }
}

#[test]
fn a_vault_that_is_killed_a_thousand_times_has_the_old_value_or_the_new_one() {
    let both = [7, 8].map(|seed| std::thread::spawn(move || kill_again_and_again(seed)));
    both.into_iter().for_each(|one| one.join().unwrap());
}

fn kill_again_and_again(seed: u64) {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let dir = dir.unwrap();
    let store = open(dir.path());
    for name in ["a", "b"] {
        store.add(secret(name)).unwrap();
    }
    drop(store);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut now: BTreeMap<String, String> =
        ["a", "b"].map(|name| (name.to_owned(), "the-value-00000000".to_owned())).into();
    let (mut n, mut cut_short) = (0_u64, 0);
    for kill in 0..KILLS {
        let mut child = Command::new(env!("CARGO_BIN_EXE_secrets-under-test"))
            .arg(dir.path())
            .arg(n.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut pending = None;
        let mut note = |line: String, n: &mut u64| match line.split_once(' ').unwrap() {
            ("done", done) => {
                *n = done.parse().unwrap();
                if let Some((name, value)) = pending.take() {
                    now.insert(name, value);
                }
            }
            (name, value) => pending = Some((name.to_owned(), value.to_owned())),
        };
        for _ in 0..random.usize(1..8) {
            note(lines.next().unwrap().unwrap(), &mut n);
        }
        std::thread::sleep(Duration::from_micros(random.u64(0..2_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok).filter(|line| line.contains(' ')) {
            note(line, &mut n);
        }
        let store = open(dir.path());
        assert_eq!(store.damaged().unwrap(), [""; 0], "after kill {kill}");
        for (name, value) in &mut now {
            let is = store.value(&store.info(name).unwrap().id).unwrap().expose().to_owned();
            if is == *value {
                continue;
            }
            let next = pending.as_ref().filter(|next| next.0 == *name);
            assert_eq!(Some(&is), next.map(|next| &next.1), "{name} after kill {kill}");
            value.clone_from(&is);
            cut_short += 1;
        }
        // What was cut short is not tried again under the same number.
        n += 6;
    }
    assert!(n > KILLS as u64, "the children worked");
    println!("{KILLS} kills, {cut_short} of them between writing and saying so");
}
