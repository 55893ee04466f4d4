//! Channels that are not there, or not yet.

use super::strangers::{grant, says};
use super::{EVER, Sim};
use nanoclaw_central::Role;
use nanoclaw_channel::{ChannelDef, Health, SettingSpec, StartError};
use nanoclaw_testkit::channel::{CHANNEL, CHANNELS};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

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

/// How a channel is, as `ncl channels` shows it.
async fn state(sim: &Sim, name: &str) -> anyhow::Result<(String, String)> {
    let all = sim.rig.ncl("channels list").await?;
    let row = all.as_array().into_iter().flatten().find(|row| row["name"] == name);
    let text = |key| row.and_then(|r| r[key].as_str()).unwrap_or_default().to_owned();
    assert!(!text("since").is_empty());
    Ok((text("state"), text("why")))
}

/// Texts in the owner's chat that have this in them.
fn told(sim: &Sim, what: &str) -> usize {
    sim.rig.platform.texts("boss").iter().filter(|t| t.contains(what)).count()
}

/// A channel that breaks is told on another one, once; what is for it is kept, however long that lasts, and
/// goes out when it works again.
#[tokio::test(start_paused = true)]
async fn a_broken_channel_keeps_its_queue_and_the_owner_knows() -> anyhow::Result<()> {
    let mut sim = Sim::new("broken")?;
    let agent = sim.rig.agent("andy", "demo")?;
    sim.rig.chat("c1", &agent)?;
    grant(&sim, "fakemail:boss", Role::Owner, None)?;
    sim.start().await?;
    sim.rig.platform.dm("c1", "one");
    sim.shows("c1", &["echo: one"]).await;
    sim.rig.platform.down(Some("fake"));
    sim.rig.platform.health("fake", "broken", "the token was revoked; set FAKE_TOKEN");
    sim.rig.platform.dm("c1", "two");
    says(&sim, "boss", "The channel fake does not work: the token was revoked").await;
    sim.rig.platform.health("fake", "broken", "the token was revoked; set FAKE_TOKEN");
    assert_eq!(state(&sim, "fake").await?.0, "broken");
    sim.stop().await;
    sim.start().await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    sim.rig.platform.health("fake", "broken", "the token was revoked; set FAKE_TOKEN");
    tokio::time::sleep(Duration::from_secs(60 * 3600)).await;
    assert_eq!(sim.rig.platform.texts("c1"), ["echo: one"]);
    assert_eq!(sim.rig.ncl("dead-letters list").await?, serde_json::json!([]));
    // After the restart it was up for a moment, so the owner was told of each.
    let before = told(&sim, "does not work");
    sim.rig.platform.down(None);
    sim.rig.platform.health("fake", "up", "");
    sim.shows("c1", &["echo: one", "echo: two"]).await;
    says(&sim, "boss", "The channel fake works again.").await;
    assert_eq!((told(&sim, "does not work"), before), (2, 2));
    assert_eq!(state(&sim, "fake").await?, ("up".into(), String::new()));
    sim.stop().await;
    Ok(())
}

/// Nobody is told of a connection that is back within a minute; of one that is not, once.
#[tokio::test(start_paused = true)]
async fn only_a_long_outage_is_told() -> anyhow::Result<()> {
    let mut sim = Sim::new("flap")?;
    sim.rig.agent("andy", "demo")?;
    grant(&sim, "fakemail:boss", Role::Owner, None)?;
    sim.start().await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    for _ in 0..3 {
        sim.rig.platform.health("fake", "reconnecting", "the network is gone");
        tokio::time::sleep(Duration::from_secs(40)).await;
        sim.rig.platform.health("fake", "up", "");
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    assert_eq!(sim.rig.platform.texts("boss"), Vec::<String>::new());
    for why in ["the network is gone", "no name server", "no route"] {
        sim.rig.platform.health("fake", "reconnecting", why);
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    assert_eq!(state(&sim, "fake").await?, ("reconnecting".into(), "no route".into()));
    assert_eq!(told(&sim, "is not connected"), 1, "{:?}", sim.rig.platform.texts("boss"));
    sim.rig.platform.health("fake", "up", "");
    says(&sim, "boss", "The channel fake works again.").await;
    assert_eq!(sim.rig.platform.texts("boss").len(), 2);
    sim.stop().await;
    Ok(())
}

/// A channel that breaks and works again all night does not fill the owner's chat, and how it ended is told.
#[tokio::test(start_paused = true)]
async fn a_channel_that_flaps_does_not_flood_the_owner() -> anyhow::Result<()> {
    let mut sim = Sim::new("flood")?;
    sim.rig.agent("andy", "demo")?;
    grant(&sim, "fakemail:boss", Role::Owner, None)?;
    sim.start().await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    for _ in 0..200 {
        sim.rig.platform.health("fake", "broken", "the account is used elsewhere");
        tokio::time::sleep(Duration::from_secs(100)).await;
        sim.rig.platform.health("fake", "up", "");
        tokio::time::sleep(Duration::from_secs(100)).await;
    }
    let texts = sim.rig.platform.texts("boss").len();
    assert!((2..10).contains(&texts), "{texts} messages in one night");
    assert!(sim.rig.platform.texts("boss").last().is_some_and(|t| t.contains("does not work")));
    // It has worked for a while: that is told, at the latest after an hour.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(sim.rig.platform.texts("boss").len(), texts + 1);
    assert!(sim.rig.platform.texts("boss").last().is_some_and(|t| t.contains("works again")));
    sim.stop().await;
    Ok(())
}

/// Breaks at once.
const DEAD: ChannelDef = ChannelDef {
    name: "fakemail",
    settings: &[],
    start: |_| Box::pin(async { Err(StartError::Broken("the token was revoked".into())) }),
};
/// Takes a while.
const SLOW: ChannelDef = ChannelDef {
    name: "fake",
    settings: &[],
    start: |start| {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(7)).await;
            (CHANNEL.start)(start).await
        })
    },
};
static DEAD_AND_SLOW: [&ChannelDef; 2] = [&DEAD, &SLOW];

/// Where nobody can be told yet that a channel is broken, they are as soon as another one is up.
#[tokio::test(start_paused = true)]
async fn what_nobody_could_be_told_is_told_later() -> anyhow::Result<()> {
    let mut sim = Sim::new("later")?;
    sim.channels = &DEAD_AND_SLOW;
    grant(&sim, "fake:boss", Role::Owner, None)?;
    sim.start().await?;
    says(&sim, "boss", "The channel fakemail does not work: the token was revoked").await;
    assert_eq!(told(&sim, "fakemail"), 1);
    sim.stop().await;
    Ok(())
}

static STARTS: AtomicUsize = AtomicUsize::new(0);
/// A channel that waits for somebody to scan a code.
const SCANS: ChannelDef = ChannelDef {
    name: "fakemail",
    settings: &[],
    start: |start| {
        Box::pin(async move {
            let n = STARTS.fetch_add(1, Ordering::SeqCst);
            (start.report)(Health::Needs { what: format!("scan this: {n}") });
            std::future::pending().await
        })
    },
};
static ONE_SCANS: [&ChannelDef; 2] = [&CHANNEL, &SCANS];

/// A channel that waits for a person holds up nobody, and says what it needs wherever somebody looks.
#[tokio::test(start_paused = true)]
async fn a_channel_that_waits_for_a_person_delays_nobody() -> anyhow::Result<()> {
    let mut sim = Sim::new("scans")?;
    sim.channels = &ONE_SCANS;
    let agent = sim.rig.agent("andy", "demo")?;
    sim.rig.chat("c1", &agent)?;
    grant(&sim, "fake:boss", Role::Owner, None)?;
    for _ in 0..2 {
        sim.start().await?;
        says(&sim, "boss", "The channel fakemail needs you:\nscan this: 0").await;
        sim.rig.platform.dm("c1", "hello");
        sim.quiet().await;
        assert_eq!(told(&sim, "needs you"), 1, "{:?}", sim.rig.platform.texts("boss"));
        sim.stop().await;
    }
    assert_eq!(sim.rig.platform.texts("c1"), ["echo: hello", "echo: hello"]);
    sim.start().await?;
    sim.quiet().await;
    let before = state(&sim, "fakemail").await?;
    assert_eq!(before, ("needs you".into(), "scan this: 2".into()));
    sim.rig.ncl("channels restart fakemail").await?;
    sim.quiet().await;
    assert_eq!(state(&sim, "fakemail").await?.1, "scan this: 3");
    assert!(sim.rig.ncl("channels restart nothing").await.is_err());
    sim.stop().await;
    Ok(())
}

/// A code that is renewed is one wait: the owner hears of it once, and the newest code is where they look.
#[tokio::test(start_paused = true)]
async fn a_code_that_is_renewed_is_told_once() -> anyhow::Result<()> {
    let mut sim = Sim::new("renewed")?;
    sim.rig.agent("andy", "demo")?;
    grant(&sim, "fakemail:boss", Role::Owner, None)?;
    sim.start().await?;
    for n in 0..20 {
        sim.rig.platform.health("fake", "needs", &format!("scan this: {n}"));
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
    says(&sim, "boss", "The channel fake needs you").await;
    assert_eq!(state(&sim, "fake").await?, ("needs you".into(), "scan this: 19".into()));
    assert_eq!(told(&sim, "needs you"), 1, "{:?}", sim.rig.platform.texts("boss"));
    sim.rig.platform.health("fake", "up", "");
    says(&sim, "boss", "The channel fake works again.").await;
    assert_eq!(sim.rig.platform.texts("boss").len(), 2);
    sim.stop().await;
    Ok(())
}

static TWICE: [&ChannelDef; 3] = [&CHANNEL, &NOT_SET_UP, &CHANNEL];

/// Two adapters under one name would take each other's messages.
#[tokio::test(start_paused = true)]
async fn two_adapters_of_one_name_are_refused() -> anyhow::Result<()> {
    let mut sim = Sim::new("twice")?;
    sim.channels = &TWICE;
    let error = sim.start().await.expect_err("two channels under one name").to_string();
    assert!(error.contains("the channel fake is listed twice"), "{error}");
    Ok(())
}

const WITH_TOKEN: ChannelDef = ChannelDef {
    name: "fakemail",
    settings: &[SettingSpec {
        name: "FAKEMAIL_PASSWORD",
        what: "the password of the mailbox",
        required: true,
        secret: true,
    }],
    start: |start| {
        Box::pin(async move {
            match (start.setting)("FAKEMAIL_PASSWORD").as_deref() {
                None => Err(StartError::NotConfigured("no password".into())),
                Some("good") => (nanoclaw_testkit::channel::MAIL.start)(start).await,
                Some(_) => Err(StartError::Broken("the password is refused".into())),
            }
        })
    },
};
static ONE_WITH_TOKEN: [&ChannelDef; 2] = [&CHANNEL, &WITH_TOKEN];

/// What is missing is named, and a new setting is another try.
#[tokio::test(start_paused = true)]
async fn a_new_setting_is_another_try() -> anyhow::Result<()> {
    let mut sim = Sim::new("settings")?;
    sim.channels = &ONE_WITH_TOKEN;
    grant(&sim, "fake:boss", Role::Owner, None)?;
    sim.start().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let missing = "set FAKEMAIL_PASSWORD (the password of the mailbox) in .env";
    assert_eq!(state(&sim, "fakemail").await?, ("not configured".into(), missing.into()));
    assert!(sim.rig.platform.texts("boss").is_empty());
    for (password, is) in [("bad", "broken"), ("good", "up")] {
        let set = (String::from("FAKEMAIL_PASSWORD"), password.to_owned());
        sim.settings.lock().expect("settings").extend([set]);
        tokio::time::sleep(Duration::from_secs(35)).await;
        assert_eq!(state(&sim, "fakemail").await?.0, is);
    }
    says(&sim, "boss", "does not work: the password is refused").await;
    says(&sim, "boss", "The channel fakemail works again.").await;
    sim.stop().await;
    Ok(())
}
