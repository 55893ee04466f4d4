//! What tests, benchmarks and nothing else use: a platform that keeps count, a clock that can be moved.

pub mod channel;
pub mod clock;
pub mod driver;
pub mod driver_conformance;
pub mod platform;
