//! What the agent is told.

use super::*;
use nanoclaw_contract::ids::AgentId;
use nanoclaw_contract::message::Target;

fn names(names: &[(&str, Option<&str>)]) -> Vec<Destination> {
    let target = Target::Agent(AgentId::parse("a").unwrap());
    let one = |(name, display): &(&str, Option<&str>)| Destination {
        name: (*name).into(),
        display_name: display.map(Into::into),
        target: target.clone(),
    };
    names.iter().map(one).collect()
}

#[test]
fn destinations_are_named_and_explained() {
    for all in [names(&[("home", None)]), names(&[("home", None), ("peer", Some("My Peer"))])] {
        let text = text("Nano", &all, &[], &BTreeMap::new());
        for phrase in [
            "# You are Nano",
            "**Nano**",
            "`home`",
            "Wrap each delivered message",
            "default to addressing the destination it came `from`",
            "from=\"name\"",
        ] {
            assert!(text.contains(phrase), "{phrase} in {text}");
        }
        assert_eq!(text.contains("`peer` (My Peer)"), all.len() == 2);
    }
}

#[test]
fn without_destinations_there_is_nothing_to_explain() {
    let text = text("", &[], &[], &BTreeMap::new());
    assert!(text.contains("no configured destinations") && !text.contains("default to"));
    assert!(!text.contains("# You are"));
}

#[test]
fn memory_is_read_for_real_and_capped() {
    let dir = tempfile::tempdir().unwrap();
    let (short, long, gone) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
    std::fs::write(&short, "I like tea.\n").unwrap();
    std::fs::write(&long, "x".repeat(100_000)).unwrap();
    let text = text("", &[], &[&short, &long, &gone, dir.path()], &BTreeMap::new());
    assert!(text.contains("---\n\nI like tea.\n"));
    assert!(text.len() < 75_000 && text.contains("is left out here"));
}

#[test]
fn skills_are_folders_with_their_file_by_name() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["b", "a", "no-skill"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    for name in ["b", "a"] {
        std::fs::write(dir.path().join(name).join("SKILL.md"), "x").unwrap();
    }
    std::fs::write(dir.path().join("README.md"), "x").unwrap();
    assert_eq!(skills(dir.path()), [dir.path().join("a"), dir.path().join("b")]);
    assert!(skills(&dir.path().join("gone")).is_empty());
}

#[test]
fn a_server_may_explain_its_tools() {
    let servers = BTreeMap::from([
        (
            "files".to_owned(),
            serde_json::json!({"command": "x", "instructions": "  Ask it for files. "}),
        ),
        ("mute".to_owned(), serde_json::json!({"command": "x"})),
    ]);
    let text = text("", &[], &[], &servers);
    assert!(text.ends_with("---\n\n## Tools of files\n\nAsk it for files.\n"), "{text}");
    assert!(!text.contains("mute"));
}
