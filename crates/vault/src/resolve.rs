//! Names to addresses, and which of them may be dialled.
//!
//! A name is good only if every one of its addresses is; what was checked is what is dialled, so a name that
//! points elsewhere a moment later gains nothing. Read next: `upstream`.

use crate::refusal::Refusal;
use hyper::StatusCode;
use nanoclaw_policy::address::{self, Class};
use nanoclaw_policy::{Authority, Host, Policy};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

const TIMEOUT: Duration = Duration::from_secs(5);
const FRESH: Duration = Duration::from_secs(30);
const NAMES_MAX: usize = 1024;
const ADDRESSES_MAX: usize = 16;
const AT_ONCE: usize = 16;
const OWN_FRESH: Duration = Duration::from_secs(10);

/// What an answer about a name is.
pub type Answer = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Where names are looked up.
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of this name.
    fn resolve(&self, name: &str) -> Answer;
}

/// The system's own resolver.
struct System;

impl Resolve for System {
    fn resolve(&self, name: &str) -> Answer {
        let name = name.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(found.map(|at| at.ip()).take(ADDRESSES_MAX).collect())
        })
    }
}

/// Looks names up and judges what they point to.
pub(crate) struct Resolver {
    ask: Arc<dyn Resolve>,
    known: Mutex<HashMap<String, (Instant, Vec<IpAddr>)>>,
    own: Mutex<Option<(Instant, Arc<[IpAddr]>)>>,
    slots: Semaphore,
}

impl Resolver {
    pub(crate) fn new(ask: Option<Arc<dyn Resolve>>) -> Self {
        let (known, own, slots) = (Mutex::default(), Mutex::default(), Semaphore::new(AT_ONCE));
        Self { ask: ask.unwrap_or_else(|| Arc::new(System)), known, own, slots }
    }

    /// Addresses of an upstream that the owner named; nothing is checked.
    pub(crate) async fn trusted(&self, to: &Authority) -> Result<Vec<SocketAddr>, Refusal> {
        let found = self.addresses(&to.host).await?;
        Ok(found.into_iter().map(|ip| SocketAddr::new(ip, to.port)).collect())
    }

    /// Addresses that a box may reach under this name; all of them have to be allowed.
    pub(crate) async fn checked(
        &self,
        to: &Authority,
        policy: &Policy,
    ) -> Result<Vec<SocketAddr>, Refusal> {
        if let Host::Name(name) = &to.host
            && address::refused_name(name)
            && !policy.declares(to)
        {
            let text = format!("{name} is a name of this machine or its network");
            return Err(Refusal::blocked("address_not_allowed", text));
        }
        let found = self.addresses(&to.host).await?;
        let own = self.own();
        let bad = found.iter().find(|ip| {
            let ip = ip.to_canonical();
            let public = address::class(ip) == Class::Public && !own.contains(&ip);
            !public && !policy.private(to, ip)
        });
        if bad.is_some() {
            let text = "this address belongs to a private network or to this machine. The owner may allow one \
                        host with an [[allow_private]] entry in the vault's policy";
            return Err(Refusal::blocked("address_not_allowed", text));
        }
        Ok(found.into_iter().map(|ip| SocketAddr::new(ip, to.port)).collect())
    }

    async fn addresses(&self, host: &Host) -> Result<Vec<IpAddr>, Refusal> {
        let name = match host {
            Host::Ip(ip) => return Ok(vec![*ip]),
            Host::Name(name) => name,
        };
        let fresh = |(at, _): &(Instant, Vec<IpAddr>)| at.elapsed() < FRESH;
        if let Some((_, found)) = self.known().get(name).filter(|known| fresh(known)) {
            return Ok(found.clone());
        }
        let unknown = |why: String| {
            let text = format!("the name {name} cannot be looked up: {why}");
            Refusal::new(StatusCode::BAD_GATEWAY, "name_not_found", text)
        };
        let asking = async {
            let _slot = self.slots.acquire().await.map_err(io::Error::other)?;
            self.ask.resolve(name).await
        };
        let found = match timeout(TIMEOUT, asking).await {
            Ok(Ok(found)) if !found.is_empty() => found,
            Ok(Ok(_)) => return Err(unknown("it has no address".to_owned())),
            Ok(Err(e)) => return Err(unknown(e.to_string())),
            Err(_) => return Err(unknown("no answer within 5 seconds".to_owned())),
        };
        let mut known = self.known();
        if known.len() >= NAMES_MAX {
            known.retain(|_, entry| fresh(entry));
            if known.len() >= NAMES_MAX {
                known.clear();
            }
        }
        known.insert(name.clone(), (Instant::now(), found.clone()));
        Ok(found)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, Vec<IpAddr>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses of this machine's own interfaces, and of the bridges on it.
    fn own(&self) -> Arc<[IpAddr]> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        match &*own {
            Some((at, all)) if at.elapsed() < OWN_FRESH => Arc::clone(all),
            _ => {
                let read = |path| std::fs::read_to_string(path).unwrap_or_default();
                let all = interfaces(&read("/proc/net/fib_trie"), &read("/proc/net/if_inet6"));
                Arc::clone(&own.insert((Instant::now(), all.into())).1)
            }
        }
    }
}

/// Reads the kernel's two tables of local addresses.
fn interfaces(v4: &str, v6: &str) -> Vec<IpAddr> {
    let mut all = Vec::new();
    let mut last = None;
    for line in v4.lines() {
        let line = line.trim_start_matches([' ', '+', '|', '-']);
        if line.ends_with("host LOCAL") {
            all.extend(last.take().map(IpAddr::V4));
        } else if let Ok(ip) = line.parse::<Ipv4Addr>() {
            last = Some(ip);
        }
    }
    let six = |line: &str| u128::from_str_radix(line.split(' ').next()?, 16).ok();
    all.extend(v6.lines().filter_map(six).map(|bits| IpAddr::V6(bits.into())));
    all
}

#[cfg(test)]
mod tests;
