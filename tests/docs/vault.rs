//! Every `nanoclaw vault …` that the pages about secrets, the vault, policies and approvals show is typed, in a
//! checkout with a host that runs; together they are all the commands that there are.

use super::{Checkout, code, repo};
use anyhow::{Context as _, ensure};
use std::collections::BTreeSet;

const PAGES: [&str; 4] =
    ["docs/secrets.md", "docs/vault.md", "docs/policy.md", "docs/approvals.md"];
const OAUTH: &str = "sk-ant-api03-not-a-real-one-either";
const VALUE: &str = "ghp_notARealToken0123456789abcdefABCDEF";
/// Typed when everything else is done: after them, every command asks for a passphrase on a terminal.
const LAST: [&str; 2] = ["rekey", "unlock"];

/// The commands of a page, in their order, as a person types them.
fn commands(page: &str) -> Vec<String> {
    let text = |code: &str| {
        let command = &code[code.find("nanoclaw vault ")?..];
        let command = command.split(" #").next()?.trim().replace("FILE", "kept.backup");
        Some(format!("bin/{command}"))
    };
    let mut seen = BTreeSet::new();
    let all = code(page).into_iter().filter_map(text);
    all.filter(|command| seen.insert(command.clone())).collect()
}

fn verb(command: &str) -> &str {
    command.split(' ').nth(2).unwrap_or_default()
}

/// What a person would give it.
fn input(command: &str) -> &'static str {
    match verb(command) {
        "set" => OAUTH,
        "backup" | "restore" | "rekey" | "unlock" => "a good and long passphrase",
        _ => VALUE,
    }
}

#[tokio::test]
async fn every_vault_command_of_the_documentation_works_as_it_is_written() -> anyhow::Result<()> {
    let checkout = Checkout::new()?;
    checkout.types("bash nanoclaw.sh --yes").await?;
    for name in ["andy", "helper"] {
        let make = format!("bin/ncl groups create --name {name} --folder {name} --provider demo");
        drop(checkout.types(&format!("{make} || bin/ncl groups list | grep -q {name}")).await?);
    }
    std::fs::write(checkout.temp.path().join(".env"), format!("GH_TOKEN={VALUE}x\n"))?;
    let mut typed = BTreeSet::new();
    let mut last = Vec::new();
    for page in PAGES {
        let text = std::fs::read_to_string(repo().join(page)).context(page)?;
        for command in commands(&text) {
            if verb(&command) == "serve" {
                continue;
            }
            typed.insert(verb(&command).to_owned());
            if LAST.contains(&verb(&command)) {
                last.push(command);
                continue;
            }
            let said = answer(&checkout, &command).await.with_context(|| page.to_owned())?;
            ensure!(!said.trim().is_empty(), "`{command}` says nothing");
            for secret in [VALUE, OAUTH, "a good and long passphrase"] {
                ensure!(!said.contains(secret), "`{command}` shows a value:\n{said}");
            }
        }
    }
    last.sort();
    ensure!(last.iter().any(|c| c.contains("rekey --to passphrase")), "{last:?}");
    checkout.types_in("bin/nanoclaw vault rekey --to passphrase", input(&last[0])).await?;
    checkout.types("bin/nanoclaw stop && bin/nanoclaw start").await?;
    let locked = checkout.types("bin/nanoclaw vault status").await?;
    assert!(locked.contains("locked"), "{locked}");
    let opened = checkout.types_in("bin/nanoclaw vault unlock", input("bin/nanoclaw vault unlock"));
    assert!(opened.await?.contains("unlocked"));
    let help = checkout.types("bin/nanoclaw vault --help").await?;
    let (_, list) = help.split_once("Commands:").context("a list of commands")?;
    let there: BTreeSet<String> = list
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .filter(|name| !["help", "-h,", "--help"].contains(&name.as_str()))
        .collect();
    assert_eq!(there, typed, "what there is, and what a page shows");
    Ok(())
}

/// Types one; says what it printed, also where it has to fail here.
async fn answer(checkout: &Checkout, command: &str) -> anyhow::Result<String> {
    match verb(command) {
        // Nothing of the Internet can be reached here.
        "test" => {
            let said = checkout.types_in(&format!("{command} 2>&1 || true"), "").await?;
            ensure!(said.contains("api.github.com"), "{said}");
            Ok(said)
        }
        // There are secrets already.
        "restore" => {
            let refused = checkout.types_in(&format!("! {command} 2>&1"), input(command)).await?;
            ensure!(refused.contains("--yes"), "{refused}");
            checkout.types_in(&format!("{command} --yes"), input(command)).await
        }
        // Nobody answered anything yet.
        "egress" if command.contains("forget") => {
            let said = checkout.types(&format!("! {command} 2>&1")).await?;
            ensure!(said.contains("egress list"), "{said}");
            Ok(said)
        }
        _ => checkout.types_in(command, input(command)).await,
    }
}
