//! Prices, as data with a date; the owner's own list takes its place.

use super::Usage;
use crate::VaultError;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

const OURS: &str = include_str!("prices.json");
/// Writing a cache for five minutes or an hour, as a multiple of the price of input.
const CACHE_WRITE: f64 = 1.25;
const CACHE_WRITE_LONG: f64 = 2.0;

/// What models cost, in dollars per million tokens.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// The day on which they were right.
    pub as_of: String,
    models: BTreeMap<String, Price>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Price {
    input: f64,
    output: f64,
    cached: f64,
    long: Option<Long>,
}

/// Another price for a call whose prompt is longer.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Long {
    above: u64,
    times: f64,
}

impl Prices {
    /// The list that comes with this program.
    pub(crate) fn ours() -> Self {
        serde_json::from_str(OURS).unwrap_or_default()
    }

    /// The owner's list in the vault's folder, in the same form, or ours.
    pub fn of(dir: &Path) -> Result<Self, VaultError> {
        let file = dir.join("prices.json");
        let wrong = |e: &dyn Display| VaultError::Refused(format!("{}: {e}", file.display()));
        match fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text).map_err(|e| wrong(&e)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Self::ours()),
            Err(e) => Err(wrong(&e)),
        }
    }

    /// Millionths of a dollar, rounded up.
    pub(super) fn cost(&self, model: &str, usage: &Usage) -> u64 {
        let price = self.price(model);
        let input = usage.input as f64
            + CACHE_WRITE * usage.cache_write as f64
            + CACHE_WRITE_LONG * usage.cache_write_long as f64;
        let prompt = usage.input + usage.cache_write + usage.cache_write_long + usage.cache_read;
        let times = price.long.filter(|long| prompt > long.above).map_or(1.0, |long| long.times);
        let cost = input * price.input
            + usage.cache_read as f64 * price.cached
            + usage.output as f64 * price.output;
        (cost * times).ceil() as u64
    }

    fn price(&self, model: &str) -> Price {
        let vendor = model.rsplit_once('/').map_or(model, |(_, name)| name);
        let known = self.models.iter().find(|(name, _)| {
            vendor.strip_prefix(name.as_str()).is_some_and(|rest| {
                let dated = rest.strip_prefix('-').unwrap_or_default();
                let date =
                    dated.len() >= 8 && dated.bytes().all(|b| b.is_ascii_digit() || b == b'-');
                rest.is_empty() || date || matches!(rest, "-latest" | "[1m]")
            })
        });
        let dearest = |a: Price, b: &Price| Price {
            input: a.input.max(b.input),
            output: a.output.max(b.output),
            cached: a.cached.max(b.cached),
            long: None,
        };
        known.map_or_else(
            || self.models.values().fold(Price::default(), dearest),
            |(_, price)| *price,
        )
    }
}
