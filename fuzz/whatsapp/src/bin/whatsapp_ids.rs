#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| nanoclaw_channel_whatsapp::fuzz::ids(data));
