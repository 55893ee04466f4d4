//! What holds for any bytes: tried by the fuzzer and, a little, by the tests. No part of an ordinary build.

use crate::wire::{FILES_BYTES_MAX, Read, Request, read_line, unpack};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

#[cfg(test)]
mod tests;

/// Lines on the socket: what is read as a request is written and read as the same.
pub fn lines(data: &[u8]) {
    const MAX: usize = 1 << 16;
    let mut from = data;
    loop {
        let reading = pin!(read_line(&mut from, MAX));
        // Bytes in memory are always there.
        let Poll::Ready(read) = reading.poll(&mut Context::from_waker(Waker::noop())) else {
            return;
        };
        let Ok(Read::Line(line)) = read else { return };
        assert!(line.len() <= MAX + 1, "a line of {}", line.len());
        let Ok(request) = Request::parse(&line) else { continue };
        let again = serde_json::to_vec(&request).map(|line| Request::parse(&line));
        assert!(again.is_ok_and(|again| again.as_ref() == Ok(&request)), "{request:?}");
        if let Request::Say(say) = request
            && let Ok(files) = unpack(say.files)
        {
            assert!(files.iter().map(|file| file.bytes.len()).sum::<usize>() <= FILES_BYTES_MAX);
        }
    }
}
