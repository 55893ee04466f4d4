//! The program `ncl`, as people and agents call it.

use anyhow::Context as _;
use nanoclaw_tests::rig::{Rig, needed, repo, target};
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

/// Runs the real program against the install of a test.
async fn ncl(rig: &Rig, line: &str) -> anyhow::Result<Output> {
    let folder =
        std::env::var_os("NANOCLAW_PROGRAMS").map_or_else(|| target().join("debug"), PathBuf::from);
    let program = needed(folder.join("ncl"), "cargo build -p nanoclaw")?;
    let path = format!("{}:{}", folder.display(), std::env::var("PATH")?);
    let mut command = tokio::process::Command::new("bash");
    command.args(["-euo", "pipefail", "-c", line]).env("PATH", path).current_dir(repo());
    command.env("NANOCLAW_ROOT", rig.root.path()).env("NANOCLAW_DATA", rig.data());
    let done = tokio::time::timeout(SOON, command.output()).await;
    done.with_context(|| format!("{line}: no end"))?.with_context(|| program.display().to_string())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every block of the pages that is meant to be typed is typed, against a real host.
#[tokio::test]
async fn the_examples_of_the_pages_work() -> anyhow::Result<()> {
    let mut rig = Rig::new("nclpage")?;
    let agent = rig.agent("andy", "demo")?;
    rig.chat("c1", &agent)?;
    rig.start().await?;
    rig.platform.dm("c1", "echo one");
    assert!(rig.platform.until(SOON, |p| !p.texts("c1").is_empty()).await, "{}", rig.log());
    let page = |name| std::fs::read_to_string(repo().join(name));
    let pages = page("docs/ncl.md")? + &page("docs/approvals.md")?;
    let blocks = pages.split("```sh\n").skip(1).filter_map(|b| b.split("```").next());
    let mut count = 0;
    for line in blocks.flat_map(str::lines).filter(|l| !l.is_empty()) {
        // What every install has is the terminal; what this host has is the fake chat.
        let line =
            &line.replace("restart cli", "restart fake").replace("-channel cli", "-channel fake");
        let done = ncl(&rig, line).await?;
        assert!(done.status.success(), "{line}: {}{}", text(&done.stdout), text(&done.stderr));
        count += 1;
    }
    assert!(count > 10, "only {count} examples were found");
    rig.stop().await
}

#[tokio::test]
async fn the_operator_gets_tables_json_and_exit_codes() -> anyhow::Result<()> {
    let mut rig = Rig::new("nclcodes")?;
    rig.agent("andy", "demo")?;
    let down = ncl(&rig, "ncl status").await?;
    assert_eq!(down.status.code(), Some(2));
    assert_eq!(text(&down.stderr), "ncl: the host does not run; start it with `nanoclaw start`\n");
    rig.start().await?;
    let table = ncl(&rig, "ncl groups").await?;
    let shown = text(&table.stdout);
    assert!(shown.starts_with("id       name") && shown.contains("\nag-andy  andy"), "{shown}");
    let json: serde_json::Value =
        serde_json::from_slice(&ncl(&rig, "ncl groups --json").await?.stdout)?;
    assert_eq!(json[0]["folder"], "andy");
    for (line, code, why) in [
        ("ncl groups get ag-nobody", 1, "group not found: ag-nobody"),
        ("ncl groups get ag-nobody --json", 1, "group not found: ag-nobody"),
        ("ncl groups get", 1, "which one?"),
        ("ncl groups bogus", 2, "groups has list, get, create"),
        ("ncl groups list --colour red", 2, "takes no"),
    ] {
        let done = ncl(&rig, line).await?;
        assert_eq!(done.status.code(), Some(code), "{line}");
        let (out, err) = (text(&done.stdout), text(&done.stderr));
        assert!(
            out.is_empty() && err.starts_with("ncl: ") && err.contains(why),
            "{line}: {out}{err}"
        );
    }
    rig.stop().await
}

/// In a real box, the agent's own `ncl` shows its own and asks before it changes anything.
async fn from_inside_a_box(driver: &str) -> anyhow::Result<()> {
    let mut rig = Rig::new("nclbox")?;
    rig.run.driver = driver.into();
    let (andy, bert) = (rig.agent("andy", "demo")?, rig.agent("bert", "demo")?);
    rig.chat("c1", &andy)?;
    rig.chat("c2", &bert)?;
    rig.start().await?;
    for (n, (words, code, what)) in [
        ("groups list", 0, "ag-andy"),
        ("sessions --json", 0, "\"agent_group_id\": \"ag-andy\""),
        ("destinations", 0, "c1"),
        ("help", 0, "You see and change only what is your own"),
        ("groups get ag-bert", 1, "different agent group"),
        ("wirings list", 1, "outside this agent's scope"),
        ("groups config update --cli-scope global", 1, "cli_scope"),
        ("groups bogus", 2, "groups has"),
    ]
    .into_iter()
    .enumerate()
    {
        rig.platform.dm("c1", &format!("ncl {words}"));
        assert!(rig.platform.until(SOON, |p| p.texts("c1").len() == n + 1).await, "{}", rig.log());
        let heard = rig.platform.texts("c1").pop().unwrap_or_default();
        assert!(heard.contains(what), "{words}: {heard}");
        assert!(heard.contains(&format!("It ended with {code}.")), "{words}: {heard}");
        assert!(!heard.contains("ag-bert") || words.contains("ag-bert"), "{words}: {heard}");
    }
    let top = rig.ncl("top").await?;
    let row = &top[0];
    anyhow::ensure!(
        row["agent"] == "ag-andy" && row["memory"].as_str().is_some_and(|m| m.ends_with(" MiB")),
        "top shows {top}"
    );
    rig.stop().await
}

#[tokio::test]
async fn an_agent_asks_from_inside_bubblewrap() -> anyhow::Result<()> {
    from_inside_a_box("bubblewrap").await
}

#[tokio::test]
async fn an_agent_asks_from_inside_docker() -> anyhow::Result<()> {
    from_inside_a_box("docker").await
}
