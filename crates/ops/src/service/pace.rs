//! A host that ends badly again and again is started more and more slowly.
//!
//! Whatever looks after services starts a host again at once, and each start greets every platform anew:
//! they bar who greets too often. Where a person starts it, nothing waits. Next: [`super::Lock`].

use crate::{During as _, Error};
use nanoclaw_contract::time::{Clock, Timestamp};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Starts that lie closer together count as one row of them.
const WINDOW: Duration = Duration::from_secs(3600);
/// Seconds before the first start of a row, the second, and so on; the last one from there on.
const WAITS: [u64; 7] = [0, 0, 10, 30, 120, 300, 900];

#[derive(Serialize, Deserialize)]
struct Row {
    starts: usize,
    at: Timestamp,
}

fn file(data: &Path) -> PathBuf {
    data.join("run/starts.json")
}

/// Notes a start, and says how long to wait before it. A note that cannot be read is none.
pub fn begun(data: &Path, clock: &dyn Clock) -> Result<Duration, Error> {
    let (path, at) = (file(data), clock.now());
    let before =
        std::fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Row>(&text).ok());
    let before = before.filter(|row| {
        Duration::try_from(at.duration_since(row.at)).is_ok_and(|passed| passed < WINDOW)
    });
    let starts = before.map_or(0, |row| row.starts).saturating_add(1);
    let text = serde_json::to_string(&Row { starts, at }).during("note the start")?;
    std::fs::create_dir_all(data.join("run"))
        .and_then(|()| std::fs::write(&path, text))
        .during(format_args!("write {}", path.display()))?;
    Ok(Duration::from_secs(WAITS[starts.min(WAITS.len()) - 1]))
}

/// The host ended as it was told to: the next start is the first of a row.
pub fn ended(data: &Path) {
    // Not there, or not to be removed: then the next start waits without need.
    drop(std::fs::remove_file(file(data)));
}

#[cfg(test)]
mod tests;
