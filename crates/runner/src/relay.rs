//! Carries the harness's requests out of the box: from 127.0.0.1 to the vault's socket, byte by byte.
//!
//! It understands nothing of what it carries. The socket is opened anew for each connection, so that
//! the vault may come and go.

use crate::log::log;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Semaphore;

/// Where the harness finds the proxy.
pub const PROXY: &str = "127.0.0.1:3128";
/// Where the vault is mounted.
pub const VAULT_SOCKET: &str = "/run/vault/proxy.sock";
const CONNECTIONS_MAX: usize = 256;

/// Listens on `address` and relays to `socket` until it is dropped.
pub async fn listen(address: &str, socket: PathBuf) -> io::Result<()> {
    serve(TcpListener::bind(address).await?, socket).await
}

/// Relays what comes to `listener`.
pub async fn serve(listener: TcpListener, socket: PathBuf) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let socket: Arc<std::path::Path> = socket.into();
    loop {
        // Whoever comes when all slots are taken waits in the listener's queue.
        let slot = Arc::clone(&slots).acquire_owned().await.map_err(io::Error::other)?;
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            Err(e) => {
                log!("relay: {e}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let socket = Arc::clone(&socket);
        tokio::spawn(async move {
            if let Err(e) = carry(client, &socket).await {
                log!("relay: {e}");
            }
            drop(slot);
        });
    }
}

async fn carry(mut client: TcpStream, socket: &std::path::Path) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut vault = UnixStream::connect(socket).await?;
    match tokio::io::copy_bidirectional(&mut client, &mut vault).await {
        Ok(_) => Ok(()),
        // The end of a connection is no news.
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::NotConnected
            ) =>
        {
            Ok(())
        }
        Err(e) => Err(e),
    }
}
