//! A connection of which any bytes come.

use super::serve::{Route, connection};
use super::{Handler, Hook, Limits, Reply, Routes};
use async_trait::async_trait;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::runtime::{Builder, Runtime};

const PATH: &str = "/webhook/x";
const LIMITS: Limits = Limits { body_max: 64, per_minute: u32::MAX };

thread_local! {
    static RUNTIME: Option<Runtime> = Builder::new_current_thread().enable_all().build().ok();
}

/// Says back what it was called with.
struct Echo;

#[async_trait]
impl Handler for Echo {
    async fn call(&self, hook: Hook) -> Reply {
        assert_eq!(hook.path, PATH);
        assert!(hook.body.len() <= LIMITS.body_max, "a body of {}", hook.body.len());
        Reply { body: hook.body.to_vec(), ..Reply::ok() }
    }
}

/// Whatever comes is answered in HTTP or not at all, and only a call to the path gets to its handler.
pub fn webhook(data: &[u8]) {
    RUNTIME.with(|runtime| runtime.as_ref().map(|runtime| runtime.block_on(call(data))));
}

async fn call(data: &[u8]) {
    let routes = Arc::new(Routes::default());
    crate::lock(&routes).insert(PATH.to_owned(), Arc::new(Route::new(LIMITS, Arc::new(Echo))));
    let (mut caller, ours) = duplex(data.len().max(1 << 16));
    let mut heard = Vec::new();
    // The other end of both is here, so none of these fails.
    drop(caller.write_all(data).await);
    drop(caller.shutdown().await);
    connection(ours, IpAddr::V4(Ipv4Addr::LOCALHOST), &routes).await;
    drop(caller.read_to_end(&mut heard).await);
    let http = heard.is_empty() || heard.starts_with(b"HTTP/1.");
    assert!(http, "{:?}", String::from_utf8_lossy(&heard));
}
