//! Docker's images as `ops` sees them.

use async_trait::async_trait;
use nanoclaw_driver_docker::image;
use nanoclaw_ops::Say;
use nanoclaw_ops::drivers::Images;
use std::path::Path;

pub(crate) struct Docker;

#[async_trait]
impl Images for Docker {
    async fn exists(&self, image: &str) -> Result<bool, String> {
        image::exists(image).await.map_err(|e| e.to_string())
    }

    async fn build(&self, root: &Path, image: &str, say: Say<'_>) -> Result<(), String> {
        image::build(&root.join("container"), image, say).await.map_err(|e| e.to_string())
    }

    async fn base(&self, say: Say<'_>) -> Result<(), String> {
        image::base(say).await.map_err(|e| e.to_string())
    }
}
