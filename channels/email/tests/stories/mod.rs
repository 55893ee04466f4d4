//! What only Resend has, and what others think of the mail that is sent.

use crate::strict::Resend;
use anyhow::{Context as _, Result, ensure};
use nanoclaw_conformance::emulate::Emulate;
use nanoclaw_conformance::{Fault, PeerFile, Place, Rig, Say};
use serde_json::{Value, json};

#[tokio::test]
async fn without_a_webhook_the_list_is_read() -> Result<()> {
    let mut peer = Resend::start().await?;
    peer.webhooks = false;
    let mut rig = Rig::new(Box::new(peer))?;
    rig.start().await?;
    let hurry = rig.hurry();
    rig.say(Say::new("ann", Place::Direct, "is anybody reading?")).await?;
    drop(hurry);
    // More than a page, while nobody reads.
    rig.crash().await?;
    let says = (0..230).map(|n| Say::new("bob", Place::Direct, format!("no {n:03}"))).collect();
    rig.peer.burst(says).await?;
    rig.start().await?;
    let texts = rig
        .hears("all of it", |heard| (heard.messages.len() >= 231).then(|| heard.messages.clone()))
        .await?;
    for (n, message) in texts[1..].iter().enumerate() {
        ensure!(message.text == format!("no {n:03}"), "{} in place {n}", message.text);
    }
    Ok(())
}

#[tokio::test]
async fn a_mail_that_is_not_there_as_it_came_is_put_together() -> Result<()> {
    let peer = Resend::start().await?;
    peer.shared.world().raw = false;
    let shared = peer.shared.clone();
    let mut rig = Rig::new(Box::new(peer))?;
    rig.start().await?;
    let file = PeerFile {
        name: "plan.pdf".into(),
        mime: Some("application/pdf".into()),
        bytes: b"%PDF the plan".into(),
        size: None,
    };
    let first = rig.say(Say::new("ann", Place::Direct, "naïve 😀").file(file)).await?;
    ensure!(first.text == "naïve 😀" && first.sender.handle == "ann@people.test", "{first:?}");
    ensure!(first.files.len() == 1 && first.files[0].bytes == b"%PDF the plan", "{first:?}");
    let second = rig.say(Say::new("ann", Place::Direct, "and more")).await?;
    ensure!(second.at == first.at, "{:?} {:?}", first.at, second.at);
    // Machines are machines however their mail is read.
    rig.peer.echo().await?;
    rig.say(Say::new("ann", Place::Direct, "the last word")).await?;
    ensure!(rig.host.heard().messages.len() == 3, "{:?}", rig.host.heard().texts());
    ensure!(shared.world().calls < 60, "{} calls", shared.world().calls);
    Ok(())
}

#[tokio::test]
async fn an_answer_to_a_mail_that_the_agent_wrote_first_finds_its_conversation() -> Result<()> {
    let mut rig = Rig::new(Box::new(Resend::start().await?))?;
    rig.start().await?;
    let mut at = rig.chat().await?;
    at.thread_id = None;
    let id = rig.send_text(&at, "# The report\n\nis ready").await?;
    let seen = rig.sees("it", |shown| shown.iter().find(|s| s.id == id).cloned()).await?;
    // Ann knows the mail by the id that it got on its way.
    let said = rig.say(Say::new("ann", Place::Thread(7), "thank you").reply_to(&id)).await?;
    let thread = said.at.thread_id.map(|thread| thread.to_string());
    ensure!(thread.is_some() && thread == seen.thread, "{thread:?} is not {:?}", seen.thread);
    Ok(())
}

/// emulate has sending, keys and what was sent; what came, message ids and attachments it does not know.
#[tokio::test]
async fn mail_is_sent_at_a_resend_of_others() -> Result<()> {
    let others = Emulate::start("resend", &json!({})).await?;
    let peer = Resend::start().await?;
    let shared = peer.shared.clone();
    shared.world().sends_at = Some(others.url.clone());
    let mut rig = Rig::new(Box::new(peer))?;
    rig.start().await?;
    let at = rig.chat().await?;
    let id = rig.send_text(&at, "an **answer**").await?;
    // It was taken, and nobody heard so; the next attempt has the same key and is the same mail.
    rig.peer.fail(Fault::AnswerLost, 1).await?;
    let message = rig.text(&at, "said once");
    ensure!(rig.try_send(&message).await?.is_err(), "the answer was not lost");
    rig.send(&message).await?;
    let http = nanoclaw_kit::http::client()?;
    let all = http.get(format!("{}/emails", others.url)).bearer_auth("re_any").send().await?;
    let all: Value = serde_json::from_slice(&nanoclaw_kit::http::body(all, 1 << 20).await?)?;
    let all = all["data"].as_array().context("no list")?;
    ensure!(all.len() == 2 && all[0]["id"] == id, "{all:?}");
    ensure!(all[0]["to"] == json!(["ann@people.test"]), "{all:?}");
    ensure!(
        all[0]["html"].as_str().is_some_and(|h| h.contains("<strong>answer</strong>")),
        "{all:?}"
    );
    ensure!(all[0]["subject"].as_str().is_some_and(|s| s.starts_with("Re:")), "{all:?}");
    Ok(())
}
