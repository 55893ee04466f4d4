//! The key is with the vault and nowhere else.

use super::{BUBBLEWRAP, DOCKER, KEY, Kind, World, bash, say};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// No other test has it, so that nobody else's processes show it.
const OWN_KEY: &str = "sk-ant-api03-the-real-key-of-this-test-alone";

async fn not_in_the_box(driver: &str) -> anyhow::Result<()> {
    let name = format!("secret{driver}");
    let mut world = World::with(&name, driver, Kind::ApiKey, KEY).await?.started().await?;
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
async fn the_key_is_not_in_a_box_of_bubblewrap() -> anyhow::Result<()> {
    not_in_the_box(BUBBLEWRAP).await
}

#[tokio::test]
async fn the_key_is_not_in_a_container_of_docker() -> anyhow::Result<()> {
    not_in_the_box(DOCKER).await
}

#[tokio::test]
async fn no_process_and_no_file_shows_the_key() -> anyhow::Result<()> {
    let world = World::with("processes", BUBBLEWRAP, Kind::ApiKey, OWN_KEY).await?;
    let mut world = world.started().await?;
    assert_eq!(world.ask(&say("hello")).await?, "hello");
    let (mut boxed, mut seen) = (Vec::new(), Vec::new());
    // The played API is told the key that it takes.
    let api = world.api.process.id().map(|pid| pid.to_string());
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
        let shown = [read("cmdline"), read("environ")].concat();
        let pid = entry.file_name().to_string_lossy().into_owned();
        if holds_key(&shown) && Some(&pid) != api.as_ref() {
            seen.push(pid);
        }
        if is_same(&entry.path().join("root/workspace/agent"), &world.folder()) {
            boxed.push(String::from_utf8_lossy(&read("cmdline")).into_owned());
        }
    }
    assert!(seen.is_empty(), "processes show the key: {seen:?}");
    for program in ["nanoclaw-runner", "claude"] {
        let shown = boxed.iter().any(|c| c.contains(program));
        assert!(shown, "no {program} among the processes of the box: {boxed:?}");
    }
    let mut holders = Vec::new();
    walk(world.rig.root.path(), &mut |file, content| {
        if holds_key(content) {
            holders.push(file.to_owned());
        }
    });
    assert!(holders.is_empty(), "files hold the key in clear: {holders:?}");
    world.rig.stop().await
}

fn holds_key(content: &[u8]) -> bool {
    content.windows(OWN_KEY.len()).any(|w| w == OWN_KEY.as_bytes())
}

/// Every file of the install; what goes away meanwhile holds nothing.
fn walk(dir: &Path, see: &mut impl FnMut(&PathBuf, &[u8])) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let kind = entry.file_type();
        if kind.as_ref().is_ok_and(std::fs::FileType::is_dir) {
            walk(&path, see);
        } else if kind.is_ok_and(|kind| kind.is_file()) {
            see(&path, &std::fs::read(&path).unwrap_or_default());
        }
    }
}

fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.metadata(), b.metadata()), (Ok(a), Ok(b)) if (a.dev(), a.ino()) == (b.dev(), b.ino()))
}
