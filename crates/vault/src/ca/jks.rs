//! A Java key store that holds trusted certificates and nothing else.
//!
//! Java reads it whatever its default type is. The digest at the end is checked only by who gives a password;
//! ours is [`PASSWORD`], which everybody may know.

use rustls::pki_types::CertificateDer;

/// Java's own default; it protects nothing.
pub(crate) const PASSWORD: &str = "changeit";
const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;
const TRUSTED: u32 = 2;

/// The bytes of a store with these certificates.
pub(crate) fn trust_store(certs: &[&CertificateDer<'_>], born: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let number = |out: &mut Vec<u8>, n: u32| out.extend(n.to_be_bytes());
    number(&mut out, MAGIC);
    number(&mut out, VERSION);
    number(&mut out, u32::try_from(certs.len()).unwrap_or(u32::MAX));
    for (at, cert) in certs.iter().enumerate() {
        number(&mut out, TRUSTED);
        text(&mut out, &format!("root-{at}"));
        out.extend((born * 1000).to_be_bytes());
        text(&mut out, "X.509");
        number(&mut out, u32::try_from(cert.len()).unwrap_or(u32::MAX));
        out.extend_from_slice(cert);
    }
    let mut digest = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    for unit in PASSWORD.encode_utf16() {
        digest.update(&unit.to_be_bytes());
    }
    digest.update(b"Mighty Aphrodite");
    digest.update(&out);
    out.extend_from_slice(digest.finish().as_ref());
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(text.as_bytes());
}
