//! The calls of OneCLI's REST that matter here, in both generations.
//!
//! | | first (1.x) | second (2.x) |
//! |---|---|---|
//! | prefix | `/api` | `/v1` |
//! | rules, secret modes | there | 410 |
//! | who may use a secret | the agent's mode | grants, given there |

use super::http::{Ask, Http, Url};
use bytes::Bytes;
use hyper::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Three of these fit into the time that the host waits for a session.
const WITHIN: Duration = Duration::from_millis(1500);
const DECIDE_WITHIN: Duration = Duration::from_secs(5);
/// The gateway holds a poll for 30 seconds.
const POLL_WITHIN: Duration = Duration::from_secs(35);
const IDENTIFIER_MAX: usize = 50;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generation {
    /// 1.x: `/api`.
    First,
    /// 2.x: `/v1`.
    Second,
}

impl Generation {
    fn prefix(self) -> &'static str {
        match self {
            Self::First => "/api",
            Self::Second => "/v1",
        }
    }
}

/// What an agent's container is told.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Config {
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) ca_certificate: String,
    #[serde(default)]
    pub(crate) credential_stubs: Vec<Value>,
    #[serde(default)]
    pub(crate) warnings: Vec<Value>,
}

/// A request that waits for a person.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Waiting {
    pub(crate) id: String,
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) body_preview: Option<String>,
    pub(crate) agent: Whose,
    pub(crate) expires_at: jiff::Timestamp,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Whose {
    pub(crate) external_id: Option<String>,
}

#[derive(Deserialize)]
struct Poll {
    requests: Vec<Value>,
}

/// Where a OneCLI is, and which.
pub(crate) struct Api {
    http: Arc<Http>,
    base: Url,
    generation: Generation,
}

fn read<T: DeserializeOwned>(what: &str, body: &Bytes) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|e| {
        // What serde quotes may be a token.
        format!("OneCLI's {what} cannot be read (line {}, column {})", e.line(), e.column())
    })
}

fn refused(what: &str, status: u16, body: &Bytes) -> String {
    #[derive(Deserialize)]
    struct Said {
        error: String,
    }
    let said = serde_json::from_slice::<Said>(body).map(|said| said.error).unwrap_or_default();
    let said: String = said.chars().filter(|c| !c.is_control()).take(200).collect();
    match status {
        401 | 403 => {
            format!("OneCLI refuses the API key ({what}: {status} {said}); set {}", crate::API_KEY)
        }
        _ => format!("OneCLI answers {what} with {status} {said}"),
    }
}

impl Api {
    /// Finds out which generation answers.
    pub(crate) async fn find(http: Arc<Http>, base: Url) -> Result<Self, String> {
        let first = Self { http, base, generation: Generation::First };
        let generation = first.detect().await?;
        Ok(Self { generation, ..first })
    }

    async fn detect(&self) -> Result<Generation, String> {
        let (status, body) = self.call(Method::GET, "/rules", None).await?;
        match status {
            410 => Ok(Generation::Second),
            404 if !body.starts_with(b"{") => Err(
                "there is no OneCLI API at ONECLI_URL; since OneCLI 2 it is on the port 10256".into(),
            ),
            200 | 404 | 501 if body.starts_with(b"[") || body.starts_with(b"{") => Ok(Generation::First),
            200 => Err("ONECLI_URL is a web page, not OneCLI's API; since OneCLI 2 it is on the port 10256".into()),
            _ => Err(refused("rules", status, &body)),
        }
    }

    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<(u16, Bytes), String> {
        let path = format!("{}{path}", self.generation.prefix());
        self.http.ask(Ask { to: &self.base, method, path, body, within: WITHIN }).await
    }

    /// What a call answers, as JSON.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        match self.call(Method::GET, path, None).await? {
            (200, body) => read(path, &body),
            (status, body) => Err(refused(path, status, &body)),
        }
    }

    /// Makes an agent if it is not there. A new one may use what it was given when it was made, and no more, until
    /// somebody says so in OneCLI.
    pub(crate) async fn ensure(&self, name: &str, identifier: &str) -> Result<(), String> {
        let new = json!({ "name": name, "identifier": identifier });
        let (status, body) = self.call(Method::POST, "/agents", Some(new)).await?;
        match status {
            409 => Ok(()),
            200 | 201 if self.generation == Generation::First => {
                #[derive(Deserialize)]
                struct Made {
                    id: String,
                }
                let Made { id } = read("agent", &body)?;
                let mode = Some(json!({ "mode": "selective" }));
                let path = format!("/agents/{}/secret-mode", plain(&id)?);
                match self.call(Method::PATCH, &path, mode).await? {
                    (200..=299, _) => Ok(()),
                    (status, body) => Err(refused("secret-mode", status, &body)),
                }
            }
            200 | 201 => Ok(()),
            _ => Err(refused("agents", status, &body)),
        }
    }

    pub(crate) async fn config(&self, identifier: &str) -> Result<Config, String> {
        self.get(&format!("/container-config?agent={identifier}")).await
    }

    /// Where the gateway is, if OneCLI says so.
    pub(crate) async fn gateway(&self) -> Result<Option<Url>, String> {
        #[derive(Deserialize)]
        struct Told {
            url: String,
        }
        match self.call(Method::GET, "/gateway-url", None).await? {
            (200, body) => {
                let Told { url } = read("gateway-url", &body)?;
                self.base.told(&url).map(Some)
            }
            (404, _) => Ok(None),
            (status, body) => Err(refused("gateway-url", status, &body)),
        }
    }

    /// What waits for people; the gateway answers as soon as there is something. One that cannot be read is left out.
    pub(crate) async fn waiting(
        &self,
        gateway: &Url,
        exclude: &str,
    ) -> Result<Vec<Waiting>, String> {
        let query = if exclude.is_empty() { String::new() } else { format!("?exclude={exclude}") };
        let path = format!("{}/approvals/pending{query}", self.generation.prefix());
        let ask = Ask { to: gateway, method: Method::GET, path, body: None, within: POLL_WITHIN };
        match self.http.ask(ask).await? {
            (200, body) => {
                let Poll { requests } = read("approvals", &body)?;
                Ok(requests
                    .into_iter()
                    .filter_map(|one| serde_json::from_value(one).ok())
                    .collect())
            }
            (status, body) => Err(refused("approvals", status, &body)),
        }
    }

    /// Tells a decision; false if it was too late, or told before.
    pub(crate) async fn decide(&self, gateway: &Url, id: &str, yes: bool) -> Result<bool, String> {
        let path = format!("{}/approvals/{}/decision", self.generation.prefix(), plain(id)?);
        let body = Some(json!({ "decision": if yes { "approve" } else { "deny" } }));
        let ask = Ask { to: gateway, method: Method::POST, path, body, within: DECIDE_WITHIN };
        match self.http.ask(ask).await? {
            (200..=299, _) => Ok(true),
            (404 | 410, _) => Ok(false),
            (status, body) => Err(refused("decision", status, &body)),
        }
    }
}

/// An id that can stand in a path as it is.
pub(crate) fn plain(id: &str) -> Result<&str, String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let good = !id.is_empty() && id.len() <= 64 && id.bytes().all(fits);
    good.then_some(id).ok_or_else(|| "OneCLI names an id that cannot be used".to_owned())
}

/// What an agent of this install is called there: small letters, digits and `-`, a letter first, at most 50.
pub(crate) fn identifier(agent: &str) -> String {
    let fits = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let made: String = agent.to_ascii_lowercase().chars().map(fits).collect();
    let starts = made.starts_with(|c: char| c.is_ascii_lowercase());
    if made == agent && starts && made.len() <= IDENTIFIER_MAX {
        return made;
    }
    // Two that look the same now were not the same before.
    let digest = ring::digest::digest(&ring::digest::SHA256, agent.as_bytes());
    let mark = crate::hex(digest.as_ref().get(..5).unwrap_or_default());
    let start: String = made.chars().take(IDENTIFIER_MAX - 14).collect();
    format!("a-{start}-{mark}")
}
