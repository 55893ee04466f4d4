//! Writes, rotates and changes keys until it is killed; says before and after each step which one it is.

use nanoclaw_secrets::{Cost, KeySource, Rotation, SecretsError, Store, Value};
use std::io::Write as _;
use std::path::PathBuf;

const CHEAP: Cost = Cost { memory: 64, rounds: 1, lanes: 1 };

fn passphrase() -> KeySource {
    KeySource::Passphrase(Value::new("for the test".into()), CHEAP)
}

fn say(text: &str) {
    let mut out = std::io::stdout();
    drop(writeln!(out, "{text}"));
    drop(out.flush());
}

fn main() -> Result<(), SecretsError> {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().unwrap_or_default());
    let mut n: u64 = args.next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let store = Store::open(&dir, &passphrase())?;
    loop {
        n += 1;
        let value = format!("the-value-{n:08}");
        let rotation = || Rotation { value: Value::new(value.clone()), expires: None };
        match n % 6 {
            0 | 3 => {
                say(&format!("a {value}"));
                store.rotate("a", rotation())?;
            }
            1 => {
                say(&format!("b {value}"));
                store.rotate("b", rotation())?;
            }
            2 => store.rekey(&KeySource::File)?,
            4 => store.rotate_dek()?,
            _ => store.rekey(&passphrase())?,
        }
        say(&format!("done {n}"));
    }
}
