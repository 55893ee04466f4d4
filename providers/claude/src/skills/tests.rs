//! Links to skills, beside the agent's own.

use super::*;

#[test]
fn links_follow_the_choice_and_leave_the_agents_own_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (home, all) = (dir.path().join("home"), dir.path().join("all"));
    let folder = home.join(".claude/skills");
    for made in [&all.join("welcome"), &all.join("charts"), &folder.join("mine")] {
        fs::create_dir_all(made).unwrap();
    }
    fs::create_dir(folder.join("charts")).unwrap();
    symlink("/somewhere/else", folder.join("other")).unwrap();
    symlink("/app/skills/old", folder.join("old")).unwrap();
    let mut setup = crate::process::tests::setup();
    setup.env.insert("HOME".into(), home.to_str().unwrap().into());
    setup.skills = vec![all.join("charts"), all.join("welcome")];
    link(&setup);
    link(&setup);
    assert_eq!(fs::read_link(folder.join("welcome")).unwrap(), all.join("welcome"));
    assert!(fs::read_link(folder.join("charts")).is_err(), "the agent's own has the name");
    assert!(fs::read_link(folder.join("old")).is_err(), "it is not chosen any more");
    assert!(folder.join("mine").is_dir() && fs::read_link(folder.join("other")).is_ok());
    setup.skills = vec![all.join("charts")];
    link(&setup);
    assert!(fs::read_link(folder.join("welcome")).is_err());
}
