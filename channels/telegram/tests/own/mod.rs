//! What only Telegram does.

use crate::peer::world::{GROUP, chat, me, person};
use crate::peer::{Shared, Telegram};
use anyhow::{Context as _, Result, ensure};
use nanoclaw_channel::{Body, Health, Inbound, Mention, OutFile, SendError};
use nanoclaw_conformance::{Place, Rig, Say};
use serde_json::{Value, json};
use std::sync::Arc;

async fn rig() -> Result<(Rig, Arc<Shared>)> {
    let peer = Telegram::start().await?;
    let shared = peer.shared();
    let mut rig = Rig::new(Box::new(peer))?;
    rig.start().await?;
    Ok((rig, shared))
}

/// A message from ann to the bot, with more fields.
async fn says(rig: &mut Rig, shared: &Shared, more: Value) -> Result<Inbound> {
    let mut message = shared.world().message(Place::Direct, "ann", person("ann"));
    let fields = message.as_object_mut().context("a message")?;
    fields.remove("text");
    fields.extend(more.as_object().cloned().unwrap_or_default());
    let id = format!("1001:{}", message["message_id"]);
    shared.tell(json!({ "message": message }));
    rig.hears(&id, |heard| heard.message(&id).cloned()).await
}

#[tokio::test]
async fn a_group_that_moved_keeps_its_id() -> Result<()> {
    const NEW: i64 = -1_009_999_999_999;
    let (mut rig, shared) = rig().await?;
    let at = rig.say(Say::new("ann", Place::Group, "hello").mention()).await?.at;
    shared.world().moved = Some(NEW);
    let id = rig.send_text(&at, "we moved").await?;
    ensure!(id.starts_with(&format!("{NEW}:")), "sent as {id}");
    // What is said in the new one comes from the chat that the host knows, also after a restart.
    rig.crash().await?;
    rig.start().await?;
    let mut message = shared.world().message(Place::Group, "bob", person("bob"));
    message["chat"] = chat(NEW);
    let number = format!("{NEW}:{}", message["message_id"]);
    shared.tell(json!({ "message": message }));
    let got = rig.hears("bob", |heard| heard.message(&number).cloned()).await?;
    ensure!(got.at == at, "it came from {:?}", got.at);
    rig.send_text(&at, "and stay").await?;
    Ok(())
}

#[tokio::test]
async fn the_notice_of_a_move_is_enough() -> Result<()> {
    const NEW: i64 = -1_008_888_888_888;
    let (mut rig, shared) = rig().await?;
    let at = rig.say(Say::new("ann", Place::Group, "hello").mention()).await?.at;
    let mut notice = shared.world().message(Place::Group, "ann", person("ann"));
    notice["migrate_to_chat_id"] = NEW.into();
    shared.tell(json!({ "message": notice }));
    let mut message = shared.world().message(Place::Group, "bob", person("bob"));
    message["chat"] = chat(NEW);
    let number = format!("{NEW}:{}", message["message_id"]);
    shared.tell(json!({ "message": message }));
    let got = rig.hears("bob", |heard| heard.message(&number).cloned()).await?;
    ensure!(got.at == at, "it came from {:?}", got.at);
    ensure!(rig.host.heard().messages.len() == 2, "the notice came in as a message");
    Ok(())
}

#[tokio::test]
async fn two_programs_with_one_token_are_told() -> Result<()> {
    let (mut rig, shared) = rig().await?;
    let _hurry = rig.hurry();
    // The other program asks again as soon as it is sent away.
    let other = Arc::clone(&shared);
    let thief = tokio::spawn(async move {
        loop {
            let asked = other.news.notified();
            other.world().poll += 1;
            other.news.notify_waiters();
            asked.await;
            tokio::task::yield_now().await;
        }
    });
    let what = rig
        .hears("what the owner must do", |heard| {
            heard.health.iter().find_map(|health| match health {
                Health::Needs { what } => Some(what.clone()),
                Health::Up | Health::Reconnecting { .. } | Health::Broken { .. } => None,
            })
        })
        .await?;
    thief.abort();
    ensure!(what.contains("Another program") && what.contains("@BotFather"), "{what}");
    Ok(())
}

#[tokio::test]
async fn an_album_in_two_halves_is_one_message() -> Result<()> {
    let (mut rig, shared) = rig().await?;
    let mut halves = Vec::new();
    for n in 0..2 {
        let mut message = shared.world().message(Place::Direct, "ann", person("ann"));
        let fields = message.as_object_mut().context("a message")?;
        fields.remove("text");
        message["media_group_id"] = "album".into();
        message["photo"] = json!([{ "file_id": format!("p{n}"), "file_size": 3 }]);
        if n == 1 {
            message["caption"] = "the second half has the words".into();
        }
        shared.world().files.insert(format!("p{n}"), (vec![b'0' + n; 3], 3));
        halves.push(json!({ "message": message }));
    }
    let bell = shared.bell.notified();
    let mut halves = halves.into_iter();
    shared.tell(halves.next().context("one half")?);
    bell.await; // The first half is on its way.
    shared.tell(halves.next().context("the other half")?);
    let got = rig.hears("the album", |heard| heard.messages.first().cloned()).await?;
    ensure!(got.files.len() == 2 && got.text == "the second half has the words", "{got:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_no_text_is_told_in_words() -> Result<()> {
    let (mut rig, shared) = rig().await?;
    let cases = [
        (json!({ "sticker": { "file_id": "s", "emoji": "😀" } }), "[sticker 😀]"),
        (json!({ "location": { "latitude": 52.5, "longitude": 13.4 } }), "[location: 52.5, 13.4]"),
        (
            json!({ "contact": { "phone_number": "+49301234", "first_name": "Dora" } }),
            "[contact: Dora, +49301234]",
        ),
        (
            json!({ "poll": { "question": "When?", "options": [{ "text": "Now" }, { "text": "Later" }] } }),
            "[poll: When? Now / Later]",
        ),
        (json!({ "dice": { "emoji": "🎲", "value": 5 } }), "[🎲 shows 5]"),
        (json!({ "text": "/status@Nano_bot now" }), "/status now"),
        (
            json!({ "text": "psst", "forward_origin": { "type": "user", "sender_user": person("bob"), "date": 1 } }),
            "[forwarded from Bob Baker]\npsst",
        ),
    ];
    for (more, want) in cases {
        let got = says(&mut rig, &shared, more).await?;
        ensure!(got.text == want, "{:?} instead of {want:?}", got.text);
    }
    Ok(())
}

#[tokio::test]
async fn voice_is_a_file() -> Result<()> {
    let (mut rig, shared) = rig().await?;
    shared.world().files.insert("v".into(), (b"OggS".to_vec(), 4));
    let voice = json!({ "voice": { "file_id": "v", "duration": 2, "mime_type": "audio/ogg", "file_size": 4 } });
    let got = says(&mut rig, &shared, voice).await?;
    let [file] = got.files.as_slice() else { anyhow::bail!("{got:?}") };
    ensure!(file.kind == "audio" && file.name == "audio.ogg" && file.bytes == b"OggS", "{file:?}");
    Ok(())
}

#[tokio::test]
async fn a_name_in_the_words_is_no_mention() -> Result<()> {
    let (mut rig, shared) = rig().await?;
    // The letters are there, the entity is not: a code block, or another bot's name.
    let mut message = shared.world().message(Place::Group, "ann", person("ann"));
    message["text"] = "run `@nano_bot` yourself, or @nano_bot_2".into();
    message["entities"] = json!([{ "type": "mention", "offset": 28, "length": 11 }]);
    let id = format!("{GROUP}:{}", message["message_id"]);
    shared.tell(json!({ "message": message }));
    let got = rig.hears("it", |heard| heard.message(&id).cloned()).await?;
    ensure!(got.mention == Mention::No, "{got:?}");
    let entity = json!([{ "type": "text_mention", "offset": 0, "length": 4, "user": me() }]);
    let mut message = shared.world().message(Place::Group, "ann", person("ann"));
    message["text"] = "Nano, hello".into();
    message["entities"] = entity;
    let id = format!("{GROUP}:{}", message["message_id"]);
    shared.tell(json!({ "message": message }));
    let got = rig.hears("it", |heard| heard.message(&id).cloned()).await?;
    ensure!(got.mention == Mention::Yes, "{got:?}");
    Ok(())
}

#[tokio::test]
async fn a_picture_that_is_none_goes_as_a_document() -> Result<()> {
    let (mut rig, shared) = rig().await?;
    let at = rig.chat().await?;
    let files = vec![OutFile { name: "not-really.png".into(), bytes: b"text".to_vec() }];
    let message = rig.files(&at, "a *picture*", files);
    rig.send(&message).await?;
    let shown = shared.world().shown.iter().map(|shown| shown.seen.clone()).collect::<Vec<_>>();
    ensure!(shown.len() == 1 && shown[0].text == "a picture", "{shown:?}");
    ensure!(shown[0].files[0].name == "not-really.png", "{shown:?}");
    Ok(())
}

#[tokio::test]
async fn the_words_of_a_file_can_be_changed() -> Result<()> {
    let (mut rig, shared) = rig().await?;
    let at = rig.chat().await?;
    let files = vec![OutFile { name: "a.txt".into(), bytes: b"text".to_vec() }];
    let message = rig.files(&at, "before", files);
    let id = rig.send(&message).await?.context("an id")?;
    let body = Body::Edit {
        message: nanoclaw_conformance::rig::message_id(&id)?,
        markdown: "after".into(),
    };
    let message = rig.outgoing(&at, body);
    rig.send(&message).await?;
    ensure!(shared.world().shown[0].seen.text == "after", "the words are the old ones");
    Ok(())
}

#[tokio::test]
async fn an_unknown_chat_is_refused_for_good() -> Result<()> {
    let (mut rig, _shared) = rig().await?;
    let mut at = rig.chat().await?;
    at.platform_id = nanoclaw_channel::PlatformId::parse("telegram:31337")?;
    let message = rig.text(&at, "anybody?");
    let tried = rig.try_send(&message).await?;
    ensure!(
        matches!(&tried, Err(SendError::Reject { why }) if why.contains("chat not found")),
        "{tried:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_reaction_to_a_later_part_is_one_to_the_message() -> Result<()> {
    let (mut rig, _) = rig().await?;
    let at = rig.chat().await?;
    let id = rig.send_text(&at, &"one more word ".repeat(500)).await?;
    let shown = rig.peer.shown().await?;
    let last = &shown.last().context("nothing is shown")?.id;
    ensure!(*last != id, "it is one part");
    rig.peer.react(last, "👍", false).await?;
    let change = rig.hears("the reaction", |heard| heard.changes.first().cloned()).await?;
    ensure!(change.message.as_str() == id, "a reaction to {}", change.message);
    Ok(())
}
