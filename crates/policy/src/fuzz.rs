//! What holds for any bytes: tried by the fuzzer and, a little, by the tests. No part of an ordinary build.

use crate::{
    AgentNames, Asking, Authority, Bound, Host, HostPattern, PathPattern, Policy, Target, Verdict,
};
use std::str::from_utf8;

#[cfg(test)]
mod tests;

/// An authority: what is read is plain ASCII, and is written and read as the same.
pub fn authority(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    let Ok(read) = Authority::parse(text, Some(443)) else { return };
    let written = read.to_string();
    assert!(written.bytes().all(|b| b.is_ascii_graphic() && !b"@/\\%#?".contains(&b)));
    assert_eq!(Authority::parse(&written, None), Ok(read.clone()));
    if let Host::Name(name) = read.host {
        assert!(name.len() <= 253 && !name.ends_with('.') && !name.contains(char::is_uppercase));
        assert!(name.parse::<std::net::IpAddr>().is_err());
    }
}

/// A target: the wire means itself, and what passes a block has no reading that is blocked, whatever
/// lenient servers do to it and in whatever order. The last bytes say what they do.
pub fn paths(data: &[u8]) {
    let (raw, steps) = data.split_at(data.len().saturating_sub(6));
    let Some(target) = from_utf8(raw).ok().and_then(|raw| Target::parse(raw).ok()) else { return };
    assert_eq!(Target::parse(target.wire()).as_ref(), Ok(&target));
    assert!(target.readings().len() <= 8 && target.readings()[0] == target.path());
    let admin: PathPattern = "/admin/**".parse().unwrap_or_default();
    if !target.plain() || admin.any_reading(&target) {
        return;
    }
    let mut path = target.path().to_owned();
    for which in steps {
        path = step(&path, *which);
        assert!(path != "/admin" && !path.starts_with("/admin/"), "{} is {path}", target.path());
    }
}

/// What lenient servers do to a path, one step.
pub(crate) fn step(path: &str, which: u8) -> String {
    let segments = || path.split('/').skip(1);
    match which % 6 {
        0 => crate::target::decoded_once(path),
        1 => path.replace('\\', "/"),
        2 => segments().fold(String::new(), |path, segment| {
            path + "/" + segment.split(';').next().unwrap_or_default()
        }),
        3 => path.to_lowercase(),
        4 => segments().filter(|s| !s.is_empty()).fold(String::new(), |path, s| path + "/" + s),
        _ => {
            let mut kept = Vec::new();
            for segment in segments() {
                match segment {
                    "." => {}
                    ".." => drop(kept.pop()),
                    other => kept.push(other),
                }
            }
            format!("/{}", kept.join("/"))
        }
    }
}

/// Two patterns and what they are for, in lines: written and read as the same, and strict on both sides:
/// what an allowing rule meets, a blocking one meets too.
pub fn globs(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    let mut lines = text.lines();
    let mut next = || lines.next().unwrap_or_default();
    let (host, path, to, raw) = (next(), next(), next(), next());
    if let Ok(pattern) = host.parse::<HostPattern>() {
        assert_eq!(pattern.to_string().parse().as_ref(), Ok(&pattern));
        if let (Ok(to), HostPattern::Below(domain)) = (Host::parse(to), &pattern)
            && pattern.matches(&to)
        {
            assert!(to.to_string().ends_with(&format!(".{domain}")));
        }
    }
    if let (Ok(pattern), Ok(target)) = (path.parse::<PathPattern>(), Target::parse(raw)) {
        assert_eq!(pattern.to_string().parse().as_ref(), Ok(&pattern));
        assert!(!pattern.every_reading(&target) || pattern.any_reading(&target));
    }
}

/// A policy file: refused with a line of it, or read; then machinery stays shut and a block list holds.
pub fn policy(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    let policy = match Policy::parse(text) {
        Ok(policy) => policy,
        Err(bad) => {
            assert!(bad.line <= 1 + text.lines().count() && !bad.what.is_empty());
            return;
        }
    };
    let agent = AgentNames { id: "ag-1".into(), folder: "dev".into() };
    for to in ["169.254.169.254:80", "[fd00:ec2::254]:80", "0.0.0.0:443", "evil.example.com:443"] {
        let Ok(authority) = Authority::parse(to, None) else { continue };
        let target = Target::parse("/").ok();
        let asking = Asking {
            agent: &agent,
            authority: &authority,
            tls: true,
            method: Some("GET"),
            other_methods: &[],
            target: target.as_ref(),
            bound: Bound::Request,
            remembered: Some(true),
        };
        let (decision, trace) = policy.explain(&asking);
        assert_eq!(decision, policy.decide(&asking));
        assert!(!trace.is_empty());
        let blocked = matches!(decision.verdict, Verdict::Block { .. });
        let listed = policy.install.block.iter().any(|place| place.is(&authority));
        assert!(blocked || !(listed || authority.host.name().is_none()));
    }
}
