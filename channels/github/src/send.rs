//! What an agent says, on GitHub.
//!
//! A long text is several comments. Which of them are there is kept under the message's key. When it is not known
//! whether one arrived, it is looked for before it is sent again: each carries a mark that people do not see.

use crate::api::Failed;
use crate::ids::{Post, Spot, Thread};
use crate::receive::began;
use crate::wire::Made;
use crate::{Hub, text};
use nanoclaw_channel::markdown::PLAIN;
use nanoclaw_channel::split::Unit;
use nanoclaw_channel::time::{Clock as _, SystemClock, Timestamp};
use nanoclaw_channel::{Body, OutFile, Outgoing, Receipt, SendError, ask};
use nanoclaw_kit::dialect::{Dialect, pieces};
use nanoclaw_kit::sign;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;

/// Longest comment is 65,536 characters; our mark takes some.
pub(crate) const TEXT_MAX: usize = 65_000;
const TITLE_MAX: usize = 120;
/// How long an attempt is remembered: longer than a channel is out of order.
const MEMORY: Duration = Duration::from_secs(30 * 24 * 3600);
/// How far our clock and GitHub's may be apart.
const SKEW: Duration = Duration::from_secs(3600);
const PAGES_MAX: usize = 10;

/// How far a message got.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Progress {
    sent: Vec<Post>,
    /// When the next one was begun, if it is not known whether it is there.
    began: Option<Timestamp>,
}

impl Hub {
    pub(crate) async fn deliver(&self, message: &Outgoing) -> Result<Receipt, SendError> {
        let spot = Spot::parse(&message.to).map_err(|why| SendError::Reject { why })?;
        match &message.body {
            Body::Text { markdown, files } => {
                self.say(&spot, &message.key, &with_files(markdown, files)).await
            }
            Body::Card { title, markdown } => {
                let title = title.as_ref().map(|t| format!("**{t}**\n\n")).unwrap_or_default();
                self.say(&spot, &message.key, &format!("{title}{markdown}")).await
            }
            Body::Ask(question) => {
                self.say(&spot, &message.key, &numbered(&ask::text(question, &PLAIN))).await
            }
            Body::Edit { message: id, markdown } => {
                let post = post(id.as_str())?;
                self.edit(&spot, &message.key, post, markdown).await
            }
            Body::React { message: id, emoji } => {
                self.react(&spot, post(id.as_str())?, emoji).await
            }
        }
    }

    async fn say(&self, spot: &Spot, key: &str, markdown: &str) -> Result<Receipt, SendError> {
        let mut progress = self.progress(key).await?;
        self.post(spot, key, &bodies(markdown), &mut progress).await?;
        self.keep_rest(spot, &progress.sent).await?;
        receipt(progress.sent.first())
    }

    async fn edit(
        &self,
        spot: &Spot,
        key: &str,
        post: Post,
        markdown: &str,
    ) -> Result<Receipt, SendError> {
        let mut all = bodies(markdown);
        let first = if all.is_empty() { String::new() } else { all.remove(0) };
        self.update(spot, post, &first).await?;
        // A text that needed several comments, or needs them now: those are changed, added or taken back.
        let kept = self.store.get(&rest_of(&spot.repo, post)).await?.unwrap_or_default();
        let mut rest: Vec<Post> = kept.split(' ').filter_map(Post::parse).collect();
        let more = if all.len() > rest.len() { all.split_off(rest.len()) } else { Vec::new() };
        for (post, body) in rest.iter().zip(&all) {
            self.update(spot, *post, body).await?;
        }
        for post in rest.split_off(all.len()) {
            match self.api.delete(&post.path(&spot.repo)).await {
                Err(failed) if failed.status.is_none_or(|s| s.as_u16() != 404) => {
                    return Err(failed.error);
                }
                _ => {}
            }
        }
        let mut progress = self.progress(key).await?;
        self.post(spot, key, &more, &mut progress).await?;
        let now: Vec<Post> = [post].into_iter().chain(rest).chain(progress.sent).collect();
        self.keep_rest(spot, &now).await?;
        receipt(Some(&post))
    }

    async fn update(&self, spot: &Spot, post: Post, body: &str) -> Result<(), SendError> {
        self.pace.wait(&()).await;
        let (path, body) = (post.path(&spot.repo), json!({ "body": body }));
        let changed = self.api.send::<Made>(Method::PATCH, &path, &body).await;
        changed.map(|_| ()).map_err(|failed| self.paused(failed))
    }

    async fn react(&self, spot: &Spot, post: Post, emoji: &str) -> Result<Receipt, SendError> {
        let Some(content) = text::reaction(emoji) else {
            let why = format!("GitHub has the reactions 👍 👎 😄 🎉 😕 ❤️ 🚀 👀 and not {emoji:?}");
            return Err(SendError::Reject { why });
        };
        let path = format!("{}/reactions", post.path(&spot.repo));
        self.pace.wait(&()).await;
        let made = self.api.send::<Made>(Method::POST, &path, &json!({ "content": content })).await;
        made.map(|_| Receipt::default()).map_err(|failed| self.paused(failed))
    }

    /// Posts what is not there yet.
    async fn post(
        &self,
        spot: &Spot,
        key: &str,
        bodies: &[String],
        progress: &mut Progress,
    ) -> Result<(), SendError> {
        for (n, body) in bodies.iter().enumerate().skip(progress.sent.len()) {
            // What follows the opening of an issue is said in that issue.
            let thread = match (spot.thread, progress.sent.first()) {
                (None, Some(Post::Opening(number))) => Some(Thread::Issue(*number)),
                (thread, _) => thread,
            };
            let mark = mark(key, n);
            if let Some(since) = progress.began.take()
                && let Some(post) = self.find(&spot.repo, thread, &mark, since).await?
            {
                progress.sent.push(post);
                self.save(key, progress).await?;
                continue;
            }
            self.pace.wait(&()).await;
            // Durable before the comment: killed after it, the next attempt looks for it first.
            progress.began = Some(SystemClock.now());
            self.save(key, progress).await?;
            let body = format!("{mark}\n{body}");
            match self.post_one(&spot.repo, thread, &body).await {
                Ok(post) => {
                    if let Post::Opening(number) = post {
                        self.store.put(&began(&spot.repo, number), "").await?;
                    }
                    progress.began = None;
                    progress.sent.push(post);
                    self.save(key, progress).await?;
                }
                Err(failed) => {
                    if !failed.unclear {
                        progress.began = None;
                        self.save(key, progress).await?;
                    }
                    return Err(self.paused(failed));
                }
            }
        }
        Ok(())
    }

    async fn post_one(
        &self,
        repo: &str,
        thread: Option<Thread>,
        body: &str,
    ) -> Result<Post, Failed> {
        let (path, json) = match thread {
            // A repository is no place to talk in; an issue in it is.
            None => (format!("repos/{repo}/issues"), json!({ "title": title(body), "body": body })),
            Some(Thread::Issue(n) | Thread::Pull(n)) => {
                (format!("repos/{repo}/issues/{n}/comments"), json!({ "body": body }))
            }
            Some(Thread::Review { pull, root }) => (
                format!("repos/{repo}/pulls/{pull}/comments/{root}/replies"),
                json!({ "body": body }),
            ),
        };
        let made: Made = self.api.send(Method::POST, &path, &json).await?;
        if thread.is_none() && made.number == 0 {
            let why = "GitHub did not say which issue it opened".into();
            return Err(Failed::unclear(SendError::Retry { after: None, why }));
        }
        Ok(match thread {
            None => Post::Opening(made.number),
            Some(Thread::Issue(_) | Thread::Pull(_)) => Post::Comment(made.id),
            Some(Thread::Review { .. }) => Post::Review(made.id),
        })
    }

    /// The post with this mark, if it is there.
    async fn find(
        &self,
        repo: &str,
        thread: Option<Thread>,
        mark: &str,
        since: Timestamp,
    ) -> Result<Option<Post>, SendError> {
        let since = since.checked_sub(SKEW).unwrap_or(since).strftime("%Y-%m-%dT%H:%M:%SZ");
        let list = match thread {
            None => {
                format!("issues?state=all&sort=updated&direction=desc&creator={}&", self.me.login)
            }
            Some(Thread::Issue(n) | Thread::Pull(n)) => format!("issues/{n}/comments?"),
            Some(Thread::Review { pull, .. }) => format!("pulls/{pull}/comments?"),
        };
        for page in 1..=PAGES_MAX {
            let path = format!("repos/{repo}/{list}since={since}&per_page=100&page={page}");
            let all: Vec<Made> = self.api.get(&path).await?;
            let full = all.len() == 100;
            let ours = |made: &Made| made.body.as_ref().is_some_and(|body| body.starts_with(mark));
            if let Some(made) = all.into_iter().find(ours) {
                return Ok(Some(match thread {
                    None => Post::Opening(made.number),
                    Some(Thread::Issue(_) | Thread::Pull(_)) => Post::Comment(made.id),
                    Some(Thread::Review { .. }) => Post::Review(made.id),
                }));
            }
            if !full {
                break;
            }
        }
        Ok(None)
    }

    /// When GitHub asks for a pause, all that is to be said waits.
    fn paused(&self, failed: Failed) -> SendError {
        if let SendError::Retry { after: Some(after), .. } = &failed.error {
            self.pace.pause(&(), *after);
        }
        failed.error
    }

    /// Keeps which comments belong to the first one: an edit is for all of them.
    async fn keep_rest(&self, spot: &Spot, posts: &[Post]) -> Result<(), SendError> {
        let Some((first, rest)) = posts.split_first() else { return Ok(()) };
        let key = rest_of(&spot.repo, *first);
        if rest.is_empty() {
            return Ok(self.store.delete(&key).await?);
        }
        let rest: Vec<String> = rest.iter().map(Post::to_string).collect();
        Ok(self.store.put_for(&key, &rest.join(" "), MEMORY * 3).await?)
    }

    async fn progress(&self, key: &str) -> Result<Progress, SendError> {
        let kept = self.store.get(&format!("out:{key}")).await?;
        Ok(kept.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
    }

    async fn save(&self, key: &str, progress: &Progress) -> Result<(), SendError> {
        let text = serde_json::to_string(progress)
            .map_err(|e| SendError::Reject { why: e.to_string() })?;
        Ok(self.store.put_for(&format!("out:{key}"), &text, MEMORY).await?)
    }
}

fn post(id: &str) -> Result<Post, SendError> {
    Post::parse(id)
        .ok_or_else(|| SendError::Reject { why: format!("{id:?} is no comment of GitHub's") })
}

fn receipt(first: Option<&Post>) -> Result<Receipt, SendError> {
    let id = first.map(|post| post.id()).transpose();
    Ok(Receipt { id: id.map_err(|e| SendError::Reject { why: e.to_string() })? })
}

fn bodies(markdown: &str) -> Vec<String> {
    pieces(markdown, Dialect::GitHub, TEXT_MAX, Unit::Utf16)
}

/// GitHub takes files from browsers only.
fn with_files(markdown: &str, files: &[OutFile]) -> String {
    let note = |file: &OutFile| {
        format!(
            "\n\n(The file `{}` was not sent: GitHub takes files from browsers only.)",
            file.name.replace('`', "'")
        )
    };
    files.iter().fold(markdown.to_owned(), |all, file| all + &note(file))
}

/// The numbers of options stay as they are typed: as a list, GitHub would write them in another way.
fn numbered(text: &str) -> String {
    let line = |line: &str| match line.trim_start().split_once(") ") {
        Some((n, label)) if n.parse::<usize>().is_ok() => format!("{n}\\) {label}"),
        _ => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// A comment in HTML, which GitHub does not show. It stands first, where no open code can swallow it.
fn mark(key: &str, n: usize) -> String {
    let id = sign::hmac_sha256(b"mark", &[key.as_bytes(), &[0], n.to_string().as_bytes()]);
    format!("<!-- nanoclaw {} -->", sign::hex(&id[..12]))
}

/// Under which key the comments behind a first one are kept.
fn rest_of(repo: &str, first: Post) -> String {
    format!("more:{repo}:{first}")
}

/// The first line as the title of an issue; the text has it too, so nothing is lost.
fn title(body: &str) -> String {
    let plain = nanoclaw_kit::dialect::plain(body.split_once('\n').map_or(body, |(_, text)| text));
    let line = plain
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or("A message")
        .to_owned();
    let short: String = line.chars().take(TITLE_MAX).collect();
    if short.len() < line.len() { format!("{short}…") } else { short }
}
