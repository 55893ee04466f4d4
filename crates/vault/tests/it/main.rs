//! The vault as a real process behind real sockets, in front of a fake upstream.

// Marked so that helpers may unwrap like the tests themselves.
#[cfg(test)]
mod kit;
#[cfg(test)]
mod life;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod tunnels;
#[cfg(test)]
mod web;
