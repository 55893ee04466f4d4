//! Whom a request is for: a host and a port, in the one spelling that everything is compared by.
//!
//! Whatever another parser could take for a second host is refused. Read next: [`crate::address`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A name: ASCII, lower case, no dot at its end.
    Name(String),
    /// An address; a v4 address in the clothes of a v6 one is a v4 address.
    Ip(IpAddr),
}

/// Why something is no authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadAuthority(&'static str);

impl Authority {
    /// Reads `host:port`, or `host` where a port goes without saying.
    pub fn parse(text: &str, default_port: Option<u16>) -> Result<Self, BadAuthority> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (ip, after) = rest.split_once(']').ok_or(BadAuthority("a [ without its ]"))?;
                let ip: Ipv6Addr =
                    ip.parse().map_err(|_| BadAuthority("no IPv6 address in [ ]"))?;
                let port = match after.strip_prefix(':') {
                    None if !after.is_empty() => return Err(BadAuthority("something follows ]")),
                    port => port,
                };
                (Host::Ip(IpAddr::V6(ip).to_canonical()), port)
            }
            None => match text.split_once(':') {
                Some((host, port)) => (Host::parse(host)?, Some(port)),
                None => (Host::parse(text)?, None),
            },
        };
        let port = match port {
            Some(port) => number(port)?,
            None => default_port.ok_or(BadAuthority("the port is missing"))?,
        };
        Ok(Self { host, port })
    }

    /// How it is written in a `Host` header where `default_port` goes without saying.
    #[must_use]
    pub fn header(&self, default_port: u16) -> String {
        if self.port == default_port { self.host.to_string() } else { self.to_string() }
    }
}

fn number(port: &str) -> Result<u16, BadAuthority> {
    let plain = (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
    let port: Option<u16> = if plain { port.parse().ok() } else { None };
    port.filter(|port| *port > 0).ok_or(BadAuthority("a port is a number from 1 to 65535"))
}

impl Host {
    /// Reads a name or an IPv4 address; one dot at the end and capital letters make no difference.
    pub fn parse(text: &str) -> Result<Self, BadAuthority> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if name.len() > NAME_MAX {
            return Err(BadAuthority("a name of a host has at most 253 letters"));
        }
        if !name.split('.').all(is_label) {
            return Err(BadAuthority("not a name of a host: letters, digits, - and dots between"));
        }
        // Programs read 127.1, 0x7f000001 and 2130706433 as addresses, and not all as the same one.
        let last = name.rsplit('.').next().unwrap_or_default();
        let hex = last.strip_prefix("0x").is_some_and(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
        if hex || last.bytes().all(|b| b.is_ascii_digit()) {
            let ip: Option<Ipv4Addr> = name.parse().ok().filter(|_| !text.ends_with('.'));
            let ip = ip.ok_or(BadAuthority("an IPv4 address is four numbers from 0 to 255"))?;
            return Ok(Self::Ip(ip.into()));
        }
        let foreign = name.split('.').any(|label| label.starts_with("xn--"));
        if foreign && idna::domain_to_ascii_strict(&name).ok().as_deref() != Some(&name) {
            return Err(BadAuthority("a label that begins with xn-- means nothing"));
        }
        Ok(Self::Name(name))
    }

    /// The name, if it is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Ip(_) => None,
        }
    }
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_MAX).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests;
