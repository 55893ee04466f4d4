//! What each method takes and answers.

use super::form::Fields;
use super::world::{GROUP, Shown, World, chat, me, now};
use super::{Answer, Shared, TOKEN, html};
use nanoclaw_conformance::{Fault, PeerFile, Reacted, Seen};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

fn no(code: u16, why: &str) -> Answer {
    Answer::Json(code, json!({ "ok": false, "error_code": code, "description": why }))
}

fn bad(why: &str) -> Answer {
    no(400, &format!("Bad Request: {why}"))
}

fn good(result: Value) -> Answer {
    Answer::Json(200, json!({ "ok": true, "result": result }))
}

pub(crate) async fn answer(shared: &Shared, path: &str, fields: Fields) -> Answer {
    if let Some(file) = path.strip_prefix(&format!("/file/bot{TOKEN}/files/")) {
        let world = shared.world();
        return world
            .files
            .get(file)
            .map_or_else(|| no(404, "Not Found"), |f| Answer::Bytes(f.0.clone()));
    }
    let revoked = shared.world().revoked;
    let Some(method) = path.strip_prefix(&format!("/bot{TOKEN}/")).filter(|_| !revoked) else {
        return no(401, "Unauthorized");
    };
    match method {
        "getUpdates" => updates(shared, &fields).await,
        "sendChatAction" => {
            shared.world().typing += 1;
            good(json!(true))
        }
        method if method.starts_with("send") => {
            let fault = shared.world().faulted();
            match fault {
                Some(Fault::Busy { after }) => {
                    let after = after.map(|after| json!({ "retry_after": after.as_secs() }));
                    Answer::Json(
                        429,
                        json!({
                            "ok": false, "error_code": 429, "description": "Too Many Requests: retry later",
                            "parameters": after.unwrap_or(json!({})),
                        }),
                    )
                }
                Some(Fault::Down) => Answer::Page,
                Some(Fault::HalfOpen) => Answer::Never,
                Some(Fault::MarkupRefused) if fields.text("parse_mode").is_some() => bad(
                    "can't parse entities: Can't find end of the entity starting at byte offset 5",
                ),
                Some(Fault::AnswerLost) => {
                    shared.world().send(method, &fields);
                    Answer::Lost
                }
                Some(Fault::MarkupRefused | Fault::Revoked) | None => {
                    shared.world().send(method, &fields)
                }
            }
        }
        method => shared.world().other(method, &fields),
    }
}

async fn updates(shared: &Shared, fields: &Fields) -> Answer {
    let mine = {
        let mut world = shared.world();
        world.poll += 1;
        world.poll
    };
    shared.news.notify_waiters();
    let wait = Duration::from_secs(fields.number("timeout").unwrap_or(0).unsigned_abs().min(50));
    let end = Instant::now() + wait;
    let allowed = fields.json("allowed_updates").unwrap_or_default();
    loop {
        let news = shared.news.notified();
        {
            let mut world = shared.world();
            if world.revoked {
                return no(401, "Unauthorized");
            }
            if world.poll != mine {
                return no(
                    409,
                    "Conflict: terminated by other getUpdates request; make sure that only \
                    one bot instance is running",
                );
            }
            if let Some(offset) = fields.number("offset") {
                world.updates.retain(|(id, _)| *id >= offset);
            }
            let wanted = |update: &Value| {
                allowed.as_array().is_none_or(|kinds| {
                    kinds.iter().filter_map(Value::as_str).any(|kind| update.get(kind).is_some())
                })
            };
            // What nobody asked for is not kept; what is broken comes all the same.
            let known = |update: &Value| update.as_object().is_some_and(|map| map.len() > 1);
            let batch: Vec<Value> = world
                .updates
                .iter()
                .filter(|(_, update)| {
                    wanted(update) || !known(update) || update.get("something_new").is_some()
                })
                .take(100)
                .map(|(_, update)| update.clone())
                .collect();
            if !batch.is_empty() || Instant::now() >= end {
                return good(json!(batch));
            }
        }
        tokio::select! { () = news => {}, () = tokio::time::sleep_until(end) => {} }
    }
}

impl World {
    fn faulted(&mut self) -> Option<Fault> {
        let (fault, times) = self.fault?;
        self.fault = (times > 1).then(|| (fault, times - 1));
        Some(fault)
    }

    /// Twenty messages a minute for a group, thirty a second for a bot.
    fn too_fast(&mut self, chat: i64) -> bool {
        let now = Instant::now();
        self.sent.retain(|(_, at)| now.duration_since(*at) < Duration::from_secs(60));
        let all =
            self.sent.iter().filter(|(_, at)| now.duration_since(*at) < Duration::from_secs(1));
        let here = self.sent.iter().filter(|(to, _)| *to == chat);
        if all.count() >= 30 || (chat < 0 && here.count() >= 20) {
            return true;
        }
        self.sent.push((chat, now));
        false
    }

    fn send(&mut self, method: &str, fields: &Fields) -> Answer {
        let Some(to) = fields.number("chat_id") else { return bad("chat_id is empty") };
        if let (Some(new), GROUP) = (self.moved, to) {
            return Answer::Json(
                400,
                json!({
                    "ok": false, "error_code": 400,
                    "description": "Bad Request: group chat was upgraded to a supergroup chat",
                    "parameters": { "migrate_to_chat_id": new },
                }),
            );
        }
        let known = to == GROUP || (1001..=1003).contains(&to) || self.moved == Some(to);
        if !known {
            return bad("chat not found");
        }
        let topic = fields.number("message_thread_id");
        if topic.is_some_and(|topic| to != GROUP || !(11..=19).contains(&topic)) {
            return bad("message thread not found");
        }
        if self.too_fast(to) {
            return Answer::Json(
                429,
                json!({
                    "ok": false, "error_code": 429, "description": "Too Many Requests: retry after 7",
                    "parameters": { "retry_after": 7 },
                }),
            );
        }
        match method {
            "sendMessage" => self.send_text(to, topic, fields),
            "sendMediaGroup" => self.send_album(to, topic, fields),
            method => self.send_file(to, topic, method, fields),
        }
    }

    fn show(
        &mut self,
        to: i64,
        topic: Option<i64>,
        fields: &Fields,
        part: (String, Option<PeerFile>),
    ) -> Value {
        let (text, file) = part;
        let number = self.next();
        let keyboard = fields.json("reply_markup").unwrap_or_default();
        let rows = keyboard["inline_keyboard"].as_array().cloned().unwrap_or_default();
        let buttons: Vec<(String, String)> = rows
            .iter()
            .filter_map(Value::as_array)
            .flatten()
            .map(|b| (&b["text"], &b["callback_data"]))
            .map(|(t, d)| {
                (t.as_str().unwrap_or_default().into(), d.as_str().unwrap_or_default().into())
            })
            .collect();
        let reply = fields.json("reply_parameters").and_then(|r| r["message_id"].as_i64());
        let seen = Seen {
            id: format!("{to}:{number}"),
            chat: format!("telegram:{to}"),
            thread: topic.map(|topic| format!("telegram:{to}:{topic}")),
            text: text.trim().to_owned(),
            files: file.iter().cloned().collect(),
            buttons: buttons.iter().map(|(label, _)| label.clone()).collect(),
            reply_to: reply.map(|reply| format!("{to}:{reply}")),
            edited: false,
        };
        self.shown.push(Shown { seen, buttons, caption: file.is_some() });
        json!({ "message_id": number, "date": now(), "chat": chat(to), "from": me() })
    }

    fn send_text(&mut self, to: i64, topic: Option<i64>, fields: &Fields) -> Answer {
        let text = match words(fields, "text", 4096) {
            Ok(text) if text.trim().is_empty() => return bad("message text is empty"),
            Ok(text) => text,
            Err(why) => return bad(&why),
        };
        if let Err(why) = keyboard(fields) {
            return bad(&why);
        }
        let shown = self.show(to, topic, fields, (text, None));
        good(shown)
    }

    fn send_file(&mut self, to: i64, topic: Option<i64>, method: &str, fields: &Fields) -> Answer {
        let field = match method {
            "sendPhoto" => "photo",
            "sendVideo" => "video",
            "sendAnimation" => "animation",
            "sendAudio" => "audio",
            "sendVoice" => "voice",
            "sendDocument" => "document",
            _ => return no(404, "Not Found"),
        };
        let caption = match words(fields, "caption", 1024) {
            Ok(caption) => caption,
            Err(why) => return bad(&why),
        };
        let file = match file(fields, field, field == "photo") {
            Ok(file) => file,
            Err(answer) => return answer,
        };
        let shown = self.show(to, topic, fields, (caption, Some(file)));
        good(shown)
    }

    fn send_album(&mut self, to: i64, topic: Option<i64>, fields: &Fields) -> Answer {
        let items =
            fields.json("media").and_then(|media| media.as_array().cloned()).unwrap_or_default();
        if !(2..=10).contains(&items.len()) {
            return bad("a media group has 2 to 10 items");
        }
        let kinds: Vec<&str> = items.iter().filter_map(|item| item["type"].as_str()).collect();
        let visual = kinds.iter().all(|kind| ["photo", "video"].contains(kind));
        let alike = ["document", "audio"].iter().any(|kind| kinds.iter().all(|k| k == kind));
        if !visual && !alike {
            return bad("these kinds cannot stand in one media group");
        }
        let mut sent = Vec::new();
        for item in &items {
            let name = item["media"]
                .as_str()
                .and_then(|m| m.strip_prefix("attach://"))
                .unwrap_or_default();
            let file = match file(fields, name, item["type"] == "photo") {
                Ok(file) => file,
                Err(answer) => return answer,
            };
            let item = Fields {
                values: item.as_object().cloned().unwrap_or_default(),
                ..Fields::default()
            };
            match words(&item, "caption", 1024) {
                Ok(caption) => sent.push((caption, Some(file))),
                Err(why) => return bad(&why),
            }
        }
        let shown: Vec<Value> =
            sent.into_iter().map(|part| self.show(to, topic, fields, part)).collect();
        good(json!(shown))
    }

    fn other(&mut self, method: &str, fields: &Fields) -> Answer {
        let id = |fields: &Fields| {
            Some(format!("{}:{}", fields.number("chat_id")?, fields.number("message_id")?))
        };
        match method {
            "getMe" => good(me()),
            "deleteWebhook" | "answerCallbackQuery" => good(json!(true)),
            "getChat" => good(chat(fields.number("chat_id").unwrap_or_default())),
            "getFile" => {
                match fields.text("file_id").and_then(|id| Some((id, self.files.get(id)?))) {
                    None => bad("wrong file_id"),
                    Some((_, (_, size))) if *size > 20 << 20 => bad("file is too big"),
                    Some((id, _)) => {
                        good(json!({ "file_id": id, "file_path": format!("files/{id}") }))
                    }
                }
            }
            "setMessageReaction" => {
                let emoji =
                    fields.json("reaction").and_then(|r| Some(r[0]["emoji"].as_str()?.to_owned()));
                let Some((message, emoji)) = id(fields).zip(emoji) else {
                    return bad("REACTION_EMPTY");
                };
                if !"👍👎❤🔥👀🎉".contains(&emoji) {
                    return bad("REACTION_INVALID");
                }
                self.reactions.retain(|r| r.message != message);
                self.reactions.push(Reacted { message, emoji });
                good(json!(true))
            }
            "editMessageText" | "editMessageCaption" => {
                let id = id(fields).unwrap_or_default();
                let key = if method == "editMessageText" { "text" } else { "caption" };
                let Some(shown) = self.shown.iter_mut().find(|s| s.seen.id == id) else {
                    return bad("message to edit not found");
                };
                if shown.caption == (key == "text") {
                    return bad(&format!("there is no {key} in the message to edit"));
                }
                let text = match words(fields, key, if shown.caption { 1024 } else { 4096 }) {
                    Ok(text) => text.trim().to_owned(),
                    Err(why) => return bad(&why),
                };
                if text == shown.seen.text && shown.buttons.is_empty() {
                    return bad(
                        "message is not modified: specified new message content and reply markup \
                        are exactly the same",
                    );
                }
                shown.seen.text = text;
                shown.seen.edited = true;
                shown.seen.buttons.clear();
                shown.buttons.clear();
                good(json!({ "message_id": fields.number("message_id") }))
            }
            "deleteMessage" => {
                let id = id(fields).unwrap_or_default();
                let before = self.shown.len();
                self.shown.retain(|s| s.seen.id != id);
                if self.shown.len() == before {
                    return bad("message to delete not found");
                }
                good(json!(true))
            }
            _ => no(404, "Not Found"),
        }
    }
}

/// A text as it is read, if it is well formed and not too long.
fn words(fields: &Fields, key: &str, max: usize) -> Result<String, String> {
    let text = fields.text(key).unwrap_or_default();
    let text = match fields.text("parse_mode") {
        Some("HTML") => html::read(text).map_err(|why| format!("can't parse entities: {why}"))?,
        Some(other) => return Err(format!("unsupported parse_mode {other}")),
        None => text.to_owned(),
    };
    if text.encode_utf16().count() > max {
        let what = if key == "text" { "message" } else { "message caption" };
        return Err(format!("{what} is too long"));
    }
    Ok(text)
}

fn keyboard(fields: &Fields) -> Result<(), String> {
    let keyboard = fields.json("reply_markup").unwrap_or_default();
    let rows = keyboard["inline_keyboard"].as_array().cloned().unwrap_or_default();
    for button in rows.iter().filter_map(Value::as_array).flatten() {
        if button["text"].as_str().is_none_or(|text| text.trim().is_empty()) {
            return Err("text buttons are allowed in inline keyboards only with text".into());
        }
        if button["callback_data"].as_str().is_none_or(|data| data.is_empty() || data.len() > 64) {
            return Err("BUTTON_DATA_INVALID".into());
        }
    }
    Ok(())
}

fn file(fields: &Fields, field: &str, photo: bool) -> Result<PeerFile, Answer> {
    let Some((name, bytes)) = fields.files.get(field) else {
        return Err(bad("there is no file in the request"));
    };
    if bytes.is_empty() {
        return Err(bad("file must be non-empty"));
    }
    if bytes.len() > 50 << 20 {
        return Err(no(413, "Request Entity Too Large"));
    }
    if photo && !bytes.starts_with(b"\x89PNG") && !bytes.starts_with(b"\xff\xd8") {
        return Err(bad("IMAGE_PROCESS_FAILED"));
    }
    Ok(PeerFile { name: name.clone(), mime: None, bytes: bytes.clone(), size: None })
}
