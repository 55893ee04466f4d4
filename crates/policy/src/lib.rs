//! What a box may ask of the world: pure decisions, no clock, no file, no socket.
//!
//! ```text
//! head of a request ─▶ authority, target (read once, or refused)
//!                          │
//! policy.toml ─▶ file ─▶ decide ─▶ Decision: allow, block or ask; how it is carried; what is counted
//!                          ▲
//! answers of DNS ─▶ address (may this be dialled?)            rates (is it too much?)
//! ```
//!
//! What cannot be read in one way only is refused, and every doubt is decided against the box. Nothing here
//! fails open, looks anything up, or takes more than linear time. Read next: [`Policy::decide`].

pub mod address;
mod authority;
mod decide;
mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod glob;
mod rates;
mod target;
mod url;

pub use authority::{Authority, BadAuthority, Host};
pub use decide::{Asking, Bound, Carry, Decision, METHOD_HEADERS, Verdict, status};
pub use file::{
    Action, AgentNames, Auth, BadPolicy, Budget, HostService, Limit, Mode, Period, Policy, Rate,
    Who,
};
pub use glob::{AgentPattern, BadPattern, HostPattern, PathPattern};
pub use rates::{Kept, Rates, TooMuch};
pub use target::{BadTarget, Target};
pub use url::url;
