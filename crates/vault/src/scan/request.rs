//! The tripwire: a placeholder that leaves a box anywhere but in its slot is a leak, of this agent's or, worse, of
//! another's.

use super::window::Set;
use super::{BoxError, Cut};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::CONTENT_ENCODING;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use zeroize::Zeroizing;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Whose a placeholder is and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub agent: String,
    pub secret: String,
}

/// A placeholder where it has no business.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the placeholder of the secret {:?} stands in the {place} of this request, where it does not belong: it is \
     exchanged only at the hosts and in the place that the secret is bound to", mark.secret
)]
pub struct Leak {
    pub mark: Mark,
    /// Where it stood: "target", a header's name, "body" …
    pub place: String,
}

/// Every placeholder of every agent.
pub struct Tripwire {
    set: Set,
    marks: Vec<Mark>,
}

impl Tripwire {
    /// Of these placeholders.
    pub fn new(dummies: impl IntoIterator<Item = (String, Mark)>) -> Self {
        let dummies = dummies.into_iter().filter(|(text, _)| !text.is_empty());
        let (texts, marks): (Vec<_>, _) =
            dummies.map(|(text, mark)| (Zeroizing::new(text.into_bytes()), mark)).unzip();
        // Names of hosts lose their case on the way.
        Self { set: Set::new(texts, true), marks }
    }

    /// Looks through one piece of text that is there as a whole.
    pub fn look(&self, place: &str, text: &[u8]) -> Result<(), Leak> {
        self.set.find(text).map_or(Ok(()), |which| Err(self.leak(which, place)))
    }

    /// Looks through a head from which the slots that may hold a placeholder are gone.
    pub fn head(&self, target: &str, headers: &HeaderMap) -> Result<(), Leak> {
        if self.marks.is_empty() {
            return Ok(());
        }
        self.look("target", target.as_bytes())?;
        if target.contains('%') {
            self.look("target", &unescaped(target.as_bytes()))?;
        }
        for (name, value) in headers {
            self.look("header names", name.as_str().as_bytes())?;
            self.look(name.as_str(), value.as_bytes())?;
            // "Basic" and whatever else is written so: `user:placeholder`.
            let words = value.as_bytes().split(u8::is_ascii_whitespace).skip(1);
            for decoded in words.filter_map(|word| LENIENT.decode(word).ok()) {
                self.look(name.as_str(), &decoded)?;
            }
        }
        Ok(())
    }

    fn leak(&self, which: usize, place: &str) -> Leak {
        Leak { mark: self.marks[which].clone(), place: place.to_owned() }
    }
}

/// Without the escapes of a URL.
pub(crate) fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                plain.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            _ => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    plain
}

/// Whether a body with these headers can be searched: packed ones cannot.
pub fn scannable(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    codings.all(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// One stream on its way past the tripwire. Of a placeholder it never lets the last byte through.
pub struct Watch {
    tripwire: Arc<Tripwire>,
    held: Vec<u8>,
}

impl Watch {
    pub fn new(tripwire: Arc<Tripwire>) -> Self {
        Self { tripwire, held: Vec::new() }
    }

    /// What may go on now that this came.
    pub fn push(&mut self, next: Bytes) -> Result<Bytes, Leak> {
        let mut text = if self.held.is_empty() {
            next
        } else {
            [&std::mem::take(&mut self.held)[..], &next].concat().into()
        };
        self.tripwire.look("body", &text)?;
        self.held = text.split_off(text.len() - self.tripwire.set.open(&text)).to_vec();
        Ok(text)
    }

    /// The rest: the stream has ended, so nothing can complete what was held back.
    pub fn finish(&mut self) -> Bytes {
        std::mem::take(&mut self.held).into()
    }
}

/// A request's body on its way past the tripwire.
pub struct Guarded<B> {
    body: B,
    watch: Watch,
    then: Option<Frame<Bytes>>,
}

impl<B> Guarded<B> {
    pub fn new(body: B, tripwire: Arc<Tripwire>) -> Self {
        Self { body, watch: Watch::new(tripwire), then: None }
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Body for Guarded<B> {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = &mut *self;
        if let Some(then) = this.then.take() {
            return Poll::Ready(Some(Ok(then)));
        }
        loop {
            let next = ready!(Pin::new(&mut this.body).poll_frame(cx));
            let text = match next.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => this.watch.push(data)?,
                Some(Ok(Err(trailers))) => {
                    for (_, value) in trailers.trailers_ref().into_iter().flatten() {
                        this.watch.tripwire.look("trailers", value.as_bytes())?;
                    }
                    let rest = this.watch.finish();
                    if rest.is_empty() {
                        return Poll::Ready(Some(Ok(trailers)));
                    }
                    this.then = Some(trailers);
                    rest
                }
                Some(Err(e)) => return Poll::Ready(Some(Err(Cut::Sender(e.into())))),
                None if this.watch.held.is_empty() => return Poll::Ready(None),
                None => this.watch.finish(),
            };
            if !text.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(text))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.watch.held.is_empty() && self.then.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
