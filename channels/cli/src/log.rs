//! The backlog: what the agent said and nobody was shown yet, on disk.
//!
//! `log.jsonl` is appended to, one record a line, and rewritten when most of it is of no more use. A message
//! is durable when [`Log::post`] returned. Its idempotency key is remembered for a while after it was shown,
//! so that a repeated attempt is no second message. A torn last line is what a crash leaves; it was never
//! promised to anybody.

#[cfg(test)]
mod tests;

use crate::wire::{Message, Saved};
use nanoclaw_channel::OutFile;
use nanoclaw_channel::ids::is_safe_name;
use serde::{Deserialize, Serialize};
use std::collections::{HashSet, VecDeque};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Most messages of one chat that wait for a reader.
pub(crate) const UNSEEN_MAX: usize = 1000;

/// No more is taken for a chat when this many bytes wait there for a reader.
pub(crate) const UNSEEN_BYTES_MAX: u64 = 64 << 20;

/// How many messages are remembered, with their files, after they were seen.
const SEEN_MAX: usize = 1000;

/// Most bytes that seen messages and their files may keep.
const SEEN_BYTES_MAX: u64 = 1 << 30;

/// How many lines the file may have beyond the messages in it.
const SLACK_LINES: usize = 2000;

pub(crate) struct Log {
    folder: PathBuf,
    file: File,
    entries: VecDeque<Entry>,
    lines: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    chat: String,
    key: String,
    id: String,
    bytes: u64,
    /// Absent once it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<Message>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Record {
    Seen { seen: String },
    Posted(Box<Entry>),
}

/// What became of a message.
#[derive(Debug)]
pub(crate) enum Posted {
    /// It is on disk now.
    New(Box<Message>),
    /// It was posted before, under this id.
    Known(String),
    /// Too much waits for a reader already.
    Full,
}

impl Log {
    /// Opens the log in a folder, which is made if need be.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let text = match std::fs::read(folder.join("log.jsonl")) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(e),
        };
        let mut entries: VecDeque<Entry> = VecDeque::new();
        for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(Record::Posted(entry)) => entries.push_back(*entry),
                Ok(Record::Seen { seen }) => {
                    if let Some(entry) = entries.iter_mut().find(|e| e.id == seen) {
                        entry.message = None;
                    }
                }
                Err(error) => tracing::warn!(%error, "a torn line in the terminal's log, left out"),
            }
        }
        let file = append_to(&folder.join("log.jsonl"))?;
        let mut log = Self { folder: folder.to_owned(), file, entries, lines: 0 };
        log.rewrite()?;
        Ok(log)
    }

    /// Writes a message down, with its files, unless its key was posted before.
    pub(crate) fn post(
        &mut self,
        chat: &str,
        key: &str,
        mut message: Message,
        files: &[OutFile],
    ) -> io::Result<Posted> {
        if let Some(entry) = self.entries.iter().find(|e| e.key == key && e.chat == chat) {
            return Ok(Posted::Known(entry.id.clone()));
        }
        let waiting = || self.entries.iter().filter(|e| e.chat == chat && e.message.is_some());
        if waiting().count() >= UNSEEN_MAX
            || waiting().map(|e| e.bytes).sum::<u64>() >= UNSEEN_BYTES_MAX
        {
            return Ok(Posted::Full);
        }
        message.files = self.save(&message.id, files)?;
        let size = files.iter().map(|f| f.bytes.len()).sum::<usize>() + message.markdown.len();
        let entry = Entry {
            chat: chat.to_owned(),
            key: key.to_owned(),
            id: message.id.clone(),
            bytes: size as u64,
            message: Some(message.clone()),
        };
        self.append(&Record::Posted(Box::new(entry.clone())))?;
        self.file.sync_data()?;
        self.entries.push_back(entry);
        // A new text settles a question: nobody is asked any more.
        if let Some(edited) = &message.edit_of {
            self.settle(|m| m.question.is_some() && m.id == *edited)?;
        }
        Ok(Posted::New(Box::new(message)))
    }

    /// What nobody was shown yet, oldest first.
    pub(crate) fn unseen<'a>(&'a self, chat: &'a str) -> impl Iterator<Item = &'a Message> {
        self.entries.iter().filter(move |e| e.chat == chat).filter_map(|e| e.message.as_ref())
    }

    /// Notes that a message was shown. A question is shown again until it is answered.
    pub(crate) fn seen(&mut self, id: &str) -> io::Result<()> {
        self.settle(|m| m.id == id && m.question.is_none())
    }

    /// Notes that a question needs no answer any more.
    pub(crate) fn answered(&mut self, question: &str) -> io::Result<()> {
        self.settle(|m| m.question.as_ref().is_some_and(|q| q.question_id.as_str() == question))
    }

    /// Not synced: what a crash undoes is shown twice.
    fn settle(&mut self, which: impl Fn(&Message) -> bool) -> io::Result<()> {
        let mut settled = Vec::new();
        for entry in &mut self.entries {
            if entry.message.as_ref().is_some_and(&which) {
                entry.message = None;
                settled.push(entry.id.clone());
            }
        }
        settled.into_iter().try_for_each(|seen| self.append(&Record::Seen { seen }))
    }

    fn append(&mut self, record: &Record) -> io::Result<()> {
        if self.lines > self.entries.len() + SLACK_LINES {
            self.rewrite()?;
        }
        let line = format!("{}\n", serde_json::to_string(record)?);
        self.lines += 1;
        // After a failure the file may end in half a line: it is rewritten before anything is added.
        self.file.write_all(line.as_bytes()).inspect_err(|_| self.lines = usize::MAX)
    }

    /// Writes the log anew with what is still of use, and removes the files of what is not.
    fn rewrite(&mut self) -> io::Result<()> {
        self.forget();
        let (log, new) = (self.folder.join("log.jsonl"), self.folder.join("log.jsonl.new"));
        let mut text = String::new();
        for entry in &self.entries {
            text.push_str(&serde_json::to_string(entry)?);
            text.push('\n');
        }
        if let Err(error) = std::fs::remove_file(&new)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut file = append_to(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &log)?;
        File::open(&self.folder)?.sync_all()?;
        self.file = file;
        self.lines = self.entries.len();
        self.prune();
        Ok(())
    }

    /// Drops seen messages, oldest first, until they are few and small.
    fn forget(&mut self) {
        let (mut count, mut bytes) = (0, 0);
        let mut kept: VecDeque<Entry> = VecDeque::with_capacity(self.entries.len());
        for entry in std::mem::take(&mut self.entries).into_iter().rev() {
            if entry.message.is_none() {
                count += 1;
                bytes += entry.bytes;
                if count > SEEN_MAX || bytes > SEEN_BYTES_MAX {
                    continue;
                }
            }
            kept.push_front(entry);
        }
        self.entries = kept;
    }

    fn prune(&self) {
        let known: HashSet<&str> = self.entries.iter().map(|e| e.id.as_str()).collect();
        let Ok(folders) = std::fs::read_dir(self.folder.join("files")) else { return };
        for folder in folders.flatten() {
            let used = folder.file_name().to_str().is_some_and(|name| known.contains(name));
            if !used && let Err(error) = std::fs::remove_dir_all(folder.path()) {
                tracing::warn!(%error, folder = %folder.path().display(), "old files not removed");
            }
        }
    }

    /// Writes the files of a message below `files/<its id>`.
    fn save(&self, id: &str, files: &[OutFile]) -> io::Result<Vec<Saved>> {
        let folder = self.folder.join("files").join(id);
        let mut saved: Vec<Saved> = Vec::new();
        for (n, file) in files.iter().enumerate() {
            DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            let name = if !is_safe_name(&file.name) {
                format!("file-{}", n + 1)
            } else if saved.iter().any(|s| s.name == file.name) {
                // The same name twice; a number in front keeps what the file is at the end.
                format!("{}-{}", n + 1, file.name.chars().take(200).collect::<String>())
            } else {
                file.name.clone()
            };
            let path = folder.join(&name);
            let mut options = OpenOptions::new();
            let mut target =
                options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            target.write_all(&file.bytes)?;
            target.sync_all()?;
            saved.push(Saved { name, path: path.to_string_lossy().into_owned() });
        }
        Ok(saved)
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}
