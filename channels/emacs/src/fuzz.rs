//! What holds for any bytes: tried by the fuzzer and, a little, by the tests. No part of an ordinary build.

use crate::FILE_IN_MAX;
use crate::serve::file;
use crate::wire::{Entry, Said};
use nanoclaw_channel::ids::is_safe_name;

#[cfg(test)]
mod tests;

/// What Emacs says: files have usable names and are there, or it is said why not.
pub fn said(data: &[u8]) {
    if let Ok(said) = serde_json::from_slice::<Said>(data) {
        for file in said.files.into_iter().map(file) {
            assert!(is_safe_name(&file.name), "{:?}", file.name);
            assert!(file.bytes.len() as u64 <= FILE_IN_MAX, "{}", file.bytes.len());
            assert!(file.missing.is_none() || file.bytes.is_empty());
        }
    }
    if let Ok(entry) = serde_json::from_slice::<Entry>(data) {
        let again = serde_json::to_vec(&entry).map(|text| serde_json::from_slice(&text));
        assert!(again.is_ok_and(|again| again.is_ok_and(|again: Entry| again == entry)));
    }
}
