//! `nanoclaw vault …` killed at a thousand moments of writing, rotating and changing keys: the vault opens, and each
//! secret has its old value or its new one.
//!
//! The commands are those that people type. Half of the kills come at any moment of a command's life, the other half
//! within a moment after its first byte on disk.

use super::random::Dice;
use anyhow::{Context as _, ensure};
use nanoclaw_tests::rig::{needed, target};
use nanoclaw_vault::Store;
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Of commands that were still running.
const KILLS: u64 = 1_000;
/// What is typed, in turn; `VALUE` is a file with the next value.
const COMMANDS: [&str; 6] = [
    "rotate a --from-file VALUE",
    "rekey --to file",
    "rotate b --from-file VALUE",
    "rotate-dek",
    "add NEW --host api.example.com --from-file VALUE",
    "rotate a --from-file VALUE",
];
/// After the first byte; most commands are done by then.
const MOMENT_US: u64 = 6_000;
const LIFE_MAX: Duration = Duration::from_secs(30);
const SEED: u64 = 7;

struct Install {
    dir: tempfile::TempDir,
    program: PathBuf,
}

impl Install {
    fn new() -> anyhow::Result<Self> {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }?;
        let programs = std::env::var_os("NANOCLAW_PROGRAMS")
            .map_or_else(|| target().join("debug"), PathBuf::from);
        let program = needed(programs.join("nanoclaw"), "cargo build -p nanoclaw")?;
        Ok(Self { dir, program })
    }

    fn types(&self, words: &str, value: &str, name: &str) -> anyhow::Result<Child> {
        let file = self.dir.path().join("value");
        std::fs::write(&file, value)?;
        let words = words.replace("NEW", name).replace("VALUE", &file.display().to_string());
        let mut command = Command::new(&self.program);
        command.arg("vault").args(words.split(' ')).current_dir(self.dir.path());
        command.env("NANOCLAW_ROOT", self.dir.path());
        for other in ["NANOCLAW_DATA", "CREDENTIALS_DIRECTORY", "DBUS_SESSION_BUS_ADDRESS"] {
            command.env_remove(other);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().context("start nanoclaw")
    }

    fn done(&self, words: &str, value: &str, name: &str) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let status = self.types(words, value, name)?.wait()?;
        ensure!(status.success(), "`nanoclaw vault {words}` ended with {status}");
        Ok(began.elapsed())
    }

    /// What is on disk of the vault, as far as a writer changes it.
    fn marks(&self) -> Vec<Option<(u64, std::time::SystemTime)>> {
        let folder = self.dir.path().join("data/vault");
        let mark = |name| {
            let meta = std::fs::metadata(folder.join(name)).ok()?;
            Some((meta.len(), meta.modified().ok()?))
        };
        ["vault.db", "vault.db-wal", "key", "key.new"].map(mark).to_vec()
    }

    /// Every value, from a vault that opens without a complaint.
    fn values(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let store = Store::new(&self.dir.path().join("data")).open().context("the vault opens")?;
        ensure!(store.damaged()?.is_empty(), "damaged: {:?}", store.damaged()?);
        let all = store.list()?.into_iter().map(|info| {
            let value = store.value(&info.id).with_context(|| info.name.clone())?;
            Ok((info.name, value.expose().to_owned()))
        });
        all.collect()
    }
}

/// Kills it at some moment; says how it ended.
fn kill(
    install: &Install,
    mut child: Child,
    dice: &mut Dice,
    life: Duration,
) -> anyhow::Result<ExitStatus> {
    if dice.roll(2) == 0 {
        let micros = u64::try_from(life.as_micros())?.max(1);
        std::thread::sleep(Duration::from_micros(dice.roll(micros)));
    } else {
        let (before, began) = (install.marks(), Instant::now());
        while install.marks() == before && child.try_wait()?.is_none() {
            ensure!(began.elapsed() < LIFE_MAX, "a command hangs");
        }
        std::thread::sleep(Duration::from_micros(dice.roll(MOMENT_US)));
    }
    child.kill()?;
    Ok(child.wait()?)
}

#[test]
fn secrets_survive_a_thousand_kills_of_the_commands_that_change_them() -> anyhow::Result<()> {
    let install = Install::new()?;
    let mut known = BTreeMap::new();
    for name in ["a", "b"] {
        let value = format!("the-first-value-of-{name}");
        install.done("add NEW --host api.example.com --from-file VALUE", &value, name)?;
        known.insert(name.to_owned(), value);
    }
    // Rounds without a kill, to know how long a life is.
    let life = COMMANDS.iter().enumerate().map(|(n, words)| {
        let (value, name) = (format!("the-value-{n:08}"), format!("warm{n}"));
        install.done(words, &value, &name)
    });
    let life = life.collect::<anyhow::Result<Vec<_>>>()?.into_iter().max().unwrap_or_default();
    known = install.values()?;
    let mut dice = Dice(SEED);
    let (mut kills, mut ended, mut new) = (0, 0, 0);
    for n in 0.. {
        if kills == KILLS {
            break;
        }
        let words = COMMANDS[usize::try_from(n)? % COMMANDS.len()];
        let (value, name) = (format!("the-value-{:08}", n + 100), format!("n{n}"));
        let target = words.split(' ').nth(1).unwrap_or_default().replace("NEW", &name);
        let child = install.types(words, &value, &name)?;
        let status = kill(&install, child, &mut dice, life)?;
        let was_killed = status.signal() == Some(9);
        ensure!(was_killed || status.success(), "`{words}` ended with {status}");
        let after = install.values().with_context(|| format!("`{words}`, kill {kills}"))?;
        let mut wanted = known.clone();
        wanted.insert(target, value);
        let changes = words.contains("VALUE");
        let is_new = changes && after == wanted;
        ensure!(
            is_new || was_killed && after == known || !changes && after == known,
            "`{words}`, kill {kills}: neither the old values nor the new ones: {after:?}"
        );
        if was_killed {
            kills += 1;
            new += u64::from(is_new);
        } else {
            ended += 1;
        }
        known = after;
        // So that a vault stays small.
        if is_new && name_is_new(words) {
            install.done(&format!("remove {name}"), "", "")?;
            known.remove(&name);
        }
    }
    println!("{kills} kills ({new} after the change was kept), {ended} commands ended before");
    ensure!(new > KILLS / 50 && kills - new > KILLS / 50, "the kills are all on one side");
    Ok(())
}

fn name_is_new(words: &str) -> bool {
    words.starts_with("add")
}
