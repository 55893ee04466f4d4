//! `policy.toml`, as its owner writes it: read whole or refused with the line and what to write instead.
//!
//! There is no other way to a policy, and none that lets an unknown word pass. Read next: [`Policy::decide`].

use crate::address::{Class, class};
use crate::authority::{Authority, Host};
use crate::glob::{AgentPattern, BadPattern, HostPattern, PathPattern};
use ipnet::IpNet;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use toml::Spanned;

mod rule;

pub use rule::{Action, Budget, Limit, Period, Rate, Who};
pub(crate) use rule::{Method, Rule};

const FILE_MAX: usize = 1 << 20;
const PRESETS: &str = include_str!("presets.toml");

/// Who asks: an agent by its id and its folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, Deserialize)]
pub struct AgentNames {
    /// Its id.
    pub id: String,
    /// The name of its folder.
    pub folder: String,
}

/// What is wrong with a policy file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct BadPolicy {
    /// Where.
    pub line: usize,
    /// What, and what to write instead.
    pub what: String,
}

/// All that an owner said about what may go out.
#[derive(Debug, Default)]
pub struct Policy {
    pub(crate) install: Egress,
    pub(crate) agents: BTreeMap<String, Egress>,
    pub(crate) services: Vec<HostService>,
    pub(crate) private: Vec<AllowPrivate>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) budgets: Vec<Budget>,
    pub(crate) index: Index,
    pub(crate) presets: BTreeMap<Preset, Vec<HostPattern>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    egress: Egress,
    #[serde(default)]
    agents: BTreeMap<String, Section>,
    #[serde(default)]
    host_service: Vec<HostService>,
    #[serde(default)]
    allow_private: Vec<AllowPrivate>,
    #[serde(default)]
    rule: Vec<Spanned<Rule>>,
    #[serde(default)]
    budget: Vec<Budget>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    egress: Egress,
}

/// `[egress]`, of the install or of one agent.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Egress {
    pub(crate) mode: Option<Mode>,
    #[serde(default)]
    pub(crate) presets: BTreeSet<Preset>,
    #[serde(default)]
    pub(crate) allow: Vec<Place>,
    #[serde(default)]
    pub(crate) block: Vec<Place>,
    #[serde(default)]
    pub(crate) tunnel: Vec<Place>,
    #[serde(default)]
    pub(crate) ports: Vec<Port>,
    #[serde(default)]
    pub(crate) scan: Vec<Place>,
    pub(crate) auth: Option<Auth>,
    pub(crate) model_tools: Option<bool>,
}

/// What an agent may reach that nobody named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nothing at all.
    None,
    /// Nothing.
    Allowlist,
    /// What the owner says at first use.
    Ask,
    /// The whole public Internet.
    Open,
}

/// A named list of hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Preset {
    None,
    Llm,
    Dev,
    Web,
}

/// How a box says who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// By its socket and its token.
    #[default]
    Token,
    /// By its socket alone, for programs that cannot send a token.
    Socket,
}

/// A port that is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u16")]
pub(crate) struct Port(pub(crate) u16);

impl TryFrom<u16> for Port {
    type Error = &'static str;

    fn try_from(port: u16) -> Result<Self, Self::Error> {
        if port == 0 { Err("a port is a number from 1 to 65535") } else { Ok(Self(port)) }
    }
}

/// A host, and a port or any that is open.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Place {
    pub(crate) host: HostPattern,
    pub(crate) port: Option<u16>,
}

impl TryFrom<String> for Place {
    type Error = BadPattern;

    fn try_from(text: String) -> Result<Self, BadPattern> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (text.as_str(), None),
        };
        let wrong =
            || BadPattern(format!("{text:?} has no usable port, as in \"example.com:8443\""));
        let port = port.map(|port| port.parse().ok().filter(|p| *p > 0).ok_or_else(wrong));
        Ok(Self { host: host.parse()?, port: port.transpose()? })
    }
}

impl Place {
    pub(crate) fn is(&self, authority: &Authority) -> bool {
        self.port.is_none_or(|port| port == authority.port) && self.host.matches(&authority.host)
    }
}

/// A service of this machine or its network, reached as `http://NAME.host.internal/`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawService")]
pub struct HostService {
    /// The name.
    pub name: String,
    /// Where it listens.
    pub to: SocketAddr,
    pub(crate) agents: Vec<AgentPattern>,
    pub(crate) methods: Vec<Method>,
    pub(crate) paths: Vec<PathPattern>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawService {
    name: String,
    to: SocketAddr,
    agents: Vec<AgentPattern>,
    #[serde(default)]
    methods: Vec<Method>,
    #[serde(default)]
    paths: Vec<PathPattern>,
}

impl TryFrom<RawService> for HostService {
    type Error = String;

    fn try_from(
        RawService { name, to, agents, methods, paths }: RawService,
    ) -> Result<Self, String> {
        let label = matches!(Host::parse(&name), Ok(Host::Name(read)) if read == name);
        if !label || name.contains('.') {
            return Err(format!("{name:?} is no name of a service: one word, as in \"ollama\""));
        }
        if !(to.ip().is_loopback() || class(to.ip()) == Class::Private) || to.port() == 0 {
            let say = "a service is on this machine or its network, as in \"127.0.0.1:11434\"";
            return Err(format!("{to} is none: {say}"));
        }
        Ok(Self { name, to, agents, methods, paths })
    }
}

/// Addresses of a private network that one name may have, on one port.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawPrivate")]
pub(crate) struct AllowPrivate {
    pub(crate) host: HostPattern,
    pub(crate) cidr: IpNet,
    pub(crate) port: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPrivate {
    host: HostPattern,
    cidr: String,
    port: Port,
}

impl TryFrom<RawPrivate> for AllowPrivate {
    type Error = String;

    fn try_from(RawPrivate { host, cidr, port }: RawPrivate) -> Result<Self, String> {
        // The loopback only address by address: what else listens there was not meant.
        let fine = |net: &IpNet| {
            let one = net.prefix_len() == net.max_prefix_len() && net.addr().is_loopback();
            let private = [net.network(), net.broadcast()].map(class) == [Class::Private; 2];
            one || (private && net.prefix_len() >= 8)
        };
        match cidr.parse::<IpNet>().ok().filter(fine) {
            Some(net) if host != HostPattern::Any => {
                Ok(Self { host, cidr: net.trunc(), port: port.0 })
            }
            _ => Err(format!(
                "{cidr:?} for {host}: name a host and a private network, as in \"192.168.1.0/24\""
            )),
        }
    }
}

/// Where the rules for a host are.
#[derive(Debug, Default)]
pub(crate) struct Index {
    exact: HashMap<Host, Vec<usize>>,
    below: HashMap<String, Vec<usize>>,
    any: Vec<usize>,
}

impl Index {
    fn add(&mut self, host: &HostPattern, at: usize) {
        match host {
            HostPattern::Any => self.any.push(at),
            HostPattern::Below(domain) => self.below.entry(domain.clone()).or_default().push(at),
            HostPattern::Exact(host) => self.exact.entry(host.clone()).or_default().push(at),
        }
    }

    pub(crate) fn rules_for<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = usize> + 'a {
        let parents = host.name().into_iter().flat_map(|name| {
            name.match_indices('.').filter_map(|(dot, _)| self.below.get(&name[dot + 1..]))
        });
        let lists = self.exact.get(host).into_iter().chain(parents).chain([&self.any]);
        lists.flatten().copied()
    }
}

impl Policy {
    /// Reads a policy file.
    pub fn parse(text: &str) -> Result<Self, BadPolicy> {
        let line = |at: usize| 1 + text.bytes().take(at).filter(|b| *b == b'\n').count();
        let bad = |at, what: &str| BadPolicy { line: line(at), what: what.to_owned() };
        if text.len() > FILE_MAX {
            return Err(bad(0, "the file has more than 1 MiB"));
        }
        let raw: Raw = toml::from_str(text).map_err(|e| {
            let start = e.span().map_or(0, |span| span.start);
            // Of a list, only where it begins is known; what is wrong in it is quoted first.
            let quoted = e.message().strip_prefix('"').and_then(|rest| rest.split('"').next());
            let within = quoted.and_then(|word| text.get(start..)?.find(word)).unwrap_or(0);
            bad(start + within, e.message())
        })?;
        let mut policy = Self {
            install: raw.egress,
            agents: raw.agents.into_iter().map(|(name, section)| (name, section.egress)).collect(),
            services: raw.host_service,
            private: raw.allow_private,
            budgets: raw.budget,
            // A test reads it; without it there are no presets, and so less is allowed.
            presets: toml::from_str(PRESETS).unwrap_or_default(),
            ..Self::default()
        };
        let mut names = BTreeSet::new();
        for (at, rule) in raw.rule.into_iter().enumerate() {
            let start = rule.span().start;
            let mut rule = rule.into_inner();
            if rule.name.is_empty() {
                rule.name = format!("rule {}", at + 1);
                rule.limit.iter_mut().for_each(|limit| limit.rule.clone_from(&rule.name));
            }
            if !names.insert(rule.name.clone()) {
                let what = format!("a second rule has the name {:?}; give it another", rule.name);
                return Err(bad(start, &what));
            }
            policy.index.add(&rule.host, at);
            policy.rules.push(rule);
        }
        Ok(policy)
    }

    /// What was said for everybody, then what was said for this agent.
    pub(crate) fn scopes<'a>(&'a self, agent: &'a AgentNames) -> impl Iterator<Item = &'a Egress> {
        [&self.install].into_iter().chain(self.sections(agent))
    }

    pub(crate) fn sections<'a>(
        &'a self,
        agent: &'a AgentNames,
    ) -> impl Iterator<Item = &'a Egress> {
        let folder = Some(&agent.folder).filter(|folder| **folder != agent.id);
        [Some(&agent.id), folder].into_iter().flatten().filter_map(|name| self.agents.get(name))
    }

    /// What an agent may reach that nobody named.
    #[must_use]
    pub fn mode(&self, agent: &AgentNames) -> Mode {
        let own = self.sections(agent).filter_map(|egress| egress.mode).min();
        own.or(self.install.mode).unwrap_or(Mode::Allowlist)
    }

    /// How this agent's boxes say who they are.
    #[must_use]
    pub fn auth(&self, agent: &AgentNames) -> Auth {
        self.sections(agent).find_map(|e| e.auth).or(self.install.auth).unwrap_or_default()
    }

    /// Whether bodies for this place have to be readable, so that they can be searched.
    #[must_use]
    pub fn scans(&self, agent: &AgentNames, to: &Authority) -> bool {
        self.scopes(agent).any(|egress| egress.scan.iter().any(|place| place.is(to)))
    }

    /// Whether a model may reach the Internet for this agent with tools of its vendor.
    #[must_use]
    pub fn model_tools(&self, agent: &AgentNames) -> bool {
        let own = self.sections(agent).find_map(|egress| egress.model_tools);
        own.or(self.install.model_tools).unwrap_or(self.mode(agent) == Mode::Open)
    }

    /// The service with this name, if this agent may know it.
    #[must_use]
    pub fn host_service(&self, agent: &AgentNames, name: &str) -> Option<&HostService> {
        let mut named = self.services.iter().filter(|service| service.name == name);
        named.find(|service| service.agents.iter().any(|pattern| pattern.matches(agent)))
    }

    /// Whether this private address was declared for this host and port.
    #[must_use]
    pub fn private(&self, authority: &Authority, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let fine = class(ip) == Class::Private || ip.is_loopback();
        fine && self.declared(authority).any(|entry| entry.cidr.contains(&ip))
    }

    /// Whether an `[[allow_private]]` entry is for this host and port.
    #[must_use]
    pub fn declares(&self, to: &Authority) -> bool {
        self.declared(to).next().is_some()
    }

    pub(crate) fn declared(&self, to: &Authority) -> impl Iterator<Item = &AllowPrivate> {
        self.private.iter().filter(|one| one.port == to.port && one.host.matches(&to.host))
    }

    /// The budgets of an agent; each holds.
    pub fn budgets(&self, agent: &AgentNames) -> impl Iterator<Item = &Budget> {
        self.budgets.iter().filter(|budget| budget.agent.matches(agent))
    }
}

impl FromStr for Policy {
    type Err = BadPolicy;

    fn from_str(text: &str) -> Result<Self, BadPolicy> {
        Self::parse(text)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Allowlist => "allowlist",
            Self::Ask => "ask",
            Self::Open => "open",
        })
    }
}

#[cfg(test)]
mod tests;
