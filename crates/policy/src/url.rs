//! A URL as people write it, for explaining.

use crate::{Authority, Target};

/// Whether it is TLS, where it goes, and what is asked there.
pub fn url(text: &str) -> Result<(bool, Authority, Target), String> {
    let (tls, rest) = match text.split_once("://") {
        Some(("https", rest)) => (true, rest),
        Some(("http", rest)) => (false, rest),
        _ => return Err(format!("{text:?} does not begin with https:// or http://")),
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let port = if tls { 443 } else { 80 };
    let authority = Authority::parse(host, Some(port)).map_err(|e| format!("{host:?}: {e}"))?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    let target = Target::parse(&format!("{slash}{path}")).map_err(|e| e.to_string())?;
    Ok((tls, authority, target))
}
