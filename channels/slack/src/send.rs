//! What an agent says, on Slack.
//!
//! A long text is several posts. Which of them are there is kept under the message's key, so that a retry goes on
//! where the last attempt ended. When it is not known whether a post arrived (the answer was lost, or we were
//! killed), it is looked for before it is sent again: every post carries a mark that people do not see.

use crate::ids::{Spot, is_direct, is_ts, time_of, ts_at};
use crate::receive::seen;
use crate::wire::{Messages, OneFile, Posted, Upload};
use crate::{Asked, Hub, text};
use nanoclaw_channel::split::Unit;
use nanoclaw_channel::time::{Clock as _, SystemClock};
use nanoclaw_channel::{Body, OutFile, Outgoing, PlatformMessageId, Question, Receipt, SendError};
use nanoclaw_kit::dialect::{Dialect, pieces};
use nanoclaw_kit::{files, http};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;

/// Longest text of a post; Slack cuts longer ones.
pub(crate) const TEXT_MAX: usize = 4_000;
/// Longest text above buttons, longest label of one, and most of them.
const SECTION_MAX: usize = 3_000;
const LABEL_MAX: usize = 75;
const BUTTONS_MAX: usize = 25 * 40;
/// How often it is asked where a file is shown.
const SHOWN_TRIES: u32 = 4;
/// Largest file.
pub(crate) const FILE_OUT_MAX: u64 = 1 << 30;
/// How long an attempt is remembered: longer than a channel is out of order.
const MEMORY: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a question can be answered.
const OPEN: Duration = Duration::from_secs(60 * 24 * 3600);
/// How far our clock and Slack's may be apart.
const SKEW: Duration = Duration::from_secs(3600);

/// Under which key the posts behind a first one are kept.
fn rest_of(channel: &str, first: &str) -> String {
    format!("more:{channel}:{first}")
}

/// Under which key the first post is kept that a later one belongs to.
pub(crate) fn part_of(channel: &str, post: &str) -> String {
    format!("part:{channel}:{post}")
}

/// One post.
struct Post {
    text: String,
    blocks: Option<Value>,
}

/// How far a message got.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Progress {
    /// The `ts` of each post that is there.
    sent: Vec<String>,
    /// When the next one was begun, if it is not known whether it is there.
    began: Option<String>,
    /// Uploaded files, by Slack's id.
    files: Vec<String>,
    /// Whether they were shown.
    shown: bool,
}

impl Hub {
    pub(crate) async fn deliver(&self, message: &Outgoing) -> Result<Receipt, SendError> {
        let mut spot = Spot::parse(&message.to).map_err(|why| SendError::Reject { why })?;
        if spot.thread.is_none() && !is_direct(&spot.channel) {
            spot.thread =
                message.reply_to.as_ref().map(|id| id.as_str().to_owned()).filter(|t| is_ts(t));
        }
        match &message.body {
            Body::Text { markdown, files } => self.say(&spot, &message.key, markdown, files).await,
            Body::Card { title, markdown } => {
                let title = title.as_ref().map(|t| format!("**{t}**\n\n")).unwrap_or_default();
                self.say(&spot, &message.key, &format!("{title}{markdown}"), &[]).await
            }
            Body::Ask(question) => self.ask(&spot, &message.key, question).await,
            Body::Edit { message: id, markdown } => {
                self.edit(&spot, &message.key, id.as_str(), markdown).await
            }
            Body::React { message: id, emoji } => self.react(&spot, id.as_str(), emoji).await,
        }
    }

    async fn say(
        &self,
        spot: &Spot,
        key: &str,
        markdown: &str,
        files: &[OutFile],
    ) -> Result<Receipt, SendError> {
        let (fit, not): (Vec<_>, Vec<_>) =
            files.iter().partition(|f| !f.bytes.is_empty() && f.bytes.len() as u64 <= FILE_OUT_MAX);
        let mut markdown = markdown.to_owned();
        for file in not {
            let why =
                if file.bytes.is_empty() { "it is empty" } else { "Slack takes files up to 1 GB" };
            markdown.push_str(&format!("\n\n(The file `{}` was not sent: {why}.)", file.name));
        }
        let posts = posts(&markdown, TEXT_MAX);
        let mut progress = self.progress(key).await?;
        let first = self.post(spot, key, &posts, &mut progress).await?;
        self.keep_rest(spot, &progress.sent).await?;
        let shown =
            if fit.is_empty() { None } else { self.show(spot, key, &fit, &mut progress).await? };
        receipt(first.or(shown))
    }

    async fn ask(&self, spot: &Spot, key: &str, question: &Question) -> Result<Receipt, SendError> {
        let title = match question.title.trim() {
            "" => String::new(),
            title => format!("**{title}**\n"),
        };
        let mut markdown = title;
        if question.question != question.title {
            markdown.push_str(&question.question);
        }
        // A label that fits no button is written out, and the button has its number.
        let long = question.options.iter().any(|o| Unit::Utf16.len(&o.label) > LABEL_MAX);
        let mut posts = posts(&markdown, SECTION_MAX);
        if long {
            let label = |(n, o): (usize, &nanoclaw_channel::Choice)| {
                format!("{}. {}", n + 1, text::escape(&o.label))
            };
            let lines: Vec<_> = question.options.iter().enumerate().map(label).collect();
            posts.extend(
                nanoclaw_channel::split::split(&lines.join("\n"), SECTION_MAX, Unit::Utf16)
                    .into_iter()
                    .map(plain),
            );
        }
        if question.options.len() > BUTTONS_MAX {
            return Err(SendError::Reject {
                why: format!("Slack shows at most {BUTTONS_MAX} buttons"),
            });
        }
        let mut last = posts.pop().unwrap_or_else(|| plain("?".to_owned()));
        let button = |(n, o): (usize, &nanoclaw_channel::Choice)| {
            let label = if long { (n + 1).to_string() } else { o.label.clone() };
            json!({ "type": "button", "action_id": format!("ncq:{n}:{}", question.question_id),
                "text": { "type": "plain_text", "text": label, "emoji": true } })
        };
        let buttons: Vec<_> = question.options.iter().enumerate().map(button).collect();
        let mut blocks =
            vec![json!({ "type": "section", "text": { "type": "mrkdwn", "text": last.text } })];
        blocks.extend(buttons.chunks(25).map(|row| json!({ "type": "actions", "elements": row })));
        last.blocks = Some(Value::Array(blocks));

        let values = question.options.iter().map(|o| o.value.clone()).collect();
        let asked = serde_json::to_string(&Asked { text: last.text.clone(), values });
        let asked = asked.map_err(|e| SendError::Reject { why: e.to_string() })?;
        self.store.put_for(&format!("ask:{}", question.question_id), &asked, OPEN).await?;
        posts.push(last);
        let mut progress = self.progress(key).await?;
        self.post(spot, key, &posts, &mut progress).await?;
        // The post with the buttons is the one that is closed later.
        receipt(progress.sent.last().cloned())
    }

    async fn edit(
        &self,
        spot: &Spot,
        key: &str,
        id: &str,
        markdown: &str,
    ) -> Result<Receipt, SendError> {
        let mut all = posts(markdown, TEXT_MAX);
        let first = if all.is_empty() { String::new() } else { all.remove(0).text };
        self.update(spot, id, &first).await?;
        // A text that needed several posts, or needs them now: those are changed, added or taken back.
        let kept = self.store.get(&rest_of(&spot.channel, id)).await?;
        let mut rest: Vec<String> =
            kept.map(|text| text.split(' ').map(str::to_owned).collect()).unwrap_or_default();
        let more = if all.len() > rest.len() { all.split_off(rest.len()) } else { Vec::new() };
        for (ts, post) in rest.iter().zip(&all) {
            self.update(spot, ts, &post.text).await?;
        }
        for ts in rest.split_off(all.len()) {
            match self
                .api
                .tell_slack("chat.delete", &[("channel", &spot.channel), ("ts", &ts)])
                .await
            {
                Err(failed) if failed.code != "message_not_found" => return Err(failed.error),
                _ => {}
            }
        }
        let mut progress = self.progress(key).await?;
        self.post(spot, key, &more, &mut progress).await?;
        let now: Vec<String> =
            [id.to_owned()].into_iter().chain(rest).chain(progress.sent).collect();
        self.keep_rest(spot, &now).await?;
        receipt(Some(id.to_owned()))
    }

    async fn update(&self, spot: &Spot, ts: &str, text: &str) -> Result<(), SendError> {
        self.pace.wait(&spot.channel).await;
        // Without an empty list of blocks, the buttons would stay.
        let update =
            [("channel", spot.channel.as_str()), ("ts", ts), ("text", text), ("blocks", "[]")];
        Ok(self.api.tell_slack("chat.update", &update).await?)
    }

    /// Keeps which posts belong to the first one: an edit is for all of them.
    async fn keep_rest(&self, spot: &Spot, posts: &[String]) -> Result<(), SendError> {
        let Some((first, rest)) = posts.split_first() else { return Ok(()) };
        let key = rest_of(&spot.channel, first);
        if !rest.is_empty() {
            self.store.put_for(&key, &rest.join(" "), MEMORY).await?;
            for part in rest {
                self.store.put_for(&part_of(&spot.channel, part), first, MEMORY).await?;
            }
        } else if self.store.get(&key).await?.is_some() {
            self.store.delete(&key).await?;
        }
        Ok(())
    }

    async fn react(&self, spot: &Spot, id: &str, emoji: &str) -> Result<Receipt, SendError> {
        let name = text::emoji_name(emoji);
        let add = [("channel", spot.channel.as_str()), ("timestamp", id), ("name", &name)];
        match self.api.tell_slack("reactions.add", &add).await {
            Err(failed) if failed.code != "already_reacted" => Err(failed.error),
            _ => Ok(Receipt::default()),
        }
    }

    /// Posts what is not there yet; returns the first post, which edits and reactions are for.
    async fn post(
        &self,
        spot: &Spot,
        key: &str,
        posts: &[Post],
        progress: &mut Progress,
    ) -> Result<Option<String>, SendError> {
        for (n, post) in posts.iter().enumerate().skip(progress.sent.len()) {
            let mark = format!("{key}:{n}");
            if let Some(began) = progress.began.take()
                && let Some(ts) = self.find(spot, &mark, &began).await?
            {
                progress.sent.push(ts);
                self.save(key, progress).await?;
                continue;
            }
            self.pace.wait(&spot.channel).await;
            // Durable before the post: killed after it, the next attempt looks for it first.
            progress.began = Some(ts_at(SystemClock.now()));
            self.save(key, progress).await?;
            match self.post_one(spot, &mark, post).await {
                Ok(ts) => {
                    progress.began = None;
                    let thread = spot.thread.as_deref().unwrap_or_default();
                    self.store.put_for(&seen(&spot.channel, &ts), thread, MEMORY).await?;
                    progress.sent.push(ts);
                    self.save(key, progress).await?;
                }
                Err(failed) => {
                    if !failed.unclear {
                        progress.began = None;
                        self.save(key, progress).await?;
                    }
                    if let SendError::Retry { after: Some(after), .. } = &failed.error {
                        self.pace.pause(&spot.channel, *after);
                    }
                    return Err(failed.error);
                }
            }
        }
        Ok(progress.sent.first().cloned())
    }

    async fn post_one(
        &self,
        spot: &Spot,
        mark: &str,
        post: &Post,
    ) -> Result<String, crate::api::Failed> {
        let blocks = post.blocks.as_ref().map(Value::to_string);
        let mark =
            json!({ "event_type": "nanoclaw", "event_payload": { "nanoclaw": mark } }).to_string();
        let mut arguments = vec![
            ("channel", spot.channel.as_str()),
            ("text", &post.text),
            ("metadata", &mark),
            // A preview is a request to whoever the link names: an agent must not make one by writing it.
            ("unfurl_links", "false"),
            ("unfurl_media", "false"),
        ];
        arguments.extend(spot.thread.as_deref().map(|ts| ("thread_ts", ts)));
        arguments.extend(blocks.as_deref().map(|blocks| ("blocks", blocks)));
        let posted: Posted = self.api.call("chat.postMessage", &arguments).await?;
        Ok(posted.ts)
    }

    /// The post with this mark, if it is there.
    async fn find(
        &self,
        spot: &Spot,
        mark: &str,
        began: &str,
    ) -> Result<Option<String>, SendError> {
        let oldest =
            time_of(began).and_then(|at| at.checked_sub(SKEW).ok()).map(ts_at).unwrap_or_default();
        let all =
            self.messages(spot, &[("oldest", &oldest), ("include_all_metadata", "true")], 10).await;
        let all = match all {
            Err(failed) if failed.code == "missing_scope" => return Ok(None),
            all => all?,
        };
        let ours = |m: &&crate::wire::Message| {
            m.metadata.as_ref().is_some_and(|meta| meta.event_payload.nanoclaw == mark)
        };
        Ok(all.iter().find(ours).map(|m| m.ts.clone()))
    }

    /// Messages of a conversation or a thread, `pages` pages at most.
    pub(crate) async fn messages(
        &self,
        spot: &Spot,
        which: &[(&str, &str)],
        pages: usize,
    ) -> Result<Vec<crate::wire::Message>, crate::api::Failed> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        for _ in 0..pages {
            let mut arguments = vec![("channel", spot.channel.as_str()), ("limit", "200")];
            arguments.extend(which);
            let method = match &spot.thread {
                Some(ts) => {
                    arguments.push(("ts", ts));
                    "conversations.replies"
                }
                None => "conversations.history",
            };
            if !cursor.is_empty() {
                arguments.push(("cursor", &cursor));
            }
            let page: Messages = self.api.call(method, &arguments).await?;
            all.extend(page.messages);
            cursor = page.response_metadata.unwrap_or_default().next_cursor;
            if cursor.is_empty() {
                break;
            }
        }
        Ok(all)
    }

    /// Uploads files and shows them in one post; returns it.
    async fn show(
        &self,
        spot: &Spot,
        key: &str,
        files: &[&OutFile],
        progress: &mut Progress,
    ) -> Result<Option<String>, SendError> {
        for file in files.iter().skip(progress.files.len()) {
            let id = self.upload(file).await?;
            progress.files.push(id);
            self.save(key, progress).await?;
        }
        let shown = if progress.began.is_some() {
            self.shown_in(spot, &progress.files).await?
        } else {
            None
        };
        if shown.is_none() && !progress.shown {
            progress.began = Some(ts_at(SystemClock.now()));
            self.save(key, progress).await?;
            let done = self.complete(spot, files, &progress.files).await;
            if done.as_ref().is_err_and(|failed| !failed.unclear) {
                progress.began = None;
                self.save(key, progress).await?;
            }
            done?;
        }
        (progress.shown, progress.began) = (true, None);
        self.save(key, progress).await?;
        // Slack shows files a moment later; without words, that post is the message.
        let mut post = shown;
        for _ in 0..SHOWN_TRIES {
            if post.is_some() || !progress.sent.is_empty() {
                break;
            }
            post = self.shown_in(spot, &progress.files).await.ok().flatten();
            if post.is_none() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
        Ok(post)
    }

    async fn complete(
        &self,
        spot: &Spot,
        files: &[&OutFile],
        ids: &[String],
    ) -> Result<(), crate::api::Failed> {
        let title = |(id, file): (&String, &&OutFile)| json!({ "id": id, "title": files::safe_name(&file.name, "file", None) });
        let list = Value::Array(ids.iter().zip(files).map(title).collect()).to_string();
        let mut arguments = vec![("files", list.as_str()), ("channel_id", &spot.channel)];
        arguments.extend(spot.thread.as_deref().map(|ts| ("thread_ts", ts)));
        self.api.tell_slack("files.completeUploadExternal", &arguments).await
    }

    async fn upload(&self, file: &OutFile) -> Result<String, SendError> {
        let name = files::safe_name(&file.name, "file", None);
        let length = file.bytes.len().to_string();
        let arguments = [("filename", name.as_str()), ("length", &length)];
        let to: Upload = self.api.call("files.getUploadURLExternal", &arguments).await?;
        let bad = || SendError::Retry {
            after: None,
            why: "Slack gave no place of its own for a file".into(),
        };
        let url = reqwest::Url::parse(&to.upload_url)
            .ok()
            .filter(|url| self.api.is_slack(url))
            .ok_or_else(bad)?;
        let response = self.api.http.post(url).timeout(http::upload_time(file.bytes.len()));
        let response = response.body(file.bytes.clone()).send().await;
        let response = response.map_err(http::unreachable)?;
        let status = response.status();
        if !status.is_success() {
            let why = format!("Slack answered the upload of {name:?} with {status}");
            return Err(http::sort(status, response.headers(), why));
        }
        Ok(to.file_id)
    }

    /// The post in which uploaded files can be seen.
    async fn shown_in(&self, spot: &Spot, files: &[String]) -> Result<Option<String>, SendError> {
        let Some(first) = files.first() else { return Ok(None) };
        let asked = match self.api.call::<OneFile>("files.info", &[("file", first)]).await {
            // Uploaded, and not shown anywhere.
            Err(failed) if failed.code == "file_not_found" => return Ok(None),
            asked => asked?,
        };
        let mut shares =
            asked.file.shares.into_iter().flat_map(|s| s.public.into_iter().chain(s.private));
        let here = shares.find(|(channel, _)| *channel == spot.channel);
        Ok(here.and_then(|(_, posts)| posts.into_iter().next()).map(|post| post.ts))
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

fn posts(markdown: &str, max: usize) -> Vec<Post> {
    pieces(markdown, Dialect::Slack, max, Unit::Utf16).into_iter().map(plain).collect()
}

fn plain(text: String) -> Post {
    Post { text, blocks: None }
}

fn receipt(id: Option<String>) -> Result<Receipt, SendError> {
    let id = id.map(PlatformMessageId::parse).transpose();
    Ok(Receipt { id: id.map_err(|e| SendError::Reject { why: e.to_string() })? })
}
