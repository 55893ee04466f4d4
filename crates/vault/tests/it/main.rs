//! The vault as a real process behind real sockets, in front of a fake upstream.

// Marked so that helpers may unwrap like the tests themselves.
#[cfg(test)]
mod cases_addresses;
#[cfg(test)]
mod cases_answers;
#[cfg(test)]
mod cases_faults;
#[cfg(test)]
mod cases_h2;
#[cfg(test)]
mod cases_identity;
#[cfg(test)]
mod cases_leaks;
#[cfg(test)]
mod cases_load;
#[cfg(test)]
mod cases_paths;
#[cfg(test)]
mod cases_renewal;
#[cfg(test)]
mod cases_services;
#[cfg(test)]
mod cases_world;
#[cfg(test)]
mod kit;
#[cfg(test)]
mod life;
#[cfg(test)]
mod locked;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod tunnels;
#[cfg(test)]
mod web;

/// The program that these tests start.
pub(crate) const VAULT: &str = env!("CARGO_BIN_EXE_vault-under-test");
