//! Files that come in.

use crate::{FILE_MAX, Matrix};
use matrix_sdk::media::{MediaFormat, MediaRequestParameters};
use matrix_sdk::ruma::events::room::MediaSource;
use nanoclaw_channel::InFile;
use nanoclaw_channel_matrix::events::File;
use nanoclaw_kit::files::safe_name;
use std::time::Duration;

/// How long a file may take.
const FETCH_MAX: Duration = Duration::from_secs(120);

impl Matrix {
    /// A file with its bytes, or why they are not there.
    pub(crate) async fn fetch(&self, file: &File) -> InFile {
        let fetched = self.bytes(file).await;
        InFile {
            name: safe_name(&file.name, file.kind, file.mime.as_deref()),
            kind: file.kind.to_owned(),
            mime: file.mime.clone(),
            missing: fetched.as_ref().err().cloned(),
            bytes: fetched.unwrap_or_default(),
        }
    }

    async fn bytes(&self, file: &File) -> Result<Vec<u8>, String> {
        let large = |size| format!("it has {} MB, more than {} MB", size >> 20, FILE_MAX >> 20);
        if let Some(size) = file.size.filter(|size| *size > FILE_MAX) {
            return Err(large(size));
        }
        let source: MediaSource = serde_json::from_value(file.source.clone())
            .map_err(|_| "the message does not say where the file is".to_owned())?;
        let request = MediaRequestParameters { source, format: MediaFormat::File };
        let media = self.client.media();
        // The homeserver keeps nothing above its own limit, also not from other servers.
        let fetch = media.get_media_content(&request, false);
        match tokio::time::timeout(FETCH_MAX, fetch).await {
            Err(_) => Err("the homeserver took too long".to_owned()),
            Ok(Err(e)) => Err(format!("the homeserver did not hand it over: {e}")),
            Ok(Ok(bytes)) if bytes.len() as u64 > FILE_MAX => Err(large(bytes.len() as u64)),
            Ok(Ok(bytes)) => Ok(bytes),
        }
    }
}

/// A file that was said before the agent was asked.
pub(crate) fn earlier(file: &File) -> InFile {
    InFile {
        name: safe_name(&file.name, file.kind, file.mime.as_deref()),
        kind: file.kind.to_owned(),
        mime: file.mime.clone(),
        bytes: Vec::new(),
        missing: Some("it was sent before the agent was asked".to_owned()),
    }
}
