//! How a channel starts and ends.

use super::{Case, case};
use crate::peer::{Fault, Say};
use crate::rig::Rig;
use anyhow::{Result, bail, ensure};
use nanoclaw_channel::{Health, StartError};

pub(super) const CASES: &[Case] = &[
    case!("Life", "up", "it says that it is up", [], up),
    case!(
        "Life",
        "restart",
        "stopped in order and started again: nothing comes twice",
        [],
        restart
    ),
    case!("Life", "crash", "killed and started again: it goes on", [], crash),
    Case {
        started: false,
        ..case!("Life", "not set up", "a setting that is missing is named", [], unset)
    },
    Case {
        started: false,
        ..case!("Life", "login refused at start", "it says what to change", [revoked], refused)
    },
    Case {
        started: false,
        ..case!(
            "Life",
            "unreachable at start",
            "it says so and delays nobody",
            [requests],
            unreachable
        )
    },
];

async fn up(rig: &mut Rig) -> Result<()> {
    rig.hears("that it is up", |heard| (heard.health.last() == Some(&Health::Up)).then_some(()))
        .await
}

async fn goes_on(rig: &mut Rig, before: usize) -> Result<()> {
    let say = Say::new("ann", rig.place(), "are you back?").mention();
    let at = rig.say(say).await?.at;
    let count = rig.host.heard().messages.len();
    ensure!(count == before + 1, "these came: {:?}", rig.host.heard().texts());
    rig.send_text(&at, "I am").await?;
    Ok(())
}

async fn restart(rig: &mut Rig) -> Result<()> {
    rig.chat().await?;
    rig.stop().await?;
    rig.start().await?;
    goes_on(rig, 1).await
}

async fn crash(rig: &mut Rig) -> Result<()> {
    rig.chat().await?;
    for n in 1..3 {
        rig.crash().await?;
        rig.start().await?;
        goes_on(rig, n).await?;
    }
    Ok(())
}

async fn unset(rig: &mut Rig) -> Result<()> {
    for setting in rig.peer.channel().settings.iter().filter(|s| s.required) {
        rig.unset(setting.name);
        match rig.start_fails().await? {
            StartError::NotConfigured(what) => {
                ensure!(
                    what.contains(setting.name),
                    "{} is missing, told was {what:?}",
                    setting.name
                );
            }
            other => bail!("without {}: {other:?}", setting.name),
        }
    }
    Ok(())
}

async fn refused(rig: &mut Rig) -> Result<()> {
    rig.peer.fail(Fault::Revoked, u32::MAX).await?;
    let _hurry = rig.hurry();
    match rig.starting().await {
        Err(StartError::Broken(why)) => ensure!(why.len() > 20, "{why:?} says not what to do"),
        // It waits for a person, and delays nobody.
        Ok(channel) => {
            rig.hears("what a person must do", |heard| {
                let asks = |h: &Health| matches!(h, Health::Needs { what } if what.len() > 20);
                heard.health.iter().any(asks).then_some(())
            })
            .await?;
            channel.stop().await;
        }
        Err(other) => bail!("a refused login: {other:?}"),
    }
    Ok(())
}

async fn unreachable(rig: &mut Rig) -> Result<()> {
    rig.peer.cut(true).await?;
    let hurry = rig.hurry();
    match rig.starting().await {
        Err(StartError::Unreachable(_)) => {}
        Err(e) => bail!("without a network: {e:?}"),
        Ok(channel) => {
            let lost = |h: &Health| matches!(h, Health::Reconnecting { .. });
            rig.hears("that it has no connection", |heard| {
                heard.health.iter().any(lost).then_some(())
            })
            .await?;
            channel.stop().await;
        }
    }
    rig.peer.cut(false).await?;
    drop(hurry);
    rig.start().await?;
    rig.chat().await?;
    Ok(())
}
