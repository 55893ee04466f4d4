//! Answers that are shown while they are being said.

use super::{EVER, Sim};
use nanoclaw_contract::ids::AgentId;
use nanoclaw_contract::preview::{NAME, Preview};
use nanoclaw_testkit::driver::Manner;
use nanoclaw_testkit::platform::{Mood, Said};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// How long the agent works on its answer.
const LONG: Duration = Duration::from_secs(900);
const BROKEN_OFF: &str = "(This answer was broken off.)";

/// A chat whose agent is at an answer to `tell me`.
struct Stage {
    sim: Sim,
    agent: AgentId,
    channel: String,
}

impl Stage {
    async fn new(name: &str, channel: &str, wanted: bool) -> anyhow::Result<Self> {
        let mut sim = Sim::new(name)?;
        *sim.driver.manner.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            Manner::Works(LONG);
        let agent = sim.rig.agent("andy", "demo")?;
        let chat = sim.rig.group(channel, "c1")?;
        sim.rig.wire(&chat, &agent, |w| w.previews = wanted)?;
        sim.start().await?;
        let stage = Self { sim, agent, channel: channel.into() };
        stage.says("m1");
        let claimed = "SELECT COUNT(*) FROM processing_ack";
        stage.until(|s| s.count(claimed).is_ok_and(|n| n == 1)).await;
        Ok(stage)
    }

    fn says(&self, id: &str) {
        let (chat, sender) = ("c1".into(), "ann".into());
        let (text, id, channel) = ("tell me".into(), id.into(), self.channel.clone());
        let said =
            Said { id, chat, channel, sender, text, mention: true, group: true, ..Said::default() };
        self.sim.rig.platform.say(said);
    }

    async fn until(&self, mut holds: impl FnMut(&Self) -> bool) {
        assert!(
            self.sim.rig.platform.until(EVER, |_| holds(self)).await,
            "never; the chat shows {:?}, {:?}",
            self.screen(),
            self.sim.driver.counts()
        );
    }

    fn folder(&self) -> anyhow::Result<PathBuf> {
        let session = self.sim.rig.sessions(&self.agent)?.pop();
        let session = session.ok_or_else(|| anyhow::anyhow!("no session"))?;
        Ok(self.sim.rig.dir(&self.agent, &session)?.writable())
    }

    fn count(&self, sql: &str) -> anyhow::Result<i64> {
        let path = self.folder()?.join("outbound.db");
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let outbox = rusqlite::Connection::open_with_flags(path, flags)?;
        Ok(outbox.query_row(sql, [], |r| r.get(0))?)
    }

    /// The box says so much of the row with this id, to the chat of this name.
    fn drafts(&self, id: &str, chat: &str, text: &str) -> anyhow::Result<()> {
        let (channel_type, platform_id) = (self.channel.parse()?, chat.parse()?);
        let to = nanoclaw_contract::ids::Address { channel_type, platform_id, thread_id: None };
        let preview = Preview { id: id.parse()?, to, in_reply_to: None, text: text.into() };
        Ok(std::fs::write(self.folder()?.join(NAME), serde_json::to_vec(&preview)?)?)
    }

    /// The row by which the box will answer.
    fn answer(&self) -> anyhow::Result<String> {
        let session = self.sim.rig.sessions(&self.agent)?.remove(0);
        let inbox = self.sim.inbox(&self.agent, &session)?;
        let id: String =
            inbox.query_row("SELECT id FROM messages_in ORDER BY seq LIMIT 1", [], |r| r.get(0))?;
        Ok(format!("out-{id}"))
    }

    fn screen(&self) -> Vec<String> {
        self.sim.rig.platform.screen("c1")
    }

    async fn shows(&self, texts: &[&str]) {
        self.until(|s| s.screen() == texts).await;
    }

    /// The answer is there, nothing else, and nothing is left to do.
    async fn ends(mut self, texts: &[&str]) -> anyhow::Result<()> {
        self.shows(texts).await;
        self.sim.quiet().await;
        assert_eq!(self.screen(), texts);
        assert!(self.sim.rig.central()?.sessions_with_previews()?.is_empty());
        self.sim.stop().await;
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_grows_and_becomes_itself() -> anyhow::Result<()> {
    let stage = Stage::new("grows", "fake", true).await?;
    let answer = stage.answer()?;
    for text in ["Once", "Once upon", "Once upon a time"] {
        stage.drafts(&answer, "c1", text)?;
        stage.shows(&[&format!("{text} …")]).await;
    }
    let shown = stage.sim.rig.platform.shown();
    assert_eq!(shown.len(), 3, "{shown:?}");
    stage.ends(&["echo: tell me"]).await
}

#[tokio::test(start_paused = true)]
async fn it_changes_no_faster_than_the_platform_likes() -> anyhow::Result<()> {
    let stage = Stage::new("pace", "fake", true).await?;
    let (answer, began) = (stage.answer()?, Instant::now());
    let mut text = "word".to_owned();
    while began.elapsed() < Duration::from_secs(60) {
        text.push_str(" word");
        stage.drafts(&answer, "c1", &text)?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let edits = stage.sim.rig.platform.shown().len();
    assert!((10..=41).contains(&edits), "{edits} in a minute");
    stage.ends(&["echo: tell me"]).await
}

#[tokio::test(start_paused = true)]
async fn nothing_is_shown_where_nobody_wants_it_or_nothing_can_be_changed() -> anyhow::Result<()> {
    for (name, channel, wanted) in [("unwanted", "fake", false), ("fixed", "fakemail", true)] {
        let stage = Stage::new(name, channel, wanted).await?;
        stage.drafts(&stage.answer()?, "c1", "Once upon")?;
        stage.ends(&["echo: tell me"]).await?;
    }
    Ok(())
}

/// A box says what it likes: the wrong chat, an answer that was given, no preview at all, far too much.
#[tokio::test(start_paused = true)]
async fn a_box_that_lies_shows_nothing() -> anyhow::Result<()> {
    let stage = Stage::new("liar", "fake", true).await?;
    let other = stage.sim.rig.group("fake", "c2")?;
    stage.sim.rig.wire(&other, &stage.agent, |w| w.previews = true)?;
    let (answer, file) = (stage.answer()?, stage.folder()?.join(NAME));
    let minute = || tokio::time::sleep(Duration::from_secs(10));
    stage.drafts(&answer, "c2", "for others")?;
    minute().await;
    std::fs::write(&file, "{\"id\": 7}")?;
    minute().await;
    stage.drafts(&answer, "c1", &"x".repeat(300 << 10))?;
    minute().await;
    std::fs::remove_file(&file)?;
    std::os::unix::fs::symlink(stage.sim.rig.data().join("v2.db"), &file)?;
    minute().await;
    assert!(stage.sim.rig.platform.shown().is_empty());
    std::fs::remove_file(&file)?;
    for n in 0..40 {
        stage.drafts(&format!("made-up-{n}"), "c1", "one of many")?;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert!(stage.screen().len() <= 16, "{:?}", stage.screen());
    let made_up = stage.screen().len();
    let mut texts = vec![BROKEN_OFF; made_up];
    texts.push("echo: tell me");
    stage.shows(&texts).await;
    // An answer that was given stays as it is.
    stage.drafts(&answer, "c1", "something else")?;
    stage.ends(&texts).await
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_takes_nothing_loses_nothing() -> anyhow::Result<()> {
    let stage = Stage::new("busy", "fake", true).await?;
    let answer = stage.answer()?;
    stage.drafts(&answer, "c1", "Once")?;
    stage.shows(&["Once …"]).await;
    stage.sim.rig.platform.mood(Mood::Down);
    for n in 0..60 {
        stage.drafts(&answer, "c1", &format!("Once upon {n}"))?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let (tries, _) = stage.sim.rig.platform.attempts();
    assert!(tries <= 9, "{tries} tries in a minute are no rest");
    stage.sim.rig.platform.mood(Mood::Up);
    stage.drafts(&answer, "c1", "Once upon a time")?;
    stage.shows(&["Once upon a time …"]).await;
    stage.ends(&["echo: tell me"]).await
}

/// The answer to the first call gets lost: whether it is shown, the same key tells.
#[tokio::test(start_paused = true)]
async fn a_first_call_whose_answer_is_lost_is_found_again() -> anyhow::Result<()> {
    let stage = Stage::new("lost", "fake", true).await?;
    let answer = stage.answer()?;
    stage.sim.rig.platform.mood(Mood::Lie);
    stage.drafts(&answer, "c1", "Once")?;
    stage.until(|s| s.sim.rig.platform.attempts().0 == 1).await;
    stage.sim.rig.platform.mood(Mood::Up);
    stage.drafts(&answer, "c1", "Once upon")?;
    stage.until(|s| s.sim.rig.platform.attempts().1 == 1).await;
    stage.drafts(&answer, "c1", "Once upon a time")?;
    stage.shows(&["Once upon a time …"]).await;
    stage.ends(&["echo: tell me"]).await
}

/// The host ends and starts again in between: the message goes on, or is said to be broken off.
#[tokio::test(start_paused = true)]
async fn a_new_host_goes_on_with_it() -> anyhow::Result<()> {
    let mut stage = Stage::new("again", "fake", true).await?;
    stage.drafts("never-said", "c1", "What was I")?;
    stage.shows(&["What was I …"]).await;
    stage.drafts(&stage.answer()?, "c1", "Once")?;
    stage.shows(&["What was I …", "Once …"]).await;
    stage.sim.stop().await;
    stage.sim.start().await?;
    stage.ends(&[BROKEN_OFF, "echo: tell me"]).await
}

/// Where the wiring no longer wants it, what is shown stays until the answer is there.
#[tokio::test(start_paused = true)]
async fn a_wiring_can_change_its_mind() -> anyhow::Result<()> {
    let stage = Stage::new("mind", "fake", true).await?;
    let answer = stage.answer()?;
    stage.drafts(&answer, "c1", "Once")?;
    stage.shows(&["Once …"]).await;
    let wirings = stage.sim.rig.ncl("wirings list").await?;
    assert_eq!(wirings[0]["stream_previews"], 1, "{wirings}");
    let id = wirings[0]["id"].as_str().unwrap_or_default();
    stage.sim.rig.ncl(&format!("wirings update {id} --stream-previews off")).await?;
    stage.drafts(&answer, "c1", "Once upon")?;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(stage.screen(), ["Once …"]);
    stage.ends(&["echo: tell me"]).await
}
