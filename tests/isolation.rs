//! What sessions share and what they do not, from inside real boxes: separate agents share nothing, sessions of
//! one agent its files, and a session that several channels share everything.

use crate::claude::{Api, KEY, equip, strings};
use anyhow::{Context as _, ensure};
use nanoclaw_central::{EngageMode, SessionMode};
use nanoclaw_contract::ids::AgentId;
use nanoclaw_testkit::platform::{Said, SaidFile};
use nanoclaw_tests::rig::Rig;
use nanoclaw_vault::{Credential, Kind, Store};
use serde_json::{Value, json};
use std::time::Duration;

/// Far beyond what a loaded machine needs.
const SOON: Duration = Duration::from_secs(120);
/// A word that no command may contain in one piece, or a search would find itself.
const WORD: (&str, &str) = ("quix", "otic");

/// The agents do what they are told: `RUN command` answers with what it printed, everything else is heard.
fn obedience() -> Value {
    let run = json!({ "command": r"echo @{1}@; {2}" });
    json!([
        { "as": "# You are", "on": r#"from="([\w-]+)"[^>]*>RUN ([^<]+)"#, "do": [format!("!tool Bash {run}")] },
        { "as": "# You are", "on": r"RESULT @([\w-]+)@\s*([\s\S]*)",
          "do": [r#"!say <message to="{1}">printed: {2}</message>"#] },
        { "as": "# You are", "on": r#"from="([\w-]+)"[^>]*>(?!RUN)"#,
          "do": [r#"!say <message to="{1}">heard</message>"#] },
    ])
}

struct House {
    rig: Rig,
    api: Api,
}

impl House {
    async fn new(name: &str) -> anyhow::Result<Self> {
        let mut rig = Rig::new(name)?;
        let script = rig.root.path().join("obedience.json");
        std::fs::write(&script, obedience().to_string())?;
        let requests = rig.root.path().join("api");
        let api = Api::with(&requests, KEY, &["--script".as_ref(), script.as_os_str()]).await?;
        equip(&mut rig)?;
        let credential = Credential::parse(KEY, Some(Kind::ApiKey), Some(&api.url))?;
        Store::new(&rig.data()).set(&credential)?;
        Ok(Self { rig, api })
    }

    /// A chat in which the agent answers everything.
    fn room(
        &self,
        channel: &str,
        chat: &str,
        agent: &AgentId,
        mode: SessionMode,
    ) -> anyhow::Result<()> {
        let room = self.rig.group(channel, chat)?;
        self.rig.wire(&room, agent, |w| {
            (w.engage_mode, w.engage_pattern) = (Some(EngageMode::Pattern), Some(".".into()));
            w.session_mode = mode;
        })
    }

    async fn says(&self, channel: &str, chat: &str, text: &str) -> anyhow::Result<String> {
        self.sends(channel, chat, text, Vec::new()).await
    }

    /// Says something and waits for the answer there.
    async fn sends(
        &self,
        channel: &str,
        chat: &str,
        text: &str,
        files: Vec<SaidFile>,
    ) -> anyhow::Result<String> {
        let before = self.rig.platform.texts(chat).len();
        self.rig.platform.say(Said {
            channel: channel.into(),
            id: format!("{chat}-{before}"),
            chat: chat.into(),
            sender: "ann".into(),
            text: text.into(),
            group: true,
            files,
            ..Said::default()
        });
        let answered = self.rig.platform.until(SOON, |p| p.texts(chat).len() > before).await;
        ensure!(answered, "{text:?} is not answered in {chat}\n{}", self.rig.log());
        self.rig.platform.texts(chat).get(before).cloned().context("it is gone")
    }

    /// The files that a box can see and that hold the word.
    async fn finds(&self, chat: &str) -> anyhow::Result<String> {
        let (one, two) = WORD;
        let look = format!(
            "RUN w={one}; grep -rlsa ${{w}}{two} /workspace /home /tmp /run /var /root; echo end of search"
        );
        self.says("fake", chat, &look).await
    }

    /// What the model of this chat's session was last asked.
    fn asked(&self, with: &str) -> anyhow::Result<String> {
        let all = self.api.requests();
        let mut found = all.iter().rev().map(strings).filter(|text| text.contains(with));
        found.next().with_context(|| format!("{with:?} was never asked"))
    }
}

fn word() -> String {
    WORD.0.to_owned() + WORD.1
}

#[tokio::test]
async fn separate_agents_share_nothing() -> anyhow::Result<()> {
    let mut house = House::new("apart").await?;
    let (andy, berta) = (house.rig.agent("andy", "claude")?, house.rig.agent("berta", "claude")?);
    house.room("fake", "his", &andy, SessionMode::Shared)?;
    house.room("fake", "hers", &berta, SessionMode::Shared)?;
    house.rig.start().await?;
    let (one, two) = WORD;
    let secret = format!(
        "RUN w={one}; for f in CLAUDE.local.md notes /tmp/notes; do echo ${{w}}{two} >$f; done"
    );
    house.says("fake", "his", &secret).await?;
    assert_eq!(house.says("fake", "his", &format!("it is {}", word())).await?, "heard");
    let his = house.finds("his").await?;
    for place in ["/workspace/agent/notes", "/workspace/inbound.db", "/tmp/notes"] {
        assert!(his.contains(place), "the search is no search: {his}");
    }
    assert_eq!(house.finds("hers").await?, "printed: end of search");
    assert!(!house.asked(r#"from="hers""#)?.contains(&word()), "its memory reached her");
    house.rig.stop().await
}

#[tokio::test]
async fn sessions_of_one_agent_share_its_files_alone() -> anyhow::Result<()> {
    let mut house = House::new("side").await?;
    let andy = house.rig.agent("andy", "claude")?;
    house.room("fake", "one", &andy, SessionMode::Shared)?;
    house.room("fake", "two", &andy, SessionMode::Shared)?;
    house.rig.start().await?;
    house.says("fake", "one", "RUN echo the plan >plan; echo $PWD").await?;
    assert_eq!(house.says("fake", "one", &format!("it is {}", word())).await?, "heard");
    let own = house.finds("one").await?;
    assert!(own.contains("/workspace/inbound.db"), "the search is no search: {own}");
    assert_eq!(house.says("fake", "two", "RUN cat plan").await?, "printed: the plan");
    assert_eq!(house.finds("two").await?, "printed: end of search");
    assert!(!house.asked(r#"from="two""#)?.contains(&word()), "the conversation reached the other");
    assert_eq!(house.rig.sessions(&andy)?.len(), 2);
    house.rig.stop().await
}

#[tokio::test]
async fn one_session_is_shared_by_a_webhook_a_chat_and_mail() -> anyhow::Result<()> {
    let mut house = House::new("shared").await?;
    let andy = house.rig.agent("andy", "claude")?;
    let all = [("fakehook", "hook"), ("fake", "chat"), ("fakemail", "mail")];
    for (channel, chat) in all {
        house.room(channel, chat, &andy, SessionMode::AgentShared)?;
    }
    house.rig.start().await?;
    assert_eq!(house.says("fakehook", "hook", "the build is red").await?, "heard");
    let log = SaidFile {
        kind: "file".into(),
        name: "build.log".into(),
        mime: "text/plain".into(),
        bytes: b"error in line 7\n".to_vec(),
        ..SaidFile::default()
    };
    assert_eq!(house.sends("fakemail", "mail", "the log", vec![log]).await?, "heard");
    let read = "RUN cat /workspace/inbox/*/build.log";
    assert_eq!(house.says("fake", "chat", read).await?, "printed: error in line 7");
    let asked = house.asked("RUN cat")?;
    for heard in [r#"from="hook""#, "the build is red", r#"from="mail""#, "the log"] {
        assert!(asked.contains(heard), "{heard} is not in its memory: {asked}");
    }
    // Each answer went where its question came from, by its own channel.
    let shown = house.rig.platform.shown();
    let places: Vec<_> = shown.iter().map(|s| (s.channel.as_str(), s.chat.as_str())).collect();
    assert_eq!(places, [all[0], all[2], all[1]]);
    assert_eq!(house.rig.sessions(&andy)?.len(), 1);
    house.rig.stop().await
}
