//! The usual writings of a value: as it is, base64, hex, in a URL, in JSON.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// What is shorter is found by chance, except the value itself.
const SHORTEST: usize = 8;

/// What to look for, and what to put there; both are equally long.
pub(super) type Pair = (Zeroizing<Vec<u8>>, Vec<u8>);

/// Every writing of `value`, each with the same writing of `dummy`.
pub(super) fn all(value: &[u8], dummy: &[u8]) -> Vec<Pair> {
    let mut dummy = dummy.to_vec();
    dummy.resize(value.len(), b'x');
    let mut pairs: Vec<Pair> = Vec::new();
    let writings = writings(value).into_iter().zip(writings(&dummy));
    for (at, (real, mut shown)) in writings.enumerate() {
        let usable = if at == 0 { !real.is_empty() } else { real.len() >= SHORTEST };
        if usable && pairs.iter().all(|(known, _)| **known != real) {
            shown.resize(real.len(), b'x');
            pairs.push((Zeroizing::new(real), shown));
        }
    }
    pairs
}

fn writings(value: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![value.to_vec()];
    for before in 0..3 {
        let padded = [&[0; 2][..before], value].concat();
        // The first letters hold bits of what stands before, the last one may hold bits of what follows.
        let (from, to) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
        for text in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
            all.push(text.as_bytes().get(from..to).unwrap_or_default().to_vec());
        }
    }
    let spelled = |write: fn(u8) -> String| {
        value.iter().map(|byte| write(*byte)).collect::<String>().into_bytes()
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let url = |escaped: Vec<u8>| {
        let bytes = value.iter().zip(escaped.chunks(3));
        bytes
            .flat_map(|(byte, escape)| if plain(*byte) { vec![*byte] } else { escape.to_vec() })
            .collect()
    };
    all.push(spelled(|byte| format!("{byte:02x}")));
    all.push(spelled(|byte| format!("{byte:02X}")));
    all.push(spelled(|byte| format!("%{byte:02x}")));
    all.push(spelled(|byte| format!("%{byte:02X}")));
    // As names of hosts and of headers are written.
    all.push(value.to_ascii_lowercase());
    all.push(url(spelled(|byte| format!("%{byte:02x}"))));
    all.push(url(spelled(|byte| format!("%{byte:02X}"))));
    let json = serde_json::to_string(&String::from_utf8_lossy(value)).unwrap_or_default();
    let json = json.trim_start_matches('"').strip_suffix('"').unwrap_or_default().to_owned();
    all.push(json.replace('/', "\\/").into_bytes());
    all.push(json.into_bytes());
    all
}
