//! The host's log file: rotated when the host starts, shown and followed on request.

use crate::{During as _, Error};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A log that is larger than this is put aside at the next start.
const ROTATE_BYTES: u64 = 10 << 20;
/// Most of the file that is read to show its end.
const TAIL_BYTES: u64 = 4 << 20;
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

/// The log of an install.
pub fn path(logs: &Path) -> PathBuf {
    logs.join("nanoclaw.log")
}

/// Opens the log for appending; puts a large one aside as `nanoclaw.log.1`.
pub fn open(logs: &Path) -> Result<File, Error> {
    std::fs::create_dir_all(logs).during(format_args!("create {}", logs.display()))?;
    let log = path(logs);
    if log.metadata().is_ok_and(|meta| meta.len() > ROTATE_BYTES) {
        let aside = logs.join("nanoclaw.log.1");
        std::fs::rename(&log, &aside).during(format_args!("rename {}", log.display()))?;
    }
    File::options()
        .create(true)
        .append(true)
        .open(&log)
        .during(format_args!("open {}", log.display()))
}

/// The last `lines` lines of a file; nothing if it cannot be read.
pub fn tail(file: &Path, lines: usize) -> String {
    let Ok(mut file) = File::open(file) else { return String::new() };
    let length = file.metadata().map_or(0, |meta| meta.len());
    let mut bytes = Vec::new();
    let from = SeekFrom::Start(length.saturating_sub(TAIL_BYTES));
    if file.seek(from).is_err() || file.take(TAIL_BYTES).read_to_end(&mut bytes).is_err() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    let mut end = all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n");
    if !end.is_empty() {
        end.push('\n');
    }
    end
}

/// Prints the last `lines` lines and then, for as long as `out` takes them, the new ones.
pub fn show(logs: &Path, lines: usize, follow: bool, out: &mut dyn Write) -> Result<(), Error> {
    let log = path(logs);
    let meta = log.metadata();
    if meta.is_err() && !follow {
        return Err(
            Error::new(format!("{} is not there yet", log.display())).next("nanoclaw start")
        );
    }
    let mut seen = meta.map_or(0, |meta| meta.len());
    if out.write_all(tail(&log, lines).as_bytes()).is_err() || !follow {
        return Ok(());
    }
    loop {
        std::thread::sleep(FOLLOW_EVERY);
        let length = log.metadata().map_or(0, |meta| meta.len());
        // A shorter file is a new one.
        seen = if length < seen { 0 } else { seen };
        if length > seen {
            let new = read_from(&log, seen).during("read the log")?;
            seen += new.len() as u64;
            if out.write_all(&new).and_then(|()| out.flush()).is_err() {
                return Ok(());
            }
        }
    }
}

fn read_from(log: &Path, at: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(log)?;
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
