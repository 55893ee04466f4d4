//! Everything that must hold, in the order of how fast it fails.

use crate::{channels, programs, say, size, tidy};
use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// The channel whose tests need a real server, and what of it every run shows.
const REAL: &str = "nanoclaw-channel-matrix";
const MAIN_CASES: &str =
    "direct,group mention,threads,edit,reaction in,long text,file in,file out,network cut,killed";
/// The tests of whole installs.
const WHOLE: &str = "nanoclaw-tests";

/// Runs all checks and tests; stops at the first step that fails.
pub(crate) fn ci(root: &Path) -> Result<()> {
    step("format", || cargo(root, &["fmt", "--all", "--check"], &[]))?;
    step("tidy", || tidy::tidy(root))?;
    step("size", || size::size(root))?;
    let lint = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    step("lints", || cargo(root, &lint, &[]))?;
    // The tests' features may hide what the program needs by itself.
    step("the program alone", || cargo(root, &["check", "-p", "nanoclaw"], &[]))?;
    let (mut near, mut whole) = (Vec::new(), Vec::new());
    step("building all tests", || {
        (whole, near) = programs::build(root)?.into_iter().partition(|p| p.package == WHOLE);
        Ok(())
    })?;
    // A real homeserver takes seconds per case: here the main ones, all of them in `cargo xtask channels`.
    let (real, near) = near.into_iter().partition(|p| p.package == REAL);
    step("tests of each crate", || programs::run(near, 2, &[]))?;
    step("a channel against a real server", || {
        programs::run(real, 1, &[("CONFORMANCE", MAIN_CASES)])
    })?;
    let examples = ["test", "--workspace", "--doc"];
    step("examples in the documentation", || cargo(root, &examples, &[]))?;
    step("the page about channels", || channels::current(root))?;
    // One after the other: some of them measure, all of them start whole hosts.
    step("tests of the whole", || programs::alone(&whole))?;
    let doc = ["doc", "--workspace", "--lib", "--no-deps", "--document-private-items"];
    step("documentation", || cargo(root, &doc, &[("RUSTDOCFLAGS", "-D warnings")]))
}

/// Builds what is measured for release, then runs the benchmark program with `args`.
pub(crate) fn bench(root: &Path, args: &[String]) -> Result<()> {
    let built =
        ["build", "--release", "-p", "nanoclaw", "-p", "nanoclaw-tests", "-p", "nanoclaw-benches"];
    cargo(root, &built, &[])?;
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let runner = ["build", "--profile", "runner", "-p", "nanoclaw-install-runner", "--target"];
    cargo(root, &[&runner[..], &[&target]].concat(), &[])?;
    let folder =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let program = folder.join("release/nanoclaw-bench");
    let status = Command::new(&program)
        .current_dir(root)
        .args(args)
        .status()
        .with_context(|| format!("start {}", program.display()))?;
    if status.success() { Ok(()) } else { bail!("the benchmark ended with {status}") }
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    say(&format!("── {name}"));
    let begun = Instant::now();
    work().with_context(|| name.to_owned())?;
    say(&format!("── {name}: good, {:.1} s", begun.elapsed().as_secs_f32()));
    Ok(())
}

pub(crate) fn cargo(root: &Path, args: &[&str], env: &[(&str, &str)]) -> Result<()> {
    let status = Command::new(program())
        .current_dir(root)
        .args(args)
        .envs(env.iter().copied())
        .status()
        .context("start cargo")?;
    if status.success() { Ok(()) } else { bail!("`cargo {}` failed", args.join(" ")) }
}

pub(crate) fn program() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
