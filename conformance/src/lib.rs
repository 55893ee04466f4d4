//! The cases that every channel is held to, whatever the platform.
//!
//! ```text
//!  people ──▶ Peer (a real server, or a scripted platform) ◀──HTTP, WebSocket──▶ adapter ──▶ Recorder
//!    ▲                                                                              ▲   (what the host is)
//!    └───────────────────── a case: says, sends, breaks, looks ─────────────────────┘
//! ```
//!
//! A channel crate has `tests/conformance.rs` with a [`Peer`] and one test that calls [`run`]. Each case gets
//! a fresh peer, a fresh data folder and a freshly started adapter. A case *works*, is *not offered* by the
//! platform (the [`Profile`] says why), or has *failed*, which fails the test. The results land in
//! `target/channels/<name>.json`, from which `cargo xtask channels` makes `docs/channels.md`.
//!
//! Rules that the cases rely on:
//! - dropping the last `Arc` of a channel ends its tasks at once: that is how a crash is made here;
//! - the peer rings its bell when something happened; no case sleeps, each waits for what it wants to see;
//! - waits of the adapter (backoff, pace, timeouts) use tokio's clock, which a case may turn faster.
//!
//! `CONFORMANCE=long,files` runs only the cases whose names contain one of the words, and writes no results.

pub mod cases;
pub mod emulate;
mod link;
mod logs;
pub mod peer;
pub mod record;
mod report;
pub mod rig;

pub use link::Link;
pub use peer::{Fault, Forgery, Offer, Peer, PeerFile, Place, Profile, Reacted, Say, Seen};
pub use report::{Outcome, Result as CaseResult, Results, target};
pub use rig::Rig;

use anyhow::{Context as _, Result, bail};
use std::io::Write as _;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Longest time that a case may take.
const CASE_MAX: Duration = Duration::from_secs(60);

/// Holds a channel to every case; `make` makes a fresh peer. Fails when a case does.
pub fn run<P: Peer + 'static>(make: impl AsyncFn() -> Result<P>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let logs = logs::capture();
    let only = std::env::var("CONFORMANCE").unwrap_or_default();
    let only: Vec<&str> = only.split(',').filter(|word| !word.is_empty()).collect();
    let mut results: Option<Results> = None;
    for case in cases::all() {
        if !only.is_empty() && !only.iter().any(|word| case.name.contains(word)) {
            continue;
        }
        let begun = Instant::now();
        let peer = runtime.block_on(make()).context("the peer did not start")?;
        let (profile, channel) = (peer.profile(), peer.channel());
        let all = results.get_or_insert_with(|| Results::new(channel.name, &profile));
        let outcome = match (case.needs)(&profile).into_iter().find_map(missing) {
            Some(why) => Outcome::NotOffered(why.to_owned()),
            None => runtime.block_on(one(case, Box::new(peer), &logs)),
        };
        say(&format!("{:>6} ms  {:<28} {outcome}", begun.elapsed().as_millis(), case.name));
        all.add(case, outcome);
    }
    let Some(results) = results else { bail!("no case is called {only:?}") };
    if only.is_empty() {
        results.write()?;
    }
    results.verdict()
}

fn missing(offer: Offer) -> Option<&'static str> {
    match offer {
        Offer::Yes => None,
        Offer::No(why) => Some(why),
    }
}

async fn one(case: &cases::Case, peer: Box<dyn Peer>, logs: &logs::Logs) -> Outcome {
    logs.clear();
    let secrets = peer.secrets();
    let mut rig = match Rig::new(peer) {
        Ok(rig) => rig,
        Err(e) => return Outcome::Failed(format!("{e:#}")),
    };
    let (waiting, said) = (rig.waiting(), rig.said());
    let work = async {
        if case.started {
            rig.start().await?;
        }
        let result = (case.run)(&mut rig).await;
        rig.end().await;
        result
    };
    // A thread and not a timer: a case may turn the clock. While it waits, tokio leaves a paused clock alone.
    let (done, until) = mpsc::channel::<()>();
    let late = tokio::task::spawn_blocking(move || {
        until.recv_timeout(CASE_MAX).is_err_and(|e| e == mpsc::RecvTimeoutError::Timeout)
    });
    let result = tokio::select! {
        result = work => result,
        Ok(true) = late => Err(anyhow::anyhow!("{} s passed while it waited {}", CASE_MAX.as_secs(), waiting.get())),
    };
    drop(done);
    let shown = [logs.text(), said.get()].join("\n");
    let leaked = secrets.iter().find(|secret| !secret.is_empty() && shown.contains(*secret));
    match (result, leaked) {
        (Ok(()), None) => Outcome::Works,
        (Ok(()), Some(secret)) => {
            let line = shown.lines().find(|line| line.contains(secret)).unwrap_or_default();
            Outcome::Failed(format!("a secret was shown: {line}"))
        }
        (Err(e), _) => Outcome::Failed(format!("{e:#}\n{}", logs.tail())),
    }
}

/// Prints a line; a closed pipe is no reason to fail.
fn say(line: &str) {
    drop(writeln!(std::io::stdout(), "{line}"));
}
