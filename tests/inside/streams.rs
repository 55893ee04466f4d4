//! Answers that come bit by bit, and conversations both ways.

use super::server::EVENTS;
use super::{BUBBLEWRAP, CANARY, SOON, World, tool};
use anyhow::ensure;
use nanoclaw_secrets::{Inject, Slot};

/// Says at once that the first event is there, then counts the others.
const READ: &str = r#"
import os, json, urllib.request
stream = urllib.request.urlopen(os.environ["U"])
n = 0
for line in stream:
    if not line.startswith(b"data: "):
        continue
    event = json.loads(line[6:])
    assert event["n"] == n, event
    assert n % 1000 == 7 or event["is"] == "-", event
    if n == 0:
        open("first", "w").close()
    n += 1
print(n, "events")
"#;

#[tokio::test]
async fn twenty_thousand_events_come_in_order_and_the_first_at_once() -> anyhow::Result<()> {
    let world = World::new("events", BUBBLEWRAP, "").await?;
    world.secret("api", "api.test", Slot::header("x-api-key"), Inject::Always)?;
    let world = world.started().await?;
    std::fs::write(world.folder().join("read.py"), READ)?;
    let url = world.url("api.test", "/events");
    let (number, before) = world.runs_it(&format!("U={url} /usr/bin/python3 read.py"))?;
    // The server waits with the second event until this is seen.
    let first = world.folder().join("first");
    let there = world.rig.platform.until(SOON, |_| first.exists()).await;
    let out = || world.file(&format!("out-{number}"));
    ensure!(there, "the first event is held back: {}\n{}", out(), world.rig.log());
    world.server.go();
    let ended = world.rig.platform.until(SOON, |p| p.texts(super::CHAT).len() > before).await;
    ensure!(ended && out() == format!("{EVENTS} events\n"), "{}\n{}", out(), world.rig.log());
    ensure!(world.server.asked("/events")?.header("x-api-key") == CANARY);
    world.stop().await
}

const TALK: &str = r#"
import asyncio, os
from websockets.asyncio.client import connect
async def main():
    # Where the proxy is and whom to trust stands in the environment.
    async with connect(os.environ["U"], additional_headers={"authorization": "Bearer " + os.environ["P"]}) as socket:
        for said in ["hello", "ä" * 50_000, b"\x00\x01" * 1000]:
            await socket.send(said)
            assert await socket.recv() == said
        await socket.send("the key")
        print("told", await socket.recv())
        await socket.send("the key is " + os.environ["P"])
        try:
            print("passed", await socket.recv())
        except Exception as e:
            print("cut", type(e).__name__, e)
asyncio.run(main())
"#;

#[tokio::test]
async fn a_web_socket_talks_both_ways_and_is_searched() -> anyhow::Result<()> {
    let world = World::new("socket", BUBBLEWRAP, "").await?;
    world.secret("api", "api.test", Slot::bearer(), Inject::Placeholder)?;
    let world = world.started().await?;
    std::fs::write(world.folder().join("talk.py"), TALK)?;
    let url = world.url("api.test", "/socket").replace("https:", "wss:");
    let placeholder = world.placeholder("api").await?;
    let out = world
        .runs(&format!(
            "P={placeholder} U={url} PYTHONPATH={} /usr/bin/python3 talk.py",
            tool("python")
        ))
        .await?;
    ensure!(out.contains(&format!("told {placeholder}")), "{out}");
    ensure!(out.contains("cut ConnectionClosed"), "{out}");
    let seen = world.server.asked("/socket")?;
    ensure!(seen.header("authorization") == format!("Bearer {CANARY}"), "{seen:?}");
    world.stop().await
}
