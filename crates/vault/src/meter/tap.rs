//! Reads what an answer took, from JSON or a stream of events, without keeping either.
//!
//! Both vendors say it in an object called `usage`, at the top of an answer or in the `message` or `response` of an
//! event. Text that a model writes stands deeper, and inside strings, so it cannot pass for it.

use serde::Deserialize;

const WORD_MAX: usize = 128;
const OBJECT_MAX: usize = 4096;
/// More than any call takes; a larger number is a mistake.
const TOKENS_MAX: u64 = 1_000_000_000;

/// What one call took, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub input: u64,
    pub output: u64,
    /// Into the cache, for minutes.
    pub cache_write: u64,
    /// For an hour.
    pub cache_write_long: u64,
    pub cache_read: u64,
    /// The upstream said so.
    pub known: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Key {
    Usage,
    Model,
    /// What may hold both.
    Holder,
    #[default]
    Other,
}

/// One answer on its way.
#[derive(Default)]
pub(super) struct Tap {
    pub(super) usage: Usage,
    pub(super) bytes: u64,
    /// Lines that begin like an event.
    pub(super) events: u64,
    model: String,
    depth: usize,
    quoted: bool,
    escaped: bool,
    word: Vec<u8>,
    key: Key,
    /// Under which key the second level stands.
    holder: Key,
    object: Option<(usize, Vec<u8>)>,
    line: u64,
}

impl Tap {
    pub(super) fn push(&mut self, data: &[u8]) {
        self.bytes += data.len() as u64;
        for byte in data {
            self.byte(*byte);
        }
    }

    /// The model's name, if it looks like one.
    pub(super) fn model(&self) -> &str {
        let fine = |b: u8| b.is_ascii_alphanumeric() || b"-._:/@[]".contains(&b);
        let named = !self.model.is_empty() && self.model.bytes().all(fine);
        if named { &self.model } else { "unknown" }
    }

    fn byte(&mut self, byte: u8) {
        if let Some((_, object)) = &mut self.object
            && object.len() < OBJECT_MAX
        {
            object.push(byte);
        }
        if byte == b'\n' {
            // No string goes over a line; what looked like one was cut short.
            self.quoted = false;
            self.line = 0;
            return;
        }
        self.line += 1;
        if self.quoted {
            return self.in_string(byte);
        }
        match byte {
            b'"' => {
                self.quoted = true;
                self.word.clear();
            }
            b':' if self.line == 5 && self.depth == 0 => self.events += 1,
            b':' => {
                self.key = match &self.word[..] {
                    b"usage" => Key::Usage,
                    b"model" => Key::Model,
                    b"message" | b"response" => Key::Holder,
                    _ => Key::Other,
                };
            }
            b',' => self.key = Key::Other,
            b'{' | b'[' => self.open(byte),
            b'}' | b']' => self.close(),
            _ => {}
        }
    }

    fn in_string(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => {
                self.quoted = false;
                if self.key == Key::Model && self.ours() && self.model.is_empty() {
                    self.model = String::from_utf8_lossy(&self.word).into_owned();
                }
            }
            _ if self.word.len() < WORD_MAX => self.word.push(byte),
            _ => {}
        }
    }

    fn open(&mut self, byte: u8) {
        if byte == b'{' && self.key == Key::Usage && self.ours() && self.object.is_none() {
            self.object = Some((self.depth, vec![byte]));
        }
        if self.depth == 1 {
            self.holder = if byte == b'{' { self.key } else { Key::Other };
        }
        self.depth += 1;
        self.key = Key::Other;
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.key = Key::Other;
        if let Some((_, object)) = self.object.take_if(|(depth, _)| *depth == self.depth)
            && let Ok(said) = serde_json::from_slice::<Said>(&object)
        {
            self.usage.learn(&said);
        }
    }

    /// Whether what stands here is about the whole answer.
    fn ours(&self) -> bool {
        self.depth == 1 || self.depth == 2 && self.holder == Key::Holder
    }
}

/// `usage` as either vendor writes it.
#[derive(Deserialize)]
struct Said {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation: Option<Creation>,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    input_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Creation {
    ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
}

impl Usage {
    /// Numbers only grow in the course of an answer.
    fn learn(&mut self, said: &Said) {
        let most = |known: &mut u64, said: Option<u64>| {
            *known = (*known).max(said.unwrap_or_default().min(TOKENS_MAX));
        };
        let details = said.prompt_tokens_details.as_ref().or(said.input_tokens_details.as_ref());
        let cached = details.and_then(|d| d.cached_tokens);
        // One vendor counts what was cached within the input, the other beside it.
        let within = |n: u64| n.saturating_sub(cached.unwrap_or_default());
        most(&mut self.input, said.input_tokens.or(said.prompt_tokens).map(within));
        most(&mut self.output, said.output_tokens.or(said.completion_tokens));
        most(&mut self.cache_read, said.cache_read_input_tokens.or(cached));
        let long = said.cache_creation.as_ref().and_then(|c| c.ephemeral_1h_input_tokens);
        most(&mut self.cache_write_long, long);
        let short = |n: u64| n.saturating_sub(long.unwrap_or_default());
        most(&mut self.cache_write, said.cache_creation_input_tokens.map(short));
        self.known = true;
    }
}
