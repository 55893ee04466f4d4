//! Files, both ways.

use super::{CHAT, SOON, World, bash, say};
use nanoclaw_testkit::platform::SaidFile;

/// One red pixel.
const PNG: &[u8] = &[
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, 0x49, 0x48, 0x44, 0x52, 0, 0, 0,
    1, 0, 0, 0, 1, 8, 2, 0, 0, 0, 0x90, 0x77, 0x53, 0xde, 0, 0, 0, 0x0c, 0x49, 0x44, 0x41, 0x54,
    0x08, 0xd7, 0x63, 0xf8, 0xcf, 0xc0, 0, 0, 3, 1, 1, 0, 0x18, 0xdd, 0x8d, 0xb0, 0, 0, 0, 0, 0x49,
    0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
];

#[tokio::test]
async fn a_file_of_the_agent_arrives() -> anyhow::Result<()> {
    let mut world = World::new("sendfile").await?.started().await?;
    world.ask(&bash("printf 'a,b\\n1,2\\n' >report.csv; echo written")).await?;
    let answer = world
        .ask(r#"!tool mcp__nanoclaw__send_file {"path": "report.csv", "text": "the report"}"#)
        .await?;
    assert_eq!(answer, "the report");
    let shown = world.rig.platform.shown().into_iter().find(|s| s.text == "the report");
    assert_eq!(shown.map(|s| s.files), Some(vec![("report.csv".to_owned(), 8)]));
    world.rig.stop().await
}

#[tokio::test]
async fn a_picture_of_the_user_is_seen_by_the_model() -> anyhow::Result<()> {
    let mut world = World::new("picture").await?.started().await?;
    let file = SaidFile {
        kind: "image".into(),
        name: "red.png".into(),
        mime: "image/png".into(),
        bytes: PNG.into(),
        ..SaidFile::default()
    };
    world.rig.platform.dm_with(CHAT, &format!("what is this?\n{}", say("red")), vec![file]);
    assert_eq!(world.nth(0).await?, "red");
    let asked = world.api.request_with("what is this?")?;
    let blocks = asked["messages"].as_array().into_iter().flatten();
    let mut blocks = blocks.filter_map(|m| m["content"].as_array()).flatten();
    let image = blocks.find(|b| b["type"] == "image");
    let source = image.map(|b| b["source"].clone()).unwrap_or_default();
    assert_eq!(source["media_type"], "image/png", "no picture");
    assert!(
        source["data"].as_str().is_some_and(|data| data.starts_with("iVBORw0KGgo")),
        "{source}"
    );
    world.rig.stop().await
}

#[tokio::test]
async fn a_text_file_of_the_user_can_be_read() -> anyhow::Result<()> {
    let mut world = World::new("textfile").await?.started().await?;
    let bytes = b"the answer in the file is 4711\n".to_vec();
    let file = SaidFile {
        kind: "file".into(),
        name: "notes.txt".into(),
        mime: "text/plain".into(),
        bytes,
        ..SaidFile::default()
    };
    world.rig.platform.dm_with(CHAT, &bash("cat /workspace/inbox/*/notes.txt"), vec![file]);
    let answer = world.nth(0).await?;
    assert!(answer.contains("the answer in the file is 4711"), "{answer}");
    world.api.request_with("[file: notes.txt — saved to /workspace/inbox/")?;
    assert!(world.rig.platform.until(SOON, |p| p.unreceived() == 0).await, "it was not received");
    world.rig.stop().await
}
