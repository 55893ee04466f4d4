//! A body on its way, either way: counted, limited, timed, and cut when its secret is taken back.
//!
//! Nothing is held: a piece that comes goes on. What has to happen when a body ends (whichever way) is kept in
//! it and dropped with it. Read next: `exchange`.

use crate::audit::Record;
use crate::meter::Metered;
use crate::scan::Scrub;
use crate::{Body, BoxError};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, SizeHint};
use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

/// A sender that is slower than this over a whole [`Limits::idle`] is as good as silent.
const SLOW_BYTES: u64 = 64;
/// After so many bytes at a stretch others have their turn: to search them takes time.
const STRETCH: usize = 16 << 10;

/// Why a body was cut.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
    #[error("a body has at most {0} bytes here")]
    TooLong(u64),
    #[error("nothing came for {} seconds", .0.as_secs())]
    Idle(Duration),
    #[error("the secret behind this answer was taken back")]
    Revoked,
}

/// What a body may do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) bytes: u64,
    pub(crate) idle: Duration,
    /// Some bytes are not enough, it must move.
    pub(crate) steady: bool,
}

impl Limits {
    /// For what is here already.
    pub(crate) const NONE: Self =
        Self { bytes: u64::MAX, idle: Duration::from_secs(24 * 60 * 60), steady: false };
}

/// What is noted of an exchange when its answer ends, however it ends.
pub(crate) struct Noted {
    pub(crate) record: Record,
    /// Bytes that the box sent.
    pub(crate) sent: Arc<AtomicU64>,
    pub(crate) scrub: Option<Scrub>,
}

pub(crate) struct Flow {
    inner: Body,
    noted: Option<Noted>,
    metered: Option<Metered>,
    limits: Limits,
    seen: Arc<AtomicU64>,
    whole: Option<Arc<AtomicBool>>,
    cut: Option<oneshot::Receiver<()>>,
    timer: Pin<Box<Sleep>>,
    since: u64,
    stretch: usize,
    /// Dropped with the body.
    _kept: Vec<Box<dyn Any + Send>>,
}

impl Flow {
    pub(crate) fn new(inner: Body, limits: Limits, seen: Arc<AtomicU64>) -> Self {
        let timer = Box::pin(tokio::time::sleep(limits.idle));
        Self {
            inner,
            noted: None,
            metered: None,
            limits,
            seen,
            whole: None,
            cut: None,
            timer,
            since: 0,
            stretch: 0,
            _kept: Vec::new(),
        }
    }

    /// Turns true when the body came to its end.
    pub(crate) fn tells(mut self, whole: Arc<AtomicBool>) -> Self {
        whole.store(self.inner.is_end_stream(), Ordering::Release);
        self.whole = Some(whole);
        self
    }

    pub(crate) fn cut_by(mut self, cut: Option<oneshot::Receiver<()>>) -> Self {
        self.cut = cut;
        self
    }

    pub(crate) fn noted(mut self, noted: Noted) -> Self {
        self.noted = Some(noted);
        self
    }

    pub(crate) fn metered(mut self, metered: Option<Metered>) -> Self {
        self.metered = metered;
        self
    }

    pub(crate) fn keeps(mut self, what: impl Any + Send) -> Self {
        self._kept.push(Box::new(what));
        self
    }

    pub(crate) fn into_body(self) -> Body {
        self.boxed_unsync()
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(cut) = &mut self.cut
            && let Poll::Ready(cut) = Pin::new(cut).poll(cx)
        {
            self.cut = None;
            if cut.is_ok() {
                return Poll::Ready(Some(Err(Stopped::Revoked.into())));
            }
        }
        if self.stretch >= STRETCH {
            self.stretch = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(match self.count(&frame) {
                Ok(()) => Ok(frame),
                Err(stopped) => Err(stopped.into()),
            })),
            Poll::Ready(end) => {
                if let (None, Some(whole)) = (&end, &self.whole) {
                    whole.store(true, Ordering::Release);
                }
                Poll::Ready(end)
            }
            Poll::Pending => match self.timer.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Some(Err(Stopped::Idle(self.limits.idle).into()))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn count(&mut self, frame: &Frame<Bytes>) -> Result<(), Stopped> {
        let data = frame.data_ref().map_or(&b""[..], |data| data);
        if let Some(metered) = &mut self.metered {
            metered.push(data);
        }
        self.stretch += data.len();
        let more = data.len() as u64;
        let seen = self.seen.fetch_add(more, Ordering::Relaxed) + more;
        if seen > self.limits.bytes {
            return Err(Stopped::TooLong(self.limits.bytes));
        }
        if !self.limits.steady || seen - self.since >= SLOW_BYTES {
            self.since = seen;
            self.timer.as_mut().reset(Instant::now() + self.limits.idle);
        }
        Ok(())
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        let tokens = self.metered.take().map_or(0, Metered::end);
        if let Some(Noted { record, sent, scrub }) = &mut self.noted {
            let entry = &mut record.entry;
            (entry.up, entry.down) =
                (sent.load(Ordering::Relaxed), self.seen.load(Ordering::Relaxed));
            (entry.tokens, entry.scrubbed) = (tokens, scrub.as_ref().map_or(0, Scrub::finds));
        }
    }
}

impl hyper::body::Body for Flow {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let next = self.next(cx);
        if let (Poll::Ready(Some(Err(e))), Some(noted)) = (&next, &mut self.noted) {
            noted.record.entry.error = Some(e.to_string());
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests;
