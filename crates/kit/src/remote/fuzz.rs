//! Frames of any bytes.

use super::wire::Frame;
use futures_util::FutureExt as _;

/// What is read as a frame is written and read as the same.
pub fn remote(data: &[u8]) {
    let mut from = data;
    while let Some(frame) = read(&mut from) {
        let said = format!("{frame:?}");
        let Ok(bytes) = frame.encode() else { continue };
        let mut bytes = bytes.as_slice();
        let again = read(&mut bytes).map(|frame| format!("{frame:?}"));
        assert_eq!(again, Some(said));
        assert!(bytes.is_empty(), "more is written than is read");
    }
}

fn read(from: &mut &[u8]) -> Option<Frame> {
    Frame::read(from).now_or_never()?.ok()?
}
