//! Which driver isolates the agents of this install, and why that one.
//!
//! The list comes from `install/` in order of preference. A driver that was named is used or refused; it is
//! never replaced by a weaker one in silence.

use crate::{During as _, Error, Say};
use async_trait::async_trait;
use nanoclaw_central::Central;
use nanoclaw_driver::{Driver, DriverContext, DriverDef};
use std::sync::Arc;

/// The setting that remembers the choice of setup.
const CHOSEN: &str = "driver";
/// The setting that remembers the reason.
const WHY: &str = "driver_why";
/// The setting that remembers what a person asked for.
const WISHED: &str = "driver_wished";

/// A driver that this install can use.
pub struct DriverOption {
    /// The driver.
    pub def: DriverDef,
    /// Its images, if it uses any.
    pub images: Option<&'static dyn Images>,
}

/// What a driver that uses images can do with them.
#[async_trait]
pub trait Images: Send + Sync {
    /// Whether the engine has the image.
    async fn exists(&self, image: &str) -> Result<bool, String>;
    /// Builds the image from `container/Dockerfile` below `root`.
    async fn build(&self, root: &std::path::Path, image: &str, say: Say<'_>) -> Result<(), String>;
    /// Makes the base image without a registry.
    async fn base(&self, say: Say<'_>) -> Result<(), String>;
}

/// A driver that works here.
pub struct Chosen {
    /// The driver.
    pub driver: Arc<dyn Driver>,
    /// Why it was chosen, as a sentence for people.
    pub why: String,
}

/// The driver called `wish` or, without a wish, the first in the list that works.
pub async fn choose(
    options: &[DriverOption],
    wish: Option<&str>,
    context: &DriverContext,
) -> Result<Chosen, Error> {
    let mut not: Vec<String> = Vec::new();
    for option in options.iter().filter(|o| wish.is_none_or(|name| name == o.def.name)) {
        match try_one(option, context).await {
            Ok((driver, what)) => {
                let how = if wish.is_some() { "it was asked for" } else { "it works here" };
                let mut why = format!("{how} ({what})");
                for reason in &not {
                    why.push_str("; ");
                    why.push_str(reason);
                }
                return Ok(Chosen { driver, why });
            }
            Err(reason) => not.push(format!("not {}: {reason}", option.def.name)),
        }
    }
    if !not.is_empty() {
        return Err(Error::new(format!("no driver works here; {}", not.join("; ")))
            .next("bash nanoclaw.sh, which installs what a driver needs"));
    }
    let names: Vec<&str> = options.iter().map(|o| o.def.name).collect();
    let wish = wish.unwrap_or_default();
    Err(Error::new(format!("there is no driver {wish:?}; there are: {}", names.join(", ")))
        .next("correct NANOCLAW_DRIVER, or leave it out"))
}

async fn try_one(
    option: &DriverOption,
    context: &DriverContext,
) -> Result<(Arc<dyn Driver>, String), String> {
    let driver = (option.def.make)(context).map_err(|e| e.to_string())?;
    let probe = driver.probe().await.map_err(|e| e.to_string())?;
    if let Some(images) = option.images
        && !images.exists(&context.image).await?
    {
        return Err(format!("its image {} is missing (nanoclaw image build)", context.image));
    }
    let mut what = probe.version;
    if !probe.missing.is_empty() {
        what.push_str("; without ");
        what.push_str(&probe.missing.join(", "));
    }
    Ok((driver, what))
}

/// The driver for a host: the configured one, else the one that setup chose, else the first that works.
pub async fn for_host(
    options: &[DriverOption],
    configured: Option<&str>,
    central: &Central,
    context: &DriverContext,
) -> Result<Chosen, Error> {
    let before = remembered(central)?;
    match (configured, before) {
        (None, Some((name, why))) => {
            let chosen = choose(options, Some(&name), context).await?;
            Ok(Chosen { why, ..chosen })
        }
        (wish, _) => choose(options, wish, context).await,
    }
}

/// Chooses for setup, and remembers it for every later start.
///
/// What a person asked for once holds until they ask for something else; `auto` ends it.
pub async fn settle(
    options: &[DriverOption],
    asked: Option<&str>,
    configured: Option<&str>,
    central: &Central,
    context: &DriverContext,
) -> Result<Chosen, Error> {
    let before = read(central, WISHED)?;
    let wish = match asked {
        Some("auto") => None,
        Some(name) => Some(name),
        None => before.as_deref(),
    };
    let chosen = choose(options, asked.and(wish).or(configured).or(wish), context).await?;
    let facts =
        [(CHOSEN, Some(chosen.driver.name())), (WHY, Some(chosen.why.as_str())), (WISHED, wish)];
    for (key, value) in facts {
        central.put_setting(key, value).during("save a setting")?;
    }
    Ok(chosen)
}

/// What setup chose, and why.
pub fn remembered(central: &Central) -> Result<Option<(String, String)>, Error> {
    let Some(name) = read(central, CHOSEN)? else { return Ok(None) };
    Ok(Some((name, read(central, WHY)?.unwrap_or_default())))
}

fn read(central: &Central, key: &str) -> Result<Option<String>, Error> {
    central.setting(key).during("read a setting")
}

#[cfg(test)]
mod tests;
