//! The key is with the vault and nowhere else.

use super::{KEY, World, bash, say};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

#[tokio::test]
async fn the_key_is_not_in_the_box() -> anyhow::Result<()> {
    let mut world = World::new("secret").await?.started().await?;
    // The key itself must not be in the question, or it would be found in the transcript of asking.
    let (start, rest) = KEY.split_at(20);
    let look = format!(
        "k={start}; k=${{k}}{rest}; {{ env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline; }} 2>/dev/null | tr '\\0' '\\n' >seen; \
         grep -c \"$k\" seen; grep -rl \"$k\" /workspace /home /run /etc /tmp /app /opt/nanoclaw/nanoclaw-runner 2>/dev/null; \
         grep -c ^ANTHROPIC_API_KEY=sk-ant-api03-nanoclaw-dummy seen; echo end of search"
    );
    let answer = world.ask(&bash(&look)).await?;
    let found: Vec<_> = answer.trim_start_matches("tool said: ").lines().collect();
    assert_eq!((found.first(), found.last()), (Some(&"0"), Some(&"end of search")), "{answer}");
    assert_eq!(found.len(), 3, "files hold it: {answer}");
    assert_ne!(found[1], "0", "the search saw no environment: {answer}");
    world.rig.stop().await
}

#[tokio::test]
async fn no_process_shows_the_key() -> anyhow::Result<()> {
    let mut world = World::new("processes").await?.started().await?;
    world.ask(&say("hello")).await?;
    let (mut boxed, mut seen) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else {
            continue;
        };
        let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
        let shown = [read("cmdline"), read("environ")].concat();
        if shown.windows(KEY.len()).any(|w| w == KEY.as_bytes()) && !is_api(&shown) {
            seen.push(pid);
        }
        if is_same(&entry.path().join("root/workspace/agent"), &world.folder()) {
            boxed.push(String::from_utf8_lossy(&read("cmdline")).into_owned());
        }
    }
    assert!(seen.is_empty(), "processes show the key: {seen:?}");
    for program in ["nanoclaw-runner", "claude"] {
        assert!(
            boxed.iter().any(|c| c.contains(program)),
            "no {program} among the processes of the box: {boxed:?}"
        );
    }
    assert!(world.api.process.id().is_some(), "the API is gone");
    world.rig.stop().await
}

/// The played API is told the key that it takes, in this and in other tests.
fn is_api(shown: &[u8]) -> bool {
    String::from_utf8_lossy(shown).contains("--expect-key")
}

fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.metadata(), b.metadata()), (Ok(a), Ok(b)) if (a.dev(), a.ino()) == (b.dev(), b.ino()))
}
