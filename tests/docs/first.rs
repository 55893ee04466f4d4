//! The first of the two commands, on a machine with an engine and on one without, with a key and without one.

use super::Checkout;
use crate::claude::{Api, KEY};
use anyhow::ensure;

const FIRST: &str = "bash nanoclaw.sh --yes";

/// What the first agent answers when its model is reached, and by whom it is.
async fn claude(driver: &'static str) -> anyhow::Result<()> {
    let mut checkout = Checkout::new()?;
    let api = Api::with(&checkout.temp.path().join("asked"), KEY, &[]).await?;
    checkout.driver = driver;
    checkout.env =
        vec![("ANTHROPIC_API_KEY", KEY.to_owned()), ("ANTHROPIC_BASE_URL", api.url.clone())];
    let said = checkout.types(FIRST).await?;
    // The model that is played repeats what it was asked.
    ensure!(said.contains("echo: ") && said.contains("Who are you?"), "{said}\n{}", checkout.log());
    let status = checkout.types("bin/nanoclaw status").await?;
    ensure!(status.contains(driver) && status.contains("claude"), "{status}");
    // It runs in a box, which has no other way to the model than the vault, and not the key.
    let boxes = checkout.types("bin/ncl sessions list").await?;
    ensure!(boxes.contains("running"), "{boxes}");
    ensure!(!api.requests().is_empty(), "the model was never asked");
    // Later the key is in the vault, not in the environment.
    checkout.env.clear();
    let again = checkout.types("bin/nanoclaw chat 'and once more'").await?;
    ensure!(again.contains("and once more"), "{again}");
    checkout.types("bin/nanoclaw stop").await?;
    Ok(())
}

#[tokio::test]
async fn with_a_key_claude_code_answers_out_of_bubblewrap() -> anyhow::Result<()> {
    claude("bubblewrap").await
}

#[tokio::test]
async fn with_a_key_claude_code_answers_out_of_a_container() -> anyhow::Result<()> {
    claude("docker").await
}

#[tokio::test]
async fn without_a_key_the_demo_answers_out_of_a_container() -> anyhow::Result<()> {
    let mut checkout = Checkout::new()?;
    checkout.driver = "docker";
    let said = checkout.types(&format!("{FIRST} --driver docker")).await?;
    ensure!(said.contains("demo"), "no answer of the demo agent:\n{said}");
    let status = checkout.types("bin/nanoclaw status").await?;
    ensure!(status.contains("docker"), "{status}");
    checkout.types("bin/nanoclaw stop").await?;
    Ok(())
}
