//! tmp
pub enum Dialect { Discord }
pub fn pieces(markdown: &str, _: Dialect, max: usize, unit: nanoclaw_channel::split::Unit) -> Vec<String> { nanoclaw_channel::split::split(markdown, max, unit) }
