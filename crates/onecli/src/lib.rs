//! OneCLI, both ways: this vault answers its REST ([`facade`]), or leaves secrets and approvals to it ([`client`]).
//!
//! ```text
//! another program ─ REST, long poll, proxy on a loopback port ─▶ facade ─▶ this vault
//! box ─▶ this vault: judged ─▶ client's chain ─▶ OneCLI's gateway: secrets, approvals ─▶ the world
//! ```
//!
//! Both run in the vault's process; the host knows neither. What OneCLI says is a stranger's word: every answer has a
//! limit and is parsed into a type, and what is not understood is refused. Read next: [`Settings`], then
//! [`import`] for what moves here from there.

pub mod client;
pub mod facade;
pub mod import;
mod spec;

use nanoclaw_vault::outside::Outside;
use std::path::Path;
use std::sync::Arc;

/// Which vault has the secrets, and whether this one plays OneCLI; see [`Settings::parse`].
#[derive(Debug, PartialEq, Eq)]
pub enum Settings {
    /// This vault, for its own boxes alone.
    Embedded,
    /// This vault, which also answers OneCLI's REST on this port.
    Facade(u16),
    /// A OneCLI.
    External {
        /// Where its REST is.
        url: String,
        /// Where its gateway is, if not where it says.
        gateway: Option<String>,
    },
}

/// The secret of the host that shows an external OneCLI who asks.
pub const API_KEY: &str = "ONECLI_API_KEY";

impl Settings {
    /// Reads the variables; an error names the one that cannot be used.
    pub fn parse(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let port = match get("NANOCLAW_ONECLI_PORT").map(|text| text.parse::<u16>()) {
            None => None,
            Some(Ok(port)) if port > 0 => Some(port),
            Some(_) => {
                return Err("NANOCLAW_ONECLI_PORT is no port; write a number such as 10254".into());
            }
        };
        match get("NANOCLAW_VAULT").as_deref() {
            None | Some("embedded") => Ok(port.map_or(Self::Embedded, Self::Facade)),
            Some("onecli") if port.is_some() => {
                Err("NANOCLAW_VAULT=onecli and NANOCLAW_ONECLI_PORT exclude each other: remove one"
                    .into())
            }
            Some("onecli") => {
                let url = get("ONECLI_URL").ok_or("NANOCLAW_VAULT=onecli needs ONECLI_URL")?;
                Ok(Self::External { url, gateway: get("ONECLI_GATEWAY_URL") })
            }
            Some(other) => Err(format!("NANOCLAW_VAULT={other:?} is neither embedded nor onecli")),
        }
    }

    /// What runs beside the sessions of a vault with this data directory. `key` finds the secret of the host.
    pub fn outside(
        self,
        data: &Path,
        key: impl Fn() -> Option<nanoclaw_secrets::Value>,
    ) -> Result<Option<Arc<dyn Outside>>, String> {
        Ok(match self {
            Self::Embedded => None,
            Self::Facade(port) => Some(Arc::new(facade::Door::new(port, data))),
            Self::External { url, gateway } => {
                Some(Arc::new(client::Client::new(&url, gateway.as_deref(), key())?))
            }
        })
    }
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    let filled = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
    filled.map_err(|_| "the system has no random numbers".to_owned())?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests;
