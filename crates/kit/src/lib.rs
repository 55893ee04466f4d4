//! What the adapters of platforms share: HTTP, webhooks, durable state, pace, dialects, files.
//!
//! ```text
//! platform ── http, webhook, sign ──▶ adapter ──▶ Ingress
//!     ▲                                 │ store: what was seen, what was sent
//!     └── pace, backoff ◀── dialect ◀── Channel::send
//! ```
//!
//! Nothing here knows a platform beyond the way it writes text ([`dialect`]). An adapter needs of it what it
//! likes; the port itself is `nanoclaw-channel`.

pub mod backoff;
pub mod dialect;
pub mod emoji;
pub mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod http;
pub mod pace;
pub mod remote;
pub mod sign;
#[cfg(feature = "sqlite")]
pub mod store;
pub mod webhook;

pub use reqwest::{Method, StatusCode, header::HeaderMap};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A panic elsewhere leaves what is locked here whole: it is changed in one step each time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
