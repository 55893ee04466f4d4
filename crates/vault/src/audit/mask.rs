//! A request's target as the log shows it.

use sha2::{Digest as _, Sha256};

const TARGET_MAX: usize = 2048;
const VALUE_MAX: usize = 64;
const SECRET: [&str; 11] = [
    "token",
    "key",
    "secret",
    "sig",
    "password",
    "passwd",
    "code",
    "auth",
    "jwt",
    "credential",
    "session",
];

/// Keys of the query stay; of values that look secret nothing does, of long ones a fingerprint.
pub fn masked(target: &str) -> String {
    let (path, query) = target.split_once('?').unzip();
    let mut shown = cut(path.unwrap_or(target)).to_owned();
    for (at, pair) in query.unwrap_or_default().split('&').filter(|p| !p.is_empty()).enumerate() {
        shown.push(if at == 0 { '?' } else { '&' });
        let (name, value) = pair.split_once('=').unzip();
        let name = name.unwrap_or(pair);
        shown.push_str(name.get(..VALUE_MAX).unwrap_or(name));
        let Some(value) = value else { continue };
        shown.push('=');
        if looks_secret(name) {
            shown.push_str("***");
        } else if value.len() > VALUE_MAX {
            let digest: String =
                Sha256::digest(value).iter().take(8).map(|b| format!("{b:02x}")).collect();
            shown.push_str("sha256:");
            shown.push_str(&digest);
        } else {
            shown.push_str(value);
        }
        if shown.len() > TARGET_MAX {
            break;
        }
    }
    if shown.len() > TARGET_MAX { format!("{}…", cut(&shown)) } else { shown }
}

/// Whether what stands under this name is not for everybody.
pub(crate) fn looks_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    SECRET.iter().any(|word| lower.contains(word))
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TARGET_MAX)]
}
