//! The scrub: what was injected into a request does not come back to the box, its placeholder does.

use super::unpack::Unpack;
use super::window::{Needles, Window};
use super::{BoxError, Cut};
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue};
use hyper::{HeaderMap, Response};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

/// An answer is unpacked and searched in steps of this size, so that nobody waits long for one.
const STEP: usize = 16 << 10;

/// What must not come back from one request, and how often it tried to.
#[derive(Clone)]
pub struct Scrub {
    needles: Arc<Needles>,
    finds: Arc<AtomicU64>,
}

impl Scrub {
    /// For one exchange; the needles of the same secrets can be shared by many.
    pub fn new(needles: Arc<Needles>) -> Self {
        Self { needles, finds: Arc::default() }
    }

    /// How much was replaced so far: more than nothing is an alarm.
    pub fn finds(&self) -> u64 {
        self.finds.load(Ordering::Relaxed)
    }

    /// Replaces in the values of headers or trailers; a name that holds it goes.
    pub fn headers(&self, headers: &mut HeaderMap) {
        let mut gone = Vec::new();
        for (name, value) in headers.iter_mut() {
            if self.needles.replaced(name.as_str().as_bytes()).is_some() {
                gone.push(name.clone());
            }
            let Some((shown, finds)) = self.needles.replaced(value.as_bytes()) else { continue };
            self.found(finds);
            *value = HeaderValue::from_bytes(&shown).unwrap_or(HeaderValue::from_static(""));
        }
        for name in gone {
            self.found(1);
            headers.remove(name);
        }
    }

    /// An answer of which the box may see every byte that comes out.
    pub fn answer<B>(&self, answer: Response<B>) -> Result<Response<Scrubbed<B>>, Cut> {
        let (mut parts, body) = answer.into_parts();
        self.headers(&mut parts.headers);
        let codings: Vec<_> = parts.headers.get_all(CONTENT_ENCODING).iter().collect();
        let coding = match codings[..] {
            [] => "",
            [one] => one.to_str().unwrap_or("?"),
            _ => "several codings",
        };
        let unpack = Unpack::new(coding)?;
        if unpack.is_some() {
            parts.headers.remove(CONTENT_ENCODING);
            parts.headers.remove(CONTENT_LENGTH);
        }
        Ok(Response::from_parts(parts, self.body(body, unpack)))
    }

    fn body<B>(&self, body: B, unpack: Option<Unpack>) -> Scrubbed<B> {
        let window = self.window();
        let (came, last) = (Bytes::new(), VecDeque::new());
        Scrubbed { body, unpack, came, window, scrub: self.clone(), last, ended: false }
    }

    /// The same for a text that is there as a whole.
    pub fn text(&self, text: Bytes) -> Bytes {
        let Some((shown, finds)) = self.needles.replaced(&text) else { return text };
        self.found(finds);
        shown.into()
    }

    /// For what is not an HTTP body.
    pub fn window(&self) -> Window {
        Window::new(Arc::clone(&self.needles))
    }

    /// What a window found in the end counts.
    pub fn found(&self, finds: u64) {
        self.finds.fetch_add(finds, Ordering::Relaxed);
    }
}

/// An answer's body on its way back. It ends with an error rather than let through what was not searched.
pub struct Scrubbed<B> {
    body: B,
    unpack: Option<Unpack>,
    /// What came and was not looked at yet.
    came: Bytes,
    window: Window,
    scrub: Scrub,
    /// What follows when the body has ended.
    last: VecDeque<Frame<Bytes>>,
    ended: bool,
}

impl<B> Scrubbed<B> {
    fn pass(&mut self, data: Bytes) -> Bytes {
        let data = self.window.push(data);
        self.scrub.found(std::mem::take(&mut self.window.finds));
        data
    }

    /// What came, searched: at once, or the next step if it is packed.
    fn step(&mut self) -> Result<Bytes, Cut> {
        let piece = self.came.split_to(self.came.len().min(STEP));
        let Some(unpack) = &mut self.unpack else { return Ok(self.pass(piece)) };
        let data = unpack.push(&piece).inspect_err(|_| self.ended = true)?;
        Ok(self.pass(data.into()))
    }

    fn end(&mut self, trailers: Option<Frame<Bytes>>) -> Result<(), Cut> {
        self.ended = true;
        let rest = self.unpack.as_mut().map(Unpack::finish).transpose()?.unwrap_or_default();
        for data in [self.pass(rest.into()), self.window.finish()] {
            if !data.is_empty() {
                self.last.push_back(Frame::data(data));
            }
        }
        if let Some(mut headers) = trailers.and_then(|frame| frame.into_trailers().ok()) {
            self.scrub.headers(&mut headers);
            self.last.push_back(Frame::trailers(headers));
        }
        Ok(())
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Body for Scrubbed<B> {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = &mut *self;
        loop {
            if this.ended {
                return Poll::Ready(this.last.pop_front().map(Ok));
            }
            if this.came.is_empty() {
                let next = ready!(Pin::new(&mut this.body).poll_frame(cx));
                match next.map(|frame| frame.map(Frame::into_data)) {
                    Some(Ok(Ok(data))) => this.came = data,
                    Some(Ok(Err(trailers))) => this.end(Some(trailers))?,
                    None => this.end(None)?,
                    Some(Err(e)) => {
                        this.ended = true;
                        return Poll::Ready(Some(Err(Cut::Sender(e.into()))));
                    }
                }
                continue;
            }
            let data = this.step()?;
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let last = if self.ended { self.last.is_empty() } else { self.body.is_end_stream() };
        last && self.unpack.is_none() && self.window.is_empty() && self.came.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.unpack.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}
