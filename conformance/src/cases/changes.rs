//! What people do to messages that were said before.

use super::{Case, case};
use crate::peer::Say;
use crate::rig::Rig;
use anyhow::{Result, ensure};
use nanoclaw_channel::{Change, What};

pub(super) const CASES: &[Case] = &[
    case!("Changes", "edit in", "a person changes a message", [edits_in], edit),
    case!("Changes", "delete in", "a person takes a message back", [deletes_in], delete),
    case!(
        "Changes",
        "reaction in",
        "a person reacts to the agent's message, and takes it back",
        [reactions_in],
        react
    ),
    case!(
        "Changes",
        "changes come again",
        "a change that the host could not take comes again",
        [edits_in],
        refused
    ),
];

async fn change(rig: &mut Rig, number: usize) -> Result<Change> {
    rig.hears("the change", |heard| heard.changes.get(number).cloned()).await
}

async fn edit(rig: &mut Rig) -> Result<()> {
    let place = rig.place();
    let said = rig.say(Say::new("ann", place, "at noon").mention()).await?;
    for (n, text) in ["at one", "at two"].into_iter().enumerate() {
        rig.peer.edit(said.id.as_str(), text).await?;
        let change = change(rig, n).await?;
        ensure!(change.message == said.id, "{} was changed, not {}", change.message, said.id);
        ensure!(change.what == What::Edited(text.into()), "what was done: {:?}", change.what);
        let by = change.sender.as_ref().map(|s| &s.handle);
        ensure!(by == Some(&said.sender.handle), "by {by:?}");
        ensure!(change.at.platform_id == said.at.platform_id, "at {:?}", change.at);
    }
    ensure!(rig.host.heard().messages.len() == 1, "an edit came as a new message");
    Ok(())
}

async fn delete(rig: &mut Rig) -> Result<()> {
    let place = rig.place();
    let said = rig.say(Say::new("ann", place, "a secret").mention()).await?;
    rig.peer.delete(said.id.as_str()).await?;
    let change = change(rig, 0).await?;
    ensure!(change.message == said.id, "{} was taken back, not {}", change.message, said.id);
    ensure!(change.what == What::Deleted, "what was done: {:?}", change.what);
    Ok(())
}

async fn react(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    let id = rig.send_text(&at, "is this good?").await?;
    for (n, removed) in [false, true].into_iter().enumerate() {
        rig.peer.react(&id, "👍", removed).await?;
        let change = change(rig, n).await?;
        ensure!(change.message.as_str() == id, "a reaction to {}, not {id}", change.message);
        let What::Reacted { emoji, removed: was } = &change.what else {
            anyhow::bail!("what was done: {:?}", change.what)
        };
        ensure!(["👍", "+1", "thumbsup", "thumbs_up"].contains(&emoji.as_str()), "as {emoji:?}");
        ensure!(*was == removed, "taken back: {was}, should be {removed}");
        let (ann, _) = rig.peer.person("ann");
        ensure!(change.sender.as_ref().is_some_and(|s| s.handle == ann), "by {:?}", change.sender);
        ensure!(change.at.platform_id == at.platform_id, "at {:?}", change.at);
    }
    Ok(())
}

async fn refused(rig: &mut Rig) -> Result<()> {
    let place = rig.place();
    let said = rig.say(Say::new("ann", place, "at noon").mention()).await?;
    rig.host.refuse(2);
    rig.peer.edit(said.id.as_str(), "at one").await?;
    let _hurry = rig.hurry();
    let change = change(rig, 0).await?;
    ensure!(change.what == What::Edited("at one".into()), "what was done: {:?}", change.what);
    Ok(())
}
