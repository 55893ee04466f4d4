//! `[[rule]]` and `[[budget]]`: what matches, what happens, how much may pass.

use super::Port;
use crate::glob::{AgentPattern, HostPattern, PathPattern};
use serde::Deserialize;
use std::time::Duration;

/// A method, or any.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Method(pub(crate) String);

impl TryFrom<String> for Method {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let plain = text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') || text == "*";
        if plain && (1..=32).contains(&text.len()) {
            return Ok(Self(text));
        }
        Err(format!("{text:?} is no method: capital letters, as in \"DELETE\", or \"*\" for any"))
    }
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Refuses.
    Block,
    /// Asks a person.
    Ask,
    /// Lets pass what the mode would not.
    Allow,
    /// Spares what it matches from asking and from limits; never from a block.
    Exempt,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawRule")]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) host: HostPattern,
    pub(crate) port: Option<u16>,
    pub(crate) methods: Vec<Method>,
    pub(crate) path: Option<PathPattern>,
    pub(crate) agent: Option<AgentPattern>,
    pub(crate) action: Option<Action>,
    pub(crate) limit: Option<Limit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    #[serde(default)]
    name: String,
    r#match: Match,
    action: Option<Action>,
    rate: Option<Rate>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Match {
    host: Option<HostPattern>,
    port: Option<Port>,
    #[serde(default)]
    method: Vec<Method>,
    path: Option<PathPattern>,
    agent: Option<AgentPattern>,
}

impl TryFrom<RawRule> for Rule {
    type Error = String;

    fn try_from(raw: RawRule) -> Result<Self, String> {
        let RawRule { name, r#match: Match { host, port, method, path, agent }, action, rate } =
            raw;
        match (action, rate) {
            (None, None) => {
                let say = "write action = \"block\" (or ask, allow, exempt), or a rate";
                return Err(format!("the rule does nothing: {say}"));
            }
            (Some(Action::Block | Action::Exempt), Some(_)) => {
                let say = "a rule that blocks or exempts has none; write a second rule";
                return Err(format!("the rate would never count: {say}"));
            }
            _ => {}
        }
        if name.len() > 128 || name.contains(char::is_control) {
            return Err("the name of a rule is one line of at most 128 letters".to_owned());
        }
        Ok(Self {
            limit: rate.map(|rate| Limit { rule: name.clone(), rate }),
            name,
            host: host.unwrap_or(HostPattern::Any),
            port: port.map(|port| port.0),
            methods: method.into_iter().filter(|m| m.0 != "*").collect(),
            path,
            agent,
            action,
        })
    }
}

/// A rate that a rule sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Name of the rule.
    pub rule: String,
    /// How much.
    pub rate: Rate,
}

/// How much may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawRate")]
pub struct Rate {
    /// So many.
    pub n: u32,
    /// Within any time as long as this.
    pub per: Duration,
    /// So many at once.
    pub burst: u32,
    /// Who is counted together.
    pub key: Who,
}

/// Who is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Who {
    /// All sessions of an agent.
    #[default]
    Agent,
    /// One session.
    Session,
    /// Everybody.
    Install,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRate {
    n: u32,
    per: Unit,
    burst: Option<u32>,
    #[serde(default)]
    key: Who,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Unit {
    Second = 1,
    Minute = 60,
    Hour = 3600,
    Day = 86_400,
}

impl TryFrom<RawRate> for Rate {
    type Error = &'static str;

    fn try_from(RawRate { n, per, burst, key }: RawRate) -> Result<Self, Self::Error> {
        let burst = burst.unwrap_or(n);
        if !(1..=1_000_000).contains(&n) || !(1..=n).contains(&burst) {
            return Err(
                "n is from 1 to 1,000,000 and burst from 1 to n; to let nothing pass, block",
            );
        }
        Ok(Self { n, per: Duration::from_secs(per as u64), burst, key })
    }
}

/// What an agent may spend on models.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawBudget")]
pub struct Budget {
    /// Whose.
    pub agent: AgentPattern,
    /// Millionths of a dollar after which the owner is told.
    pub soft_usd: Option<u64>,
    /// Millionths of a dollar after which nothing passes.
    pub hard_usd: Option<u64>,
    /// Tokens after which the owner is told.
    pub soft_tokens: Option<u64>,
    /// Tokens after which nothing passes.
    pub hard_tokens: Option<u64>,
    /// When it begins anew.
    pub per: Period,
}

/// When a budget begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// Each day.
    Day,
    /// Each month.
    Month,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBudget {
    agent: AgentPattern,
    soft_usd: Option<f64>,
    hard_usd: Option<f64>,
    soft_tokens: Option<u64>,
    hard_tokens: Option<u64>,
    per: Period,
}

impl TryFrom<RawBudget> for Budget {
    type Error = &'static str;

    fn try_from(raw: RawBudget) -> Result<Self, Self::Error> {
        let RawBudget { agent, soft_usd, hard_usd, soft_tokens, hard_tokens, per } = raw;
        let micro = |usd: Option<f64>| match usd {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
            Some(usd) if (0.0..=1e9).contains(&usd) => Ok(Some((usd * 1e6).round() as u64)),
            Some(_) => Err("a sum is from 0 to 1,000,000,000 dollars"),
            None => Ok(None),
        };
        if [soft_usd, hard_usd] == [None; 2] && [soft_tokens, hard_tokens] == [None; 2] {
            return Err("the budget limits nothing: write hard_usd, hard_tokens, or a soft one");
        }
        let (soft_usd, hard_usd) = (micro(soft_usd)?, micro(hard_usd)?);
        Ok(Self { agent, soft_usd, hard_usd, soft_tokens, hard_tokens, per })
    }
}
