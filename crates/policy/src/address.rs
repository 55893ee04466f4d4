//! Which addresses may be dialled at all.
//!
//! Every address that a name resolves to is classed, and one bad address condemns the name. Addresses that
//! carry another address are as bad as the worse of the two. Names of cloud machinery and of this machine are
//! refused before anybody is asked for their address. The machine's own interfaces are not known here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What may be done with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Anybody's.
    Public,
    /// Of a private network: only with an `[[allow_private]]` entry.
    Private,
    /// Of this machine, of cloud machinery, of nobody, or of everybody.
    Never,
}

/// Classes an address.
#[must_use]
pub fn class(ip: IpAddr) -> Class {
    match ip {
        IpAddr::V4(ip) => class_v4(ip),
        IpAddr::V6(ip) => class_v6(ip),
    }
}

fn class_v4(ip: Ipv4Addr) -> Class {
    match ip.octets() {
        [0 | 127 | 224.., ..]
        | [169, 254, ..]
        | [100, 100, 100, 200]
        | [168, 63, 129, 16]
        | [192, 0, 0, _] => Class::Never,
        [10, ..]
        | [172, 16..=31, ..]
        | [192, 168, ..]
        | [100, 64..=127, ..]
        | [198, 18 | 19, ..]
        | [192, 0, 2, _]
        | [192, 88, 99, _]
        | [198, 51, 100, _]
        | [203, 0, 113, _] => Class::Private,
        _ => Class::Public,
    }
}

fn class_v6(ip: Ipv6Addr) -> Class {
    let v4 =
        |high: u16, low: u16| class_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match ip.segments() {
        // v4-compatible, v4-mapped, translated
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => v4(high, low),
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => v4(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        // 6to4
        [0x2002, high, low, ..] => v4(high, low),
        // Teredo: its server, and its client upside down
        [0x2001, 0, high, low, _, _, a, b] => v4(high, low).max(v4(!a, !b)),
        // ISATAP, below any prefix
        [prefix @ .., 0x5efe, high, low] if matches!(prefix[4], 0 | 0x200) => {
            v4(high, low).max(class_net(ip))
        }
        _ => class_net(ip),
    }
}

fn class_net(ip: Ipv6Addr) -> Class {
    match ip.segments() {
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => {
            Class::Never
        }
        [0xfc00..=0xfdff, ..]
        | [0x2001, 0xdb8, ..]
        | [0x2001, 0x2, 0, ..]
        | [0x2001, 0x10..=0x2f, ..]
        | [0x3fff, 0..=0xfff, ..] => Class::Private,
        [0x2000..=0x3fff, ..] => Class::Public,
        _ => Class::Never,
    }
}

/// Whether a name may not be looked up, unless the owner's file declares it.
#[must_use]
pub fn refused_name(host: &str) -> bool {
    const ENDINGS: [&str; 4] = ["internal", "local", "localhost", "home.arpa"];
    // A name without a dot means what the machine's search list makes of it.
    !host.contains('.')
        || ENDINGS.iter().any(|ending| {
            host.strip_suffix(ending).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
}

#[cfg(test)]
mod tests;
