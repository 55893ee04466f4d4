//! The first agent: made once, found again, repaired, connected to a model.
//!
//! Every step looks first and changes only what is missing, so setup can run at any time, also on an
//! install that was imported. It never reads a stored credential; it only asks whether there is one.

mod first;

use crate::config::{Config, Strings};
use crate::drivers::{self, DriverOption};
use crate::tools::{self, ToolSpec};
use crate::{During as _, Error, Say, prompt};
use nanoclaw_central::Central;
use nanoclaw_contract::time::{Clock as _, SystemClock};
use nanoclaw_driver::DriverContext;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// What `install/` offers to setup.
pub struct Choices<'a> {
    /// In order of preference.
    pub drivers: &'a [DriverOption],
    /// In order of preference; the first that needs nothing is the fallback.
    pub providers: &'a [ProviderOption],
    /// The chat that every install has.
    pub chat: FirstChat,
    /// Where credentials go.
    pub credentials: &'a dyn Credentials,
}

/// A harness that an agent can have.
pub struct ProviderOption {
    /// Its name.
    pub name: &'static str,
    /// What it needs to be of use.
    pub needs: Option<Needs>,
    /// The program that it drives, if that is not part of the runner.
    pub tool: Option<ToolSpec>,
}

/// The credential of a provider.
#[derive(Clone, Copy)]
pub struct Needs {
    /// Variables that may hold it, the first one found wins.
    pub variables: &'static [&'static str],
    /// The variable with another address of the API.
    pub base_url: &'static str,
    /// How a person is asked for it.
    pub ask: &'static str,
    /// To which variable a typed value would have belonged.
    pub guess: fn(&str) -> &'static str,
}

/// The chat that every install has, and whose it is.
#[derive(Clone, Copy)]
pub struct FirstChat {
    /// Its channel.
    pub channel: &'static str,
    /// What the channel calls it.
    pub platform_id: &'static str,
    /// The person who owns the install.
    pub owner: &'static str,
}

/// The store of credentials.
pub trait Credentials: Sync {
    /// Says what is stored, in words, without its value.
    fn status(&self) -> Result<Option<String>, String>;
    /// Stores a value that would have been in `variable`.
    fn save(&self, variable: &str, value: &str, base_url: Option<&str>) -> Result<(), String>;
}

/// What was asked for on the command line.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// A provider by name.
    pub provider: Option<String>,
    /// A driver by name; `auto` chooses anew.
    pub driver: Option<String>,
    /// What a new first agent is called.
    pub name: Option<String>,
    /// Whether nobody may be asked anything.
    pub unattended: bool,
}

/// What the install is like after setup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The first agent.
    pub agent: String,
    /// Its provider.
    pub provider: String,
    /// Whether that provider is a real model.
    pub is_connected: bool,
    /// What isolates it.
    pub driver: String,
    /// Whether a running host has to start again to follow.
    pub restart: bool,
}

/// Brings the install into shape and says each step.
pub async fn run(
    config: &Config,
    env: &dyn Strings,
    choices: &Choices<'_>,
    wish: &Wish,
    say: Say<'_>,
) -> Result<Outcome, Error> {
    for folder in [&config.data, &config.data.join("run"), &config.groups, &config.logs] {
        private_folder(folder)?;
    }
    let central = config.open_central()?;
    let before = drivers::remembered(&central)?;
    let chosen = choose_driver(config, choices, wish, &central).await?;
    let name = chosen.driver.name().to_owned();
    say(&format!("driver: {name}, {}", chosen.why));

    let mut agent = first::find_or_make(&central, choices.chat, &new_name(config, wish), say)?;
    let provider = choose_provider(env, choices, wish, agent.provider.as_deref())?;
    if let Some(tool) = &provider.tool {
        tools::install(&config.tools, tool, say)?;
    }
    let switched = first::use_provider(&central, &mut agent, provider.name, SystemClock.now())?;
    say(&format!("agent: {}, provider: {}", agent.name, provider.name));
    let moved = before.is_some_and(|(old, _)| old != name);
    Ok(Outcome {
        agent: agent.name,
        provider: provider.name.to_owned(),
        is_connected: provider.needs.is_some(),
        driver: name,
        restart: switched || moved,
    })
}

fn new_name(config: &Config, wish: &Wish) -> String {
    wish.name.clone().unwrap_or_else(|| config.assistant_name.clone())
}

fn private_folder(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .during(format_args!("create {}", path.display()))
}

async fn choose_driver(
    config: &Config,
    choices: &Choices<'_>,
    wish: &Wish,
    central: &Central,
) -> Result<drivers::Chosen, Error> {
    let (asked, configured) = (wish.driver.as_deref(), config.driver.as_deref());
    drivers::settle(choices.drivers, asked, configured, central, &driver_context(config)).await
}

/// What every driver of this install is made with.
pub fn driver_context(config: &Config) -> DriverContext {
    DriverContext {
        state: config.data.join("run/boxes"),
        image: config.image.clone(),
        runtimes: config.runtimes.clone(),
    }
}

/// Which provider the first agent shall have; stores a credential that it finds on the way.
fn choose_provider<'a>(
    env: &dyn Strings,
    choices: &Choices<'a>,
    wish: &Wish,
    current: Option<&str>,
) -> Result<&'a ProviderOption, Error> {
    let called = |name: &str| choices.providers.iter().find(|p| p.name == name);
    if let Some(name) = &wish.provider {
        let wanted = called(name).ok_or_else(|| {
            let names: Vec<&str> = choices.providers.iter().map(|p| p.name).collect();
            Error::new(format!("there is no provider {name:?}; there are: {}", names.join(", ")))
        })?;
        return connect(env, choices, wish, wanted);
    }
    for provider in choices.providers {
        if provider.needs.is_some_and(|needs| found(env, &needs).is_some()) {
            return connect(env, choices, wish, provider);
        }
    }
    let current = current.and_then(called);
    if let Some(provider) = current.filter(|p| p.needs.is_some()) {
        return Ok(provider);
    }
    for provider in choices.providers {
        let Some(needs) = &provider.needs else { continue };
        let stored = current.is_none() && stored(choices)?.is_some();
        if stored || (may_ask(wish) && ask(env, choices, needs)?) {
            return Ok(provider);
        }
    }
    current
        .or_else(|| choices.providers.iter().find(|p| p.needs.is_none()))
        .ok_or_else(|| Error::new("this install has no provider that works without a credential"))
}

/// Makes sure that a provider which was asked for has its credential.
fn connect<'a>(
    env: &dyn Strings,
    choices: &Choices<'_>,
    wish: &Wish,
    provider: &'a ProviderOption,
) -> Result<&'a ProviderOption, Error> {
    let Some(needs) = &provider.needs else { return Ok(provider) };
    if let Some((variable, value)) = found(env, needs) {
        save(env, choices, needs, variable, &value)?;
    } else if stored(choices)?.is_none() && !(may_ask(wish) && ask(env, choices, needs)?) {
        return Err(Error::new(format!("{} has no credential", provider.name)).next(format!(
            "set {} and run `nanoclaw setup`, or run it on a terminal and paste the value",
            needs.variables.join(" or ")
        )));
    }
    Ok(provider)
}

fn found(env: &dyn Strings, needs: &Needs) -> Option<(&'static str, String)> {
    needs.variables.iter().find_map(|variable| Some((*variable, env.get(variable)?)))
}

fn may_ask(wish: &Wish) -> bool {
    !wish.unattended && prompt::is_possible()
}

fn ask(env: &dyn Strings, choices: &Choices<'_>, needs: &Needs) -> Result<bool, Error> {
    let Some(value) = prompt::secret(needs.ask) else { return Ok(false) };
    save(env, choices, needs, (needs.guess)(&value), &value).map(|()| true)
}

fn stored(choices: &Choices<'_>) -> Result<Option<String>, Error> {
    choices.credentials.status().during("read the state of the vault")
}

fn save(
    env: &dyn Strings,
    choices: &Choices<'_>,
    needs: &Needs,
    variable: &str,
    value: &str,
) -> Result<(), Error> {
    let base_url = env.get(needs.base_url);
    choices
        .credentials
        .save(variable, value, base_url.as_deref())
        .during(format_args!("store {variable} in the vault"))
}

#[cfg(test)]
mod tests;
