//! What is said becomes mails: each with text and HTML, in its conversation, with an id that is the same for
//! every attempt.

use crate::FILES_MAX;
use crate::ids::{self, Email, Place, Thread};
use crate::threads::{Known, Threads};
use nanoclaw_channel::split::Unit;
use nanoclaw_channel::{
    Body, OutFile, Outgoing, PlatformMessageId, Question, Receipt, SendError, ask, markdown,
};
use nanoclaw_kit::dialect::{Dialect, pieces, plain};
use nanoclaw_kit::files::{safe_name, size};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// How long it is known that a mail was sent: longer than the host tries.
const SENT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// Longest subject that is made of a text.
const SUBJECT_MAX: usize = 70;

/// A mail to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) to: Place,
    pub(crate) id: String,
    /// The same for every attempt.
    pub(crate) key: String,
    pub(crate) subject: String,
    pub(crate) references: Vec<String>,
    pub(crate) text: String,
    pub(crate) html: String,
    pub(crate) files: Vec<OutFile>,
}

/// Carries letters to where they are sent.
pub(crate) trait Post {
    /// Sends one; returns what the carrier calls it.
    async fn post(&self, letter: &Letter) -> Result<String, SendError>;
}

/// Sends a message, in as many mails as its files need; what was sent is not sent again.
pub(crate) async fn send(
    post: &impl Post,
    threads: &Threads,
    own: &Email,
    message: &Outgoing,
) -> Result<Receipt, SendError> {
    let reject = |why: &str| SendError::Reject { why: why.to_owned() };
    let place = Place::parse(threads.channel, &message.to)
        .ok_or_else(|| reject("this is not an e-mail address that mail can be sent to"))?;
    let (said, files) = match &message.body {
        Body::Text { markdown, files } => (markdown.clone(), files.as_slice()),
        Body::Ask(question) => (ask_text(question), [].as_slice()),
        Body::Card { title: Some(title), markdown } => {
            (format!("**{title}**\n\n{markdown}"), [].as_slice())
        }
        Body::Card { title: None, markdown } => (markdown.clone(), [].as_slice()),
        Body::Edit { .. } => return Err(reject("a mail that was sent cannot be changed")),
        Body::React { .. } => return Err(reject("a mail cannot be reacted to")),
    };
    let letters = letters(threads, own, message, &place, (&said, files)).await?;
    let mut first = None;
    for (letter, known) in letters {
        let mark = format!("sent:{}", letter.key);
        let id = match threads.store.get(&mark).await? {
            Some(id) => id,
            None => {
                // Before it is sent, so that an answer finds its conversation whatever happens here.
                threads.sent(&letter.to, known, &letter.id).await?;
                let id = post.post(&letter).await?;
                threads.store.put_for(&mark, &id, SENT_FOR).await?;
                id
            }
        };
        first = first.or(PlatformMessageId::parse(id).ok());
    }
    Ok(Receipt { id: first })
}

/// A question as Markdown that means it to the letter: `1)` is what people type, and no list.
fn ask_text(question: &Question) -> String {
    let mut markdown = String::new();
    for c in ask::text(question, &markdown::PLAIN).chars() {
        match c {
            '\n' => markdown.push_str("  \n"),
            c if c.is_ascii_punctuation() => markdown.extend(['\\', c]),
            c => markdown.push(c),
        }
    }
    markdown
}

async fn letters(
    threads: &Threads,
    own: &Email,
    message: &Outgoing,
    place: &Place,
    (said, files): (&str, &[OutFile]),
) -> Result<Vec<(Letter, Known)>, SendError> {
    let (large, files): (Vec<_>, Vec<_>) =
        files.iter().partition(|file| file.bytes.len() as u64 > FILES_MAX);
    let mut said = said.to_owned();
    for file in large {
        let (name, of) = (safe_name(&file.name, "file", None), size(file.bytes.len() as u64));
        let limit = size(FILES_MAX);
        said +=
            &format!("\n\n(The file `{name}` is not here: it has {of}, and a mail takes {limit}.)");
    }
    let mut place = place.clone();
    let mut now = begun(threads, message, &place, &said).await?;
    let mut all = Vec::new();
    for (n, files) in batches(files).into_iter().enumerate() {
        let key = if n == 0 { message.key.clone() } else { format!("{}#{n}", message.key) };
        let hash = ids::digest(format!("{key} {}", place.email.as_str()).as_bytes());
        let id = format!("nc-{}@{}", &hash[..32], own.domain());
        place.thread.get_or_insert_with(|| Thread::of(&id));
        let said = if n == 0 { said.as_str() } else { "(More files.)" };
        let letter = Letter {
            to: place.clone(),
            id: id.clone(),
            key,
            subject: if now.ids.is_empty() { now.subject.clone() } else { answer_to(&now.subject) },
            references: now.ids.clone(),
            text: plain(said),
            html: pieces(said, Dialect::Html, usize::MAX, Unit::Bytes).concat(),
            files,
        };
        all.push((letter, now.clone()));
        now.ids.push(id);
    }
    Ok(all)
}

/// The conversation as it was at the first attempt: every attempt at a mail is the same mail.
async fn begun(
    threads: &Threads,
    message: &Outgoing,
    place: &Place,
    said: &str,
) -> Result<Known, SendError> {
    let draft = format!("draft:{}", message.key);
    let kept = threads.store.get(&draft).await?;
    if let Some(known) = kept.and_then(|text| serde_json::from_str(&text).ok()) {
        return Ok(known);
    }
    let known = threads.known(place).await?;
    let known = known.unwrap_or_else(|| Known { subject: subject(said), ids: Vec::new() });
    let text = serde_json::to_string(&known).unwrap_or_default();
    threads.store.put_for(&draft, &text, SENT_FOR).await?;
    Ok(known)
}

/// Files in mails that are not too large; there is always one mail.
fn batches(files: Vec<&OutFile>) -> Vec<Vec<OutFile>> {
    let mut all = Vec::new();
    let (mut last, mut used) = (Vec::new(), 0);
    for file in files {
        let own = file.bytes.len() as u64;
        if used + own > FILES_MAX {
            all.push(std::mem::take(&mut last));
            used = 0;
        }
        used += own;
        let name = safe_name(&file.name, "file", None);
        last.push(OutFile { name, bytes: file.bytes.clone() });
    }
    all.push(last);
    all
}

/// A subject for a conversation that begins here: the first words.
fn subject(said: &str) -> String {
    let text = plain(said);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("A message");
    if line.chars().count() <= SUBJECT_MAX {
        return line.to_owned();
    }
    let cut: String = line.chars().take(SUBJECT_MAX).collect();
    let words = cut.rsplit_once(' ').map_or(cut.as_str(), |(words, _)| words);
    format!("{words} …")
}

fn answer_to(subject: &str) -> String {
    let is_answer = subject.get(..3).is_some_and(|re| re.eq_ignore_ascii_case("re:"));
    if is_answer { subject.to_owned() } else { format!("Re: {subject}").trim_end().to_owned() }
}
