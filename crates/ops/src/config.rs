//! What can be set, parsed once at the start from the environment and `.env`.
//!
//! Every key is in [`KEYS`]; there is no other way to configure an install, and nothing else reads the
//! environment. The environment wins over `.env`. An unusable value is an error that names its key.

use crate::{During as _, Error};
use nanoclaw_contract::time::{Clock as _, SystemClock};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Every key and what it means.
pub const KEYS: [(&str, &str); 17] = [
    ("NANOCLAW_ROOT", "the checkout (default: the one with this program, or the current folder)"),
    ("NANOCLAW_DATA", "where databases, sessions and sockets live (default: data)"),
    ("NANOCLAW_DRIVER", "what isolates agents: auto or the name of a driver (default: auto)"),
    (
        "NANOCLAW_RUNTIME",
        "what the container engine runs boxes with, such as `runsc`, `AGENT=kata` (default: its own)",
    ),
    (
        "NANOCLAW_RUNNER",
        "the program that runs in a box (default: nanoclaw-runner beside nanoclaw)",
    ),
    ("NANOCLAW_TOOLS", "programs for the agents (default: tools in the data folder)"),
    ("CONTAINER_IMAGE", "image for drivers that use one (default: nanoclaw-agent:latest)"),
    ("TZ", "time zone of people and agents (default: the machine's)"),
    ("LOG_LEVEL", "error, warn, info, debug or trace (default: info)"),
    ("MAX_CONCURRENT_CONTAINERS", "boxes that run at once (default: 10)"),
    ("IDLE_TIMEOUT", "milliseconds that an idle box stays warm (default: 1800000)"),
    ("NANOCLAW_BOX_ENV", "further variables of every box, `A=1 B=2`, such as a fault for a test"),
    ("ASSISTANT_NAME", "name of the first agent (default: Nano)"),
    ("NANOCLAW_VAULT", "who has the secrets: embedded or onecli (default: embedded)"),
    ("NANOCLAW_ONECLI_PORT", "on which port the vault answers OneCLI's REST (default: none)"),
    ("ONECLI_URL", "where the REST of an external OneCLI is"),
    ("ONECLI_GATEWAY_URL", "where its gateway is, if not where it says"),
];

/// Owner of what boxes write when the host runs as root: an id that no account has.
const BOX_UID_UNDER_ROOT: u32 = 52_761;
const BOXES_MAX: usize = 10;
const IDLE: Duration = Duration::from_secs(30 * 60);

/// Where values come from.
pub trait Strings {
    /// The value of `key`; an empty one is none.
    fn get(&self, key: &str) -> Option<String>;
}

impl Strings for BTreeMap<String, String> {
    fn get(&self, key: &str) -> Option<String> {
        self.get(key).filter(|value| !value.is_empty()).cloned()
    }
}

/// The environment of the process, then `.env` in the root.
pub struct Environment {
    file: BTreeMap<String, String>,
}

impl Environment {
    /// Reads `<root>/.env`; a missing file is an empty one.
    pub fn read(root: &Path) -> Result<Self, Error> {
        match std::fs::read_to_string(root.join(".env")) {
            Ok(text) => Ok(Self { file: parse_env(&text) }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self { file: BTreeMap::new() })
            }
            Err(e) => Err(Error::new(format!("read {}: {e}", root.join(".env").display()))),
        }
    }
}

impl Strings for Environment {
    fn get(&self, key: &str) -> Option<String> {
        let set = std::env::var(key).ok().filter(|value| !value.is_empty());
        set.or_else(|| self.file.get(key).cloned())
    }
}

/// The original's `.env`: `KEY=value`, one pair of quotes removed, no escapes, no interpolation.
pub fn parse_env(text: &str) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let Some((key, value)) = line.split_once('=') else { continue };
        let value = value.trim();
        let bare = ['"', '\'']
            .into_iter()
            .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
            .unwrap_or(value);
        if !bare.is_empty() {
            values.insert(key.trim().to_owned(), bare.to_owned());
        }
    }
    values
}

/// Everything that was set, as types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The checkout.
    pub root: PathBuf,
    /// Databases, sessions, sockets; absolute.
    pub data: PathBuf,
    /// One folder per agent.
    pub groups: PathBuf,
    /// Where `nanoclaw.log` is.
    pub logs: PathBuf,
    /// Programs for the agents.
    pub tools: PathBuf,
    /// The program that runs in a box.
    pub runner: PathBuf,
    /// Home of whoever runs this process.
    pub home: PathBuf,
    /// Tells this install from others on the machine.
    pub install: String,
    /// Which driver, if one was named.
    pub driver: Option<String>,
    /// Image for drivers that use one.
    pub image: String,
    /// What the driver runs boxes with, by agent; `""` is for all.
    pub runtimes: BTreeMap<String, String>,
    /// IANA zone.
    pub timezone: String,
    /// How much is logged.
    pub log_level: String,
    /// Boxes that run at once.
    pub boxes_max: usize,
    /// How long an idle box stays warm.
    pub idle_timeout: Duration,
    /// User and group of what boxes write.
    pub box_user: (u32, u32),
    /// Further variables of every box.
    pub box_env: BTreeMap<String, String>,
    /// Name of the first agent.
    pub assistant_name: String,
}

impl Config {
    /// Parses everything; `root` is absolute, `exe` is the running program.
    pub fn parse(from: &dyn Strings, root: &Path, exe: &Path) -> Result<Self, Error> {
        let path = |key: &str| from.get(key).map(|value| root.join(value));
        let data = path("NANOCLAW_DATA").unwrap_or_else(|| root.join("data"));
        // A data folder elsewhere is an install of its own and keeps everything that it writes together.
        let home = if data == root.join("data") { root.to_path_buf() } else { data.clone() };
        let beside = exe.parent().unwrap_or(root).join("nanoclaw-runner");
        let digest = Sha256::digest(data.as_os_str().as_encoded_bytes());
        let install = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            groups: home.join("groups"),
            logs: home.join("logs"),
            tools: path("NANOCLAW_TOOLS").unwrap_or_else(|| data.join("tools")),
            runner: path("NANOCLAW_RUNNER").unwrap_or(beside),
            home: from.get("HOME").map_or_else(|| root.to_path_buf(), PathBuf::from),
            install,
            driver: from.get("NANOCLAW_DRIVER").filter(|name| name != "auto"),
            image: from.get("CONTAINER_IMAGE").unwrap_or_else(|| "nanoclaw-agent:latest".into()),
            runtimes: from
                .get("NANOCLAW_RUNTIME")
                .map(|t| runtimes(&t))
                .transpose()?
                .unwrap_or_default(),
            timezone: timezone(from.get("TZ")),
            log_level: log_level(from.get("LOG_LEVEL"))?,
            boxes_max: number(from, "MAX_CONCURRENT_CONTAINERS")?.map_or(Ok(BOXES_MAX), |n| {
                usize::try_from(n).map_err(|_| bad("MAX_CONCURRENT_CONTAINERS", "it is too large"))
            })?,
            idle_timeout: number(from, "IDLE_TIMEOUT")?.map_or(IDLE, Duration::from_millis),
            box_user: box_user(),
            box_env: from
                .get("NANOCLAW_BOX_ENV")
                .map(|t| pairs(&t))
                .transpose()?
                .unwrap_or_default(),
            assistant_name: from.get("ASSISTANT_NAME").unwrap_or_else(|| "Nano".into()),
            root: root.to_path_buf(),
            data,
        })
    }

    /// The configuration of this process, and where it came from.
    ///
    /// The root is `NANOCLAW_ROOT`, or the checkout that this program was installed into, or the
    /// current folder.
    pub fn of_process() -> Result<(Self, Environment), Error> {
        let here = std::env::current_dir().during("find the current folder")?;
        let exe = std::env::current_exe().during("find this program")?;
        let checkout = || {
            let checkout = exe.parent()?.parent()?;
            checkout.join("nanoclaw.sh").is_file().then(|| checkout.to_path_buf())
        };
        let root = match std::env::var_os("NANOCLAW_ROOT") {
            Some(root) => here.join(root),
            None => checkout().unwrap_or(here),
        };
        let env = Environment::read(&root)?;
        Ok((Self::parse(&env, &root, &exe)?, env))
    }

    /// The central database.
    pub fn central(&self) -> PathBuf {
        self.data.join("v2.db")
    }

    /// Opens the central database, made and brought up to date if need be.
    pub fn open_central(&self) -> Result<nanoclaw_central::Central, Error> {
        nanoclaw_central::Central::open(&self.central(), SystemClock.now())
            .map_err(|e| Error::new(format!("open {}: {e}", self.central().display())))
    }
}

fn bad(key: &str, why: &str) -> Error {
    Error::new(format!("{key} cannot be used: {why}")).next(format!("correct {key} in .env"))
}

fn number(from: &dyn Strings, key: &str) -> Result<Option<u64>, Error> {
    let Some(text) = from.get(key) else { return Ok(None) };
    match text.parse::<u64>() {
        Ok(0) | Err(_) => Err(bad(key, &format!("{text:?} is not a whole number above 0"))),
        Ok(n) => Ok(Some(n)),
    }
}

fn pairs(text: &str) -> Result<BTreeMap<String, String>, Error> {
    let pair = |word: &str| word.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    let all: Option<_> = text.split_whitespace().map(pair).collect();
    all.ok_or_else(|| bad("NANOCLAW_BOX_ENV", "it is not of the form A=1 B=2"))
}

fn runtimes(text: &str) -> Result<BTreeMap<String, String>, Error> {
    let plain = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let one = |word: &str| {
        let (agent, name) = word.split_once('=').unwrap_or(("", word));
        let good = plain(name) && (agent.is_empty() != word.contains('='));
        good.then(|| (agent.to_owned(), name.to_owned()))
    };
    let all: Option<_> = text.split([' ', ',']).filter(|w| !w.is_empty()).map(one).collect();
    all.ok_or_else(|| bad("NANOCLAW_RUNTIME", "it is not of the form `runsc` or `AGENT=kata`"))
}

fn log_level(set: Option<String>) -> Result<String, Error> {
    let level = set.unwrap_or_else(|| "info".into()).to_ascii_lowercase();
    if ["error", "warn", "info", "debug", "trace"].contains(&level.as_str()) {
        return Ok(level);
    }
    Err(bad("LOG_LEVEL", &format!("{level:?} is none of error, warn, info, debug, trace")))
}

/// The zone that was set if it exists, else the machine's, else UTC.
fn timezone(set: Option<String>) -> String {
    let known = |name: &String| jiff::tz::TimeZone::get(name).is_ok();
    set.filter(known)
        .or_else(|| jiff::tz::TimeZone::try_system().ok()?.iana_name().map(str::to_owned))
        .unwrap_or_else(|| "UTC".into())
}

fn box_user() -> (u32, u32) {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    if uid.is_root() {
        (BOX_UID_UNDER_ROOT, BOX_UID_UNDER_ROOT)
    } else {
        (uid.as_raw(), gid.as_raw())
    }
}

#[cfg(test)]
mod tests;
