//! Signatures of webhooks: made, compared and dated.

use hmac::{Hmac, Mac as _};
use nanoclaw_channel::time::Timestamp;
use sha2::Sha256;
use std::time::Duration;
use subtle::ConstantTimeEq as _;

#[cfg(test)]
mod tests;

/// The HMAC of the parts, one behind the other.
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key is a key");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Whether both are the same, found in a time that tells nothing.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// In hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |d: u8| char::from_digit(u32::from(d), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// From hexadecimal digits, of either case.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = digits.filter(|d| d.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// Whether a signed time is near enough, on either side: an older one may be somebody's recording.
pub fn fresh(timestamp_s: i64, now: Timestamp, within: Duration) -> bool {
    now.as_second().abs_diff(timestamp_s) <= within.as_secs()
}
