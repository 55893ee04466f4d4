//! Channels that are not there, or not yet.

use super::{EVER, Sim};
use nanoclaw_channel::{ChannelDef, StartError};
use nanoclaw_testkit::channel::{CHANNEL, CHANNELS};

/// The e-mail channel before its password was set.
const NOT_SET_UP: ChannelDef = ChannelDef {
    name: "fakemail",
    settings: &[],
    start: |_| Box::pin(async { Err(StartError::NotConfigured("set FAKEMAIL_PASSWORD".into())) }),
};
static ONE_DOWN: [&ChannelDef; 2] = [&CHANNEL, &NOT_SET_UP];

/// A channel that is not set up delays nobody and eats nothing: it is shown with the next step, and what is for
/// it goes out when it is there.
#[tokio::test(start_paused = true)]
async fn what_is_for_a_channel_that_is_not_set_up_waits_for_it() -> anyhow::Result<()> {
    let mut sim = Sim::new("notsetup")?;
    sim.channels = &ONE_DOWN;
    let agent = sim.rig.agent("andy", "demo")?;
    sim.rig.chat("c1", &agent)?;
    let post = sim.rig.group("fakemail", "post")?;
    sim.rig.wire(&post, &agent, |_| {})?;
    sim.start().await?;
    let letter = r#"!row {"to": "post", "content": {"text": "a letter"}}"#;
    sim.rig.platform.dm("c1", letter);
    sim.quiet().await;
    sim.rig.platform.dm("c1", "and here?");
    sim.shows("c1", &["echo: and here?"]).await;
    let status = sim.rig.ncl("status").await?.to_string();
    assert!(status.contains("set FAKEMAIL_PASSWORD"), "{status}");
    let why = sim.rig.ncl("why m1").await?.to_string();
    assert!(!why.contains("\"delivered\""), "{why}");
    sim.stop().await;
    sim.channels = &CHANNELS;
    sim.start().await?;
    let there = |p: &nanoclaw_testkit::platform::Platform| {
        p.shown().iter().any(|s| s.channel == "fakemail" && s.text == "a letter")
    };
    assert!(sim.rig.platform.until(EVER, there).await, "{:?}", sim.rig.platform.shown());
    assert_eq!(sim.rig.platform.texts("post"), ["a letter"]);
    sim.stop().await;
    Ok(())
}
