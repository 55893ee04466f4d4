//! What people say.

use super::{Case, case};
use crate::peer::{Place, Say};
use crate::rig::Rig;
use anyhow::{Result, ensure};
use nanoclaw_channel::{ChatKind, Mention};

pub(super) const CASES: &[Case] = &[
    case!("Messages", "direct", "a direct message, with every fact stated", [direct], direct),
    case!(
        "Messages",
        "group mention",
        "the agent addressed in a group",
        [group, mentions],
        mention
    ),
];

async fn direct(rig: &mut Rig) -> Result<()> {
    let (handle, name) = rig.peer.person("ann");
    let got = rig.say(Say::new("ann", Place::Direct, "hello, agent")).await?;
    ensure!(got.text == "hello, agent", "the text is {:?}", got.text);
    ensure!(got.chat == ChatKind::Direct, "a direct chat came as {:?}", got.chat);
    ensure!(got.mention == Mention::Yes, "a direct message is a mention");
    ensure!(got.sender.handle == handle, "the handle is {:?}, not {handle:?}", got.sender.handle);
    ensure!(got.sender.name == name, "the name is {:?}, not {name:?}", got.sender.name);
    ensure!(got.person.is_none(), "only the operator's own hand is a person");
    ensure!(got.at.channel_type.as_str() == rig.peer.channel().name, "at {:?}", got.at);
    Ok(())
}

async fn mention(rig: &mut Rig) -> Result<()> {
    let got = rig.say(Say::new("ann", Place::Group, "what is the time?").mention()).await?;
    ensure!(got.chat == ChatKind::Group, "a group came as {:?}", got.chat);
    ensure!(got.mention == Mention::Yes, "a mention was not seen");
    ensure!(got.text.contains("what is the time?"), "the text is {:?}", got.text);
    Ok(())
}
