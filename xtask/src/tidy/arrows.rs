//! Dependencies point down only: install → host → {admin, central, channel, driver} → contract.

use crate::tree;
use anyhow::{Context as _, Result};
use std::path::Path;

/// What each part may depend on among our own packages. Tests may use more.
const ARROWS: [(&str, &[&str]); 17] = [
    ("crates/contract", &[]),
    ("crates/channel", &["contract"]),
    ("crates/driver", &["contract"]),
    ("crates/mounts", &["driver"]),
    ("crates/kit", &["channel"]),
    ("crates/central", &["contract"]),
    ("crates/admin", &["contract"]),
    ("crates/policy", &[]),
    ("crates/secrets", &["policy"]),
    ("crates/vault", &["contract", "policy", "secrets"]),
    ("crates/onecli", &["policy", "secrets", "vault"]),
    ("crates/runner", &["admin", "contract"]),
    ("crates/host", &["admin", "central", "channel", "contract", "driver", "mounts"]),
    ("crates/ops", &["central", "contract", "driver"]),
    ("channels/", &["channel", "kit"]),
    ("providers/", &["runner"]),
    ("drivers/", &["contract", "driver"]),
];

/// Reports each arrow that points sideways or up, and each crate that has no place.
pub(super) fn check(root: &Path, found: &mut Vec<String>) -> Result<()> {
    for folder in ["crates", "channels", "providers", "drivers"] {
        for package in tree::packages(root, folder)? {
            let shown = package.display().to_string();
            let text = tree::read(root, &package.join("Cargo.toml"))?;
            let manifest: toml::Table = toml::from_str(&text).with_context(|| shown.clone())?;
            let place = ARROWS.iter().find(|(path, _)| {
                shown == *path || (path.ends_with('/') && shown.starts_with(path))
            });
            let Some((_, may)) = place else {
                found.push(format!("{shown}: give it a place in xtask/src/tidy/arrows.rs"));
                continue;
            };
            let uses = manifest.get("dependencies").and_then(|d| d.as_table());
            for name in uses.into_iter().flat_map(|d| d.keys()) {
                if let Some(ours) = name.strip_prefix("nanoclaw-")
                    && !may.contains(&ours)
                {
                    found.push(format!("{shown}: must not depend on {name}"));
                }
            }
        }
    }
    Ok(())
}
