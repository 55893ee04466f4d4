//! A readable copy of the conversation, made before Claude Code compacts it.
//!
//! `conversations/<date>-<first words>.md` in the agent's folder, never over an older one. Runs on a
//! blocking thread; a copy that cannot be made holds nothing up. Never follows what is no transcript.

use serde::Deserialize;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// A transcript is read up to here.
const TRANSCRIPT_MAX: u64 = 256 * 1024 * 1024;
/// The copy grows up to here.
const ARCHIVE_MAX: usize = 4 * 1024 * 1024;
/// A single message is cut here.
const MESSAGE_MAX: usize = 2000;
/// Letters of the file name that come from the conversation.
const SLUG_MAX: usize = 50;
/// Conversations of one day that begin alike.
const SAME_NAME_MAX: u32 = 1000;

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    timestamp: Option<String>,
    #[serde(default, rename = "isMeta")]
    meta: bool,
    message: Option<Message>,
}

#[derive(Deserialize)]
struct Message {
    content: Content,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Blocks(Vec<Block>),
}

#[derive(Deserialize)]
struct Block {
    #[serde(default)]
    text: String,
}

/// Copies `transcript` into `folder`; says where it is now, or `None` if there was nothing to keep.
pub(crate) fn keep(transcript: &Path, folder: &Path) -> io::Result<Option<PathBuf>> {
    let meta = fs::symlink_metadata(transcript)?;
    if !meta.is_file() || transcript.extension().is_none_or(|e| e != "jsonl") {
        return Err(io::Error::other("this is not a transcript"));
    }
    let mut page = Page::default();
    let reader = BufReader::new(File::open(transcript)?.take(TRANSCRIPT_MAX));
    for line in reader.split(b'\n') {
        if let Ok(entry) = serde_json::from_slice::<Entry>(&line?) {
            page.add(entry);
        }
    }
    if page.body.is_empty() {
        return Ok(None);
    }
    fs::create_dir_all(folder)?;
    let day = page.last.get(..10).unwrap_or("undated");
    let stem = format!("{day}-{}", page.slug());
    for n in 1..SAME_NAME_MAX {
        let number = if n == 1 { String::new() } else { format!("-{n}") };
        let path = folder.join(format!("{stem}{number}.md"));
        match File::create_new(&path) {
            Ok(mut file) => {
                let head = format!("# Conversation until {}\n\n", page.last);
                file.write_all(head.as_bytes())?;
                file.write_all(page.body.as_bytes())?;
                return Ok(Some(path));
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::other("too many conversations of this name"))
}

#[derive(Default)]
struct Page {
    body: String,
    /// When the last message was said; only what a date and a file name may hold.
    last: String,
    first: Option<String>,
}

impl Page {
    fn add(&mut self, entry: Entry) {
        let who = match entry.kind.as_str() {
            "user" => "User",
            "assistant" => "Agent",
            _ => return,
        };
        let Some(message) = entry.message.filter(|_| !entry.meta) else { return };
        let text = match message.content {
            Content::Text(text) => text,
            Content::Blocks(blocks) => blocks.into_iter().map(|b| b.text).collect(),
        };
        let text = text.trim();
        if text.is_empty() || self.body.len() > ARCHIVE_MAX {
            return;
        }
        if let Some(at) = entry.timestamp {
            let fit = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '.');
            self.last = at.chars().filter(fit).take(30).collect();
        }
        if who == "User" && self.first.is_none() {
            self.first = Some(text.to_owned());
        }
        let cut = text.char_indices().nth(MESSAGE_MAX).map_or(text.len(), |(i, _)| i);
        let more = if cut < text.len() { " …" } else { "" };
        self.body.push_str(&format!("**{who}**: {}{more}\n\n", &text[..cut]));
    }

    /// The first words of the first message, without markup, as a part of a file name.
    fn slug(&self) -> String {
        let mut slug = String::new();
        let mut inside = false;
        for c in self.first.as_deref().unwrap_or_default().chars() {
            match c {
                '<' => inside = true,
                '>' => inside = false,
                _ if inside => {}
                c if c.is_alphanumeric() => slug.extend(c.to_lowercase()),
                _ if !slug.is_empty() && !slug.ends_with('-') => slug.push('-'),
                _ => {}
            }
            if slug.chars().count() >= SLUG_MAX {
                break;
            }
        }
        let slug = slug.trim_matches('-');
        if slug.is_empty() { "conversation".to_owned() } else { slug.to_owned() }
    }
}

#[cfg(test)]
mod tests;
