#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| nanoclaw_channel::fuzz::split(data));
