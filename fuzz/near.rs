//! Seeds with a few bytes changed: what the tests of each crate try in place of a fuzzer.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::path::Path;

/// A seed of a target, with changes.
pub(super) fn near(target: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = root.ancestors().map(|up| up.join("fuzz/seeds").join(target));
    let folder = folders.find(|folder| folder.is_dir()).expect("a folder with seeds");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let seeds: Vec<Vec<u8>> = files.map(|file| std::fs::read(file).unwrap()).collect();
    let change = (any::<Index>(), 0..5_u8, any::<u8>(), any::<Index>());
    (select(seeds), prop::collection::vec(change, 0..6)).prop_map(|(mut seed, changes)| {
        for (at, how, byte, other) in changes {
            let at = at.index(seed.len() + 1);
            match how {
                0 => seed.truncate(at),
                1 => seed.insert(at, byte),
                2 => seed.iter_mut().skip(at).take(1).for_each(|b| *b = byte),
                // Numbers at the edge of what a number may be.
                3 => drop(seed.splice(at..at, *b"-9223372036854775808")),
                _ => {
                    let (from, to) = (at.min(other.index(seed.len() + 1)), at);
                    drop(seed.drain(from..to));
                }
            }
        }
        seed
    })
}
