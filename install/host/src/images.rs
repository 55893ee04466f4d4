//! Docker's images as `ops` sees them, and what they are built from here.

use async_trait::async_trait;
use nanoclaw_driver_docker::image;
use nanoclaw_ops::Say;
use nanoclaw_ops::drivers::Images;
use std::path::{Path, PathBuf};

/// What the agents' image is built on.
const BASE: &str = "debian:bookworm-slim";
/// The machine's certificate authorities, for networks that inspect TLS.
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";

pub(crate) struct Docker;

#[async_trait]
impl Images for Docker {
    async fn exists(&self, image: &str) -> Result<bool, String> {
        image::exists(image).await.map_err(|e| e.to_string())
    }

    async fn build(&self, root: &Path, image: &str, say: Say<'_>) -> Result<(), String> {
        let ca = Some(Path::new(SYSTEM_CA)).filter(|path| path.is_file());
        let progress = &mut |line: &str| say(line);
        let built = image::build(&root.join("container"), image, BASE, ca, progress).await;
        built.map_err(|e| e.to_string())
    }

    async fn base(&self, say: Say<'_>) -> Result<(), String> {
        let scratch = scratch();
        let made = image::base(BASE, &scratch, &mut |line: &str| say(line)).await;
        // Owned by root and up to 300 MB: it must not stay, however it ended.
        let removed = match std::fs::remove_dir_all(&scratch) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        };
        made.map_err(|e| e.to_string())?;
        removed.map_err(|e| format!("remove {}: {e}", scratch.display()))
    }
}

fn scratch() -> PathBuf {
    std::env::temp_dir().join(format!("nanoclaw-base-{}", std::process::id()))
}
