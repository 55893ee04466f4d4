//! The agent's skills, where Claude Code looks for them: links in its home, made anew at each start.
//!
//! Skills that the agent wrote itself are left alone; a name that is taken by one of them stays its own.

use nanoclaw_runner::provider::Setup;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Links the skills of the setup. Without them the agent still works, so nothing here is an error.
pub(crate) fn link(setup: &Setup) {
    let Some(home) = setup.env.get("HOME") else { return };
    let folder = Path::new(home).join(".claude/skills");
    // Only what was linked before is taken away: a link to a place where skills come from.
    let sources: Vec<PathBuf> =
        setup.skills.iter().filter_map(|skill| skill.parent().map(Into::into)).collect();
    let of_ours = |target: &Path| {
        target.starts_with("/app/skills") || sources.iter().any(|dir| target.starts_with(dir))
    };
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        if fs::read_link(entry.path()).is_ok_and(|target| of_ours(&target)) {
            fs::remove_file(entry.path()).ok();
        }
    }
    if !setup.skills.is_empty() && fs::create_dir_all(&folder).is_ok() {
        for skill in &setup.skills {
            if let Some(name) = skill.file_name() {
                symlink(skill, folder.join(name)).ok();
            }
        }
    }
}

#[cfg(test)]
mod tests;
