//! `install/host` with every channel, made by what the skills say: two lines for each, and nothing else.

include!(concat!(env!("OUT_DIR"), "/main.rs"));
