//! What goes by is searched: placeholders on their way out, secrets on their way back.
//!
//! ```text
//! box ─ request ─▶ Tripwire: a placeholder outside its slot ─▶ refused, and the body is cut before its last byte
//! upstream ─ answer ─▶ unpack ─▶ Scrub: what was injected, in any usual writing ─▶ its placeholder ─▶ box
//! ```
//!
//! Both search as the bytes pass and hold back only what may be the beginning of a find. A byte that was not
//! searched is never let through: whatever goes wrong cuts the stream. What an upstream does to a secret beyond
//! the usual writings (turning it round, say) is not found; a secret should go only to who is trusted with it.
//!
//! Read next: `window` for the search, `unpack` for packed answers, [`crate::ws`] for the same in frames.

mod forms;
mod request;
mod response;
mod unpack;
mod window;

pub(crate) use request::unescaped;
pub use request::{Guarded, Leak, Mark, Tripwire, Watch, scannable};
pub use response::{Scrub, Scrubbed};
pub use window::{Needles, Window};

use std::error::Error;

type BoxError = Box<dyn Error + Send + Sync>;

/// Why a stream ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum Cut {
    /// Whoever sends it failed.
    #[error("{0}")]
    Sender(#[source] BoxError),
    /// A placeholder stood where it has no business.
    #[error(transparent)]
    Leak(#[from] Leak),
    /// It cannot be searched: an unknown coding.
    #[error("the answer is packed as {0:?}, which cannot be searched")]
    Coding(String),
    /// It cannot be searched: not what it says it is.
    #[error("the answer is not valid {0}")]
    Broken(&'static str),
    /// It unpacks to too much.
    #[error("the answer unpacks to more than {} times its size or {} MiB", unpack::RATIO_MAX, unpack::BYTES_MAX >> 20)]
    Bomb,
}

#[cfg(test)]
mod tests;
