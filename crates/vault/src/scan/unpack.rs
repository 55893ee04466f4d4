//! Answers that are packed although nobody asked for it are unpacked as they come, within limits.
//!
//! Zstandard is not among them: a block of 128 KiB may become gigabytes, and the library that unpacks it looks at
//! neither that nor its own sums before it has done so.

use super::Cut;
use brotli_decompressor::DecompressorWriter;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use std::io::{self, Write};

/// How much larger than what came an answer may become …
pub(super) const RATIO_MAX: u64 = 100;
/// … once it is larger than this …
const FREE: u64 = 1 << 20;
/// … and how large at all.
pub(super) const BYTES_MAX: u64 = 1 << 30;
const BROTLI_BUFFER: usize = 16 << 10;

/// Where unpacked bytes go: full before memory is.
#[derive(Default)]
struct Out {
    ready: Vec<u8>,
    came: u64,
    made: u64,
    full: bool,
}

impl Out {
    fn allowed(&self) -> u64 {
        self.came.saturating_mul(RATIO_MAX).clamp(FREE, BYTES_MAX)
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.made += bytes.len() as u64;
        if self.made > self.allowed() {
            self.full = true;
            return Err(io::Error::other("more than it may be"));
        }
        self.ready.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A decoder that is fed.
pub(super) struct Unpack {
    coding: &'static str,
    kind: Kind,
}

enum Kind {
    Gzip(Box<MultiGzDecoder<Out>>),
    /// "deflate" means zlib, and some send it bare: the first byte tells.
    Unknown,
    Zlib(Box<ZlibDecoder<Out>>),
    Bare(Box<DeflateDecoder<Out>>),
    Brotli(Box<DecompressorWriter<Out>>),
}

impl Unpack {
    /// For what `Content-Encoding` says; nothing when the body is not packed.
    pub(super) fn new(coding: &str) -> Result<Option<Self>, Cut> {
        let out = Out::default();
        let (coding, kind) = match coding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => return Ok(None),
            "gzip" | "x-gzip" => ("gzip", Kind::Gzip(Box::new(MultiGzDecoder::new(out)))),
            "deflate" => ("deflate", Kind::Unknown),
            "br" => ("brotli", Kind::Brotli(Box::new(DecompressorWriter::new(out, BROTLI_BUFFER)))),
            other => return Err(Cut::Coding(other.to_owned())),
        };
        Ok(Some(Self { coding, kind }))
    }

    /// What this piece becomes.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<Vec<u8>, Cut> {
        if let (Kind::Unknown, Some(first)) = (&self.kind, piece.first()) {
            self.kind = if first & 0x0f == 8 {
                Kind::Zlib(Box::new(ZlibDecoder::new(Out::default())))
            } else {
                Kind::Bare(Box::new(DeflateDecoder::new(Out::default())))
            };
        }
        let Some(out) = self.out() else { return Ok(Vec::new()) };
        out.came += piece.len() as u64;
        let fed = match &mut self.kind {
            Kind::Gzip(d) => d.write_all(piece).and_then(|()| d.flush()),
            Kind::Zlib(d) => d.write_all(piece).and_then(|()| d.flush()),
            Kind::Bare(d) => d.write_all(piece).and_then(|()| d.flush()),
            Kind::Brotli(d) => d.write_all(piece).and_then(|()| d.flush()),
            Kind::Unknown => Ok(()),
        };
        self.made(fed)
    }

    /// What was left, if the end is really the end.
    pub(super) fn finish(&mut self) -> Result<Vec<u8>, Cut> {
        // An answer to HEAD says how it would be packed and has no body.
        if self.out().is_none_or(|out| out.came == 0) {
            return Ok(Vec::new());
        }
        let ended = match &mut self.kind {
            Kind::Gzip(d) => d.try_finish(),
            Kind::Zlib(d) => d.try_finish(),
            Kind::Bare(d) => d.try_finish(),
            Kind::Brotli(d) => d.close(),
            Kind::Unknown => Ok(()),
        };
        self.made(ended)
    }

    fn made(&mut self, done: io::Result<()>) -> Result<Vec<u8>, Cut> {
        let coding = self.coding;
        let Some(out) = self.out() else { return Ok(Vec::new()) };
        match done {
            Ok(()) => Ok(std::mem::take(&mut out.ready)),
            Err(_) if out.full => Err(Cut::Bomb),
            Err(_) => Err(Cut::Broken(coding)),
        }
    }

    fn out(&mut self) -> Option<&mut Out> {
        match &mut self.kind {
            Kind::Gzip(d) => Some(d.get_mut()),
            Kind::Zlib(d) => Some(d.get_mut()),
            Kind::Bare(d) => Some(d.get_mut()),
            Kind::Brotli(d) => Some(d.get_mut()),
            Kind::Unknown => None,
        }
    }
}
