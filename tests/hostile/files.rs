//! What a box can put into its folder and its rows.

use super::{Bad, SECRET, SOON, Ward, fifo};
use anyhow::{Context as _, ensure};
use nanoclaw_central::DeliveryState;
use nanoclaw_contract::ids::OutId;
use rusqlite::{Connection, params};
use std::os::unix::fs::symlink;

type Make<'a> = &'a dyn Fn(&std::path::Path) -> std::io::Result<()>;

/// A row as the box writes it: id, kind, chat, content.
struct Row<'a>(&'a str, &'a str, &'a str, &'a str);

fn write(bad: &Bad, row: &Row<'_>) -> anyhow::Result<()> {
    let conn = Connection::open(bad.path("outbound.db"))?;
    conn.busy_timeout(SOON)?;
    conn.execute(
        "INSERT INTO messages_out (id, timestamp, kind, platform_id, channel_type, content)
         VALUES (?1, '2026-01-01 00:00:00', ?2, ?3, 'fake', ?4)",
        params![row.0, row.1, row.2, row.3],
    )?;
    Ok(())
}

/// Why the row was not delivered, as the owner can see.
async fn refusal(ward: &Ward, bad: &Bad, id: &str) -> anyhow::Result<String> {
    let (central, out) = (ward.rig.central()?, OutId::parse(id)?);
    let until = tokio::time::Instant::now() + SOON;
    while tokio::time::Instant::now() < until {
        let known =
            central.delivery(&bad.session, &out)?.filter(|d| d.state == DeliveryState::Rejected);
        if let Some(known) = known {
            return known.last_error.context("refused without a reason");
        }
        let traced = central.trace_of_message(id)?;
        if let Some(step) = traced.into_iter().find(|t| t.step == "refused") {
            return Ok(step.detail);
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    anyhow::bail!("{id:?} was not refused\n{}", ward.rig.log())
}

/// Each of these rows is refused for its reason, and the session goes on.
#[tokio::test]
async fn hostile_rows_are_refused() -> anyhow::Result<()> {
    let (mut ward, bad) = Ward::new("rows", 1, &["rows"]).await?;
    let bad = &bad[0];
    ward.answers("good0", "hello").await?;
    let file = r#"{"text": "here", "files": ["secret"]}"#;
    let long = format!(r#"{{"text": "{}"}}"#, "x".repeat(5 << 20));
    let deep = "[".repeat(200_000);
    let outbox = bad.path("outbox");
    for dir in ["link-file", "pipe-file", "folder-file", "big-file"] {
        std::fs::create_dir(outbox.join(dir))?;
    }
    symlink(ward.secret(), outbox.join("link-file/secret"))?;
    symlink(ward.vault.path(), outbox.join("link-dir"))?;
    fifo(&outbox.join("pipe-file/secret"))?;
    std::fs::create_dir(outbox.join("folder-file/secret"))?;
    std::fs::File::create(outbox.join("big-file/secret"))?.set_len(10 << 30)?;
    let up = format!("../../../../../../../../{}", ward.vault.path().display());
    let out = format!(r#"{{"text": "here", "files": ["{up}/secret"]}}"#);
    let cases = [
        (Row("link-file", "chat", "rows", file), "symbolic links"),
        (Row("link-dir", "chat", "rows", file), "link-dir"),
        (Row("pipe-file", "chat", "rows", file), "not a regular file"),
        (Row("folder-file", "chat", "rows", file), "not a regular file"),
        (Row("big-file", "chat", "rows", file), "10737418240 bytes"),
        (Row(&up, "chat", "rows", file), "not a plain file name"),
        (Row("../../x", "chat", "rows", file), "not a plain file name"),
        (Row("file-name", "chat", "rows", &out), "plain file name"),
        (Row("stranger", "chat", "good0", r#"{"text": "boo"}"#), "good0"),
        (Row("nobody", "chat", "no such chat", r#"{"text": "boo"}"#), "no such chat"),
        (Row("kind", "exploit", "rows", r#"{"text": "boo"}"#), "exploit"),
        (Row("no-json", "chat", "rows", "boo"), "no JSON"),
        (Row("deep", "chat", "rows", &deep), "no JSON"),
        (Row("long", "chat", "rows", &long), "5242"),
    ];
    for (row, why) in &cases {
        write(bad, row)?;
        let reason = refusal(&ward, bad, row.0).await?;
        ensure!(reason.contains(why), "{}: refused because {reason:?}, not {why:?}", row.0);
        ward.answers("rows", "still here").await?;
    }
    ensure!(ward.shown(bad).await?.0 == "running", "{:?}", ward.shown(bad).await?);
    ensure!(!ward.rig.platform.texts("good0").iter().any(|t| t == "boo"), "it wrote to a stranger");
    ward.is_unharmed()?;
    ward.rig.stop().await
}

#[tokio::test]
async fn an_outbox_that_is_a_link_leads_nowhere() -> anyhow::Result<()> {
    let (mut ward, bad) = Ward::new("outbox", 0, &["outbox"]).await?;
    let bad = &bad[0];
    let above = ward.vault.path().parent().context("no parent")?.to_owned();
    let id = ward.vault.path().file_name().and_then(|n| n.to_str()).context("no name")?.to_owned();
    bad.replace("outbox", |p| symlink(&above, p))?;
    write(bad, &Row(&id, "chat", "outbox", r#"{"text": "here", "files": ["secret"]}"#))?;
    let reason = refusal(&ward, bad, &id).await?;
    ensure!(reason.contains("symbolic links"), "{reason}");
    // A message without files clears its place in the outbox after delivery: not here.
    let other = format!("{id}/");
    write(bad, &Row(&other, "chat", "outbox", r#"{"text": "plain"}"#))?;
    let plain =
        |p: &nanoclaw_testkit::platform::Platform| p.texts("outbox").iter().any(|t| t == "plain");
    ensure!(ward.rig.platform.until(SOON, plain).await, "{}", ward.rig.log());
    ward.answers("outbox", "still here").await?;
    ward.is_unharmed()?;
    ward.rig.stop().await
}

#[tokio::test]
async fn a_pulse_that_is_none_changes_nothing() -> anyhow::Result<()> {
    let (mut ward, bad) = Ward::new("pulse", 0, &["pulse"]).await?;
    let bad = &bad[0];
    let tools = format!(
        r#"{{"phase": "tool", "tools": [{{"id": "x", "name": "{}", "started_ms": -9223372036854775808}}]}}"#,
        "y".repeat(40_000)
    );
    let makes: [(&str, Make<'_>); 6] = [
        ("garbage", &|p| std::fs::write(p, [0xff; 1024])),
        ("huge", &|p| std::fs::File::create(p)?.set_len(10 << 30)),
        ("forged", &|p| std::fs::write(p, &tools)),
        ("link", &|p| symlink(ward.secret(), p)),
        ("pipe", &|p| fifo(p)),
        ("folder", &|p| std::fs::create_dir(p)),
    ];
    for (name, make) in makes {
        // The runner writes it too: whoever is faster.
        while bad.remove(".heartbeat").and_then(|()| Ok(make(&bad.path(".heartbeat"))?)).is_err() {
            tokio::task::yield_now().await;
        }
        ward.answers("pulse", name).await?;
        ward.answers("pulse", "again").await?;
        ward.stops(bad).await?;
        ward.answers("pulse", "anew").await?;
    }
    ward.is_unharmed()?;
    ward.rig.stop().await
}

#[tokio::test]
async fn a_box_cannot_write_what_is_not_its_own() -> anyhow::Result<()> {
    let (mut ward, bad) = Ward::new("inbox", 0, &["inbox"]).await?;
    let bad = &bad[0];
    let secret = ward.secret().display().to_string();
    let tries = [
        "echo x >>/workspace/inbound.db",
        ": >/workspace/inbound.db-journal",
        ": >/workspace/inbound.db-wal",
        "rm -f /workspace/inbound.db",
        "ln -s / /workspace/inbox/link",
        "mv /workspace/inbox /workspace/was",
        "rmdir /workspace/inbox",
        "mv /workspace/box /workspace/was",
        "mv /workspace/outbox /workspace/was",
        "echo '{}' >/workspace/agent/container.json",
        "rm -f /workspace/agent/container.json",
        "echo x >/opt/nanoclaw/nanoclaw-runner",
        "echo x >/opt/nanoclaw/tools/nanoclaw-runner",
        "echo x >/run/vault/x",
        "echo x >/usr/x",
        "echo x >/x",
        "mount -o remount,rw /workspace",
        &format!("cat {secret}"),
        &format!("echo x >{secret}"),
    ];
    let script: String = tries
        .iter()
        .enumerate()
        .map(|(n, t)| format!("({t}) >/dev/null 2>&1 && echo {n} >>/workspace/box/won\n"))
        .collect();
    bad.order(&ward, &format!("{script}: >/workspace/box/done\n"))?;
    let done = |_: &nanoclaw_testkit::platform::Platform| bad.path("done").exists();
    ensure!(
        ward.rig.platform.until(SOON, done).await,
        "the box did not finish\n{}",
        ward.rig.log()
    );
    let won = std::fs::read_to_string(bad.path("won")).unwrap_or_default();
    let won: Vec<_> = won.lines().filter_map(|n| tries.get(n.parse::<usize>().ok()?)).collect();
    ensure!(won.is_empty(), "the box could {won:?}");
    ward.answers("inbox", "still here").await?;
    ensure!(!ward.rig.log().contains(SECRET));
    ward.is_unharmed()?;
    ward.rig.stop().await
}
