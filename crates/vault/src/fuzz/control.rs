//! What is said on the control socket.

use super::RUNTIME;
use crate::approvals::Decision;
use crate::serve::{Ask, Reply};
use crate::socket;
use serde::{Serialize, de::DeserializeOwned};

/// Lines that come over and over, as often as the first byte says: what is read is written and read as the same,
/// a line without an end or one too long ends it, and a passphrase is never shown.
pub fn control(data: &[u8]) {
    let [times, text @ ..] = data else { return };
    let all = text.repeat(usize::from(times % 32) + 1);
    let (mut from, mut line, mut heard) = (all.as_slice(), Vec::new(), Vec::new());
    RUNTIME.block_on(async {
        while socket::line(&mut from, &mut line).await.is_ok() {
            heard.push(line.clone());
        }
    });
    assert!(line.len() <= 64 << 10, "a line has an end");
    let lines = all.split_inclusive(|byte| *byte == b'\n');
    let said: Vec<_> = lines.take_while(|l| l.ends_with(b"\n") && l.len() <= 64 << 10).collect();
    assert_eq!(heard, said);
    heard.truncate(64);
    for line in heard {
        if let Some(ask) = same::<Ask>(&line)
            && matches!(ask, Ask::Unlock { .. })
        {
            assert_eq!(format!("{ask:?}"), "Unlock { passphrase: [passphrase] }");
        }
        same::<Reply>(&line);
        same::<Decision>(&line);
    }
}

fn same<T: DeserializeOwned + Serialize>(line: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(line).ok()?;
    let written = serde_json::to_vec(&read).unwrap_or_default();
    assert!(!written.contains(&b'\n'), "one line");
    let again = serde_json::from_slice::<T>(&written)
        .ok()
        .and_then(|again| serde_json::to_vec(&again).ok());
    assert_eq!(again.as_ref(), Some(&written));
    Some(read)
}
