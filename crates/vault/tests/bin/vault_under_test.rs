//! A vault process for the tests: `vault-under-test <data directory>`.

use nanoclaw_vault::{ServeOptions, VaultError, serve};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), VaultError> {
    let data = std::env::args_os().nth(1).unwrap_or_default().into();
    serve(ServeOptions { data }).await
}
