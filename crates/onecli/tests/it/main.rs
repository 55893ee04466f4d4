//! Both ways with real processes: the SDK of OneCLI against this vault, and this vault against peers that play OneCLI.

#[cfg(test)]
mod client;
#[cfg(test)]
mod facade;
#[cfg(test)]
#[path = "../../../vault/tests/it/kit.rs"]
#[expect(dead_code, reason = "the vault's own tests use all of it")]
mod kit;
#[cfg(test)]
mod peer;
#[cfg(test)]
#[path = "../../../vault/tests/it/web.rs"]
mod web;

/// The program that these tests start.
pub(crate) const VAULT: &str = env!("CARGO_BIN_EXE_onecli-under-test");
