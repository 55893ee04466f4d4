//! The decision about one request, or about a `CONNECT` before there is one.
//!
//! ```text
//! forbidden place? ─▶ path that means two things? ─▶ a rule blocks? ─▶ no door? ─▶ ask? ─▶ count ─▶ allow
//! ```
//!
//! The order of the rules in the file does not matter: block before ask before rate before allow. What is said
//! for one agent adds to what is said for all; it opens no place that is blocked for all. Judged without
//! looking anything up; addresses are judged when they are known ([`crate::address`]).

use crate::address::{Class, class, refused_name};
use crate::authority::{Authority, Host};
use crate::file::{Action, AgentNames, Limit, Method, Mode, Policy, Preset, Rule};
use crate::glob::HostPattern;
use crate::target::Target;
use std::net::IpAddr;

/// Headers by which some servers are told another method than that of the request.
pub const METHOD_HEADERS: [&str; 3] =
    ["x-http-method-override", "x-http-method", "x-method-override"];
/// What a service of the machine is called below.
const SERVICES: &str = ".host.internal";
const METHODS_OF_READERS: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// Who asks.
    pub agent: &'a AgentNames,
    /// To whom it goes.
    pub authority: &'a Authority,
    /// Whether the box speaks TLS, or will after its `CONNECT`.
    pub tls: bool,
    /// The method; `None` as long as there is only a `CONNECT`.
    pub method: Option<&'a str>,
    /// What [`METHOD_HEADERS`] say instead.
    pub other_methods: &'a [&'a str],
    /// What is asked of the host; `None` as long as there is only a `CONNECT`.
    pub target: Option<&'a Target>,
    /// Whether a secret of the agent is for this place.
    pub bound: Bound,
    /// What the owner answered when this agent first used this host.
    pub remembered: Option<bool>,
}

/// How far a secret of the agent is for the place of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// None is.
    No,
    /// One is for the host and the port.
    Host,
    /// One is for this method and path as well.
    Request,
}

/// What is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// May it go?
    pub verdict: Verdict,
    /// How.
    pub carry: Carry,
    /// What counts it, unless it is blocked: all of them, just before it is sent.
    pub limits: Vec<Limit>,
}

/// May it go?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Allow,
    /// No.
    Block {
        /// The word for programs; [`status`] is its status.
        code: &'static str,
        /// The rule that said so.
        rule: Option<String>,
        /// The sentence for people and agents.
        why: String,
    },
    /// If a person says so. For a `CONNECT` that is not tunnelled: wait for the request, look nothing up yet.
    Ask {
        /// The rule that said so.
        rule: Option<String>,
        /// The agent was never here, and an answer is remembered.
        first_use: bool,
    },
}

/// How a connection is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carry {
    /// Opened, so that each request is judged.
    Mitm,
    /// As it is: no request is seen and no secret is given.
    Tunnel,
}

/// The status of a refusal.
#[must_use]
pub fn status(code: &str) -> u16 {
    if code == "path_not_canonical" { 400 } else { 403 }
}

/// Sentences about a decision, if anybody wants them.
struct Notes(Option<Vec<String>>);

impl Notes {
    fn say(&mut self, sentence: impl FnOnce() -> String) {
        if let Some(notes) = &mut self.0 {
            notes.push(sentence());
        }
    }
}

/// The rules that met a request.
#[derive(Default)]
struct Met<'a> {
    block: Option<&'a Rule>,
    ask: Option<&'a Rule>,
    allow: Option<&'a Rule>,
    exempt: Option<&'a Rule>,
    limits: Vec<&'a Rule>,
    /// Some rule for this place looks at paths.
    by_path: bool,
    /// Some rule for this place looks at what a tunnel hides.
    by_request: bool,
}

/// Whether the agent may reach a place, rules aside.
enum Door {
    Open,
    Ask,
    Shut(String),
}

impl Policy {
    /// Decides.
    #[must_use]
    pub fn decide(&self, asking: &Asking<'_>) -> Decision {
        self.judge(asking, &mut Notes(None))
    }

    /// Decides, and says how it came about.
    #[must_use]
    pub fn explain(&self, asking: &Asking<'_>) -> (Decision, Vec<String>) {
        let mut notes = Notes(Some(Vec::new()));
        let decision = self.judge(asking, &mut notes);
        notes.say(|| match &decision.verdict {
            Verdict::Allow => "Allowed.".to_owned(),
            Verdict::Block { code, why, .. } => format!("Blocked ({code}): {why}."),
            Verdict::Ask { first_use: true, .. } => {
                "The owner is asked, and the answer is kept.".to_owned()
            }
            Verdict::Ask { .. } => "A person is asked.".to_owned(),
        });
        (decision, notes.0.unwrap_or_default())
    }

    fn judge(&self, asking: &Asking<'_>, notes: &mut Notes) -> Decision {
        let tunnel = asking.tls
            && self.scopes(asking.agent).any(|e| e.tunnel.iter().any(|t| t.is(asking.authority)));
        let carry = if tunnel { Carry::Tunnel } else { Carry::Mitm };
        if tunnel {
            notes.say(|| {
                "It is tunnelled: nothing inside is seen, and no secret is given.".to_owned()
            });
        }
        let met = self.meet(asking, carry, notes);
        let verdict = self.verdict(asking, carry, &met, notes);
        let counts = (asking.method.is_some() || tunnel) && met.exempt.is_none();
        let limits = match verdict {
            Verdict::Allow | Verdict::Ask { .. } if counts => {
                met.limits.iter().filter_map(|rule| rule.limit.clone()).collect()
            }
            _ => Vec::new(),
        };
        Decision { verdict, carry, limits }
    }

    fn verdict(
        &self,
        asking: &Asking<'_>,
        carry: Carry,
        met: &Met<'_>,
        notes: &mut Notes,
    ) -> Verdict {
        let block = |code, why: String| Verdict::Block { code, rule: None, why };
        if let Some((code, why)) = self.forbidden(asking) {
            return block(code, why);
        }
        let bound = asking.bound != Bound::No && carry == Carry::Mitm;
        if (bound || met.by_path) && asking.target.is_some_and(|target| !target.plain()) {
            let why =
                "the path has dot segments, a \\, or bytes that servers read in different ways";
            return block("path_not_canonical", why.to_owned());
        }
        if let Some(rule) = met.block {
            let why = format!("the rule {:?} blocks it", rule.name);
            return Verdict::Block {
                code: "blocked_by_policy",
                rule: Some(rule.name.clone()),
                why,
            };
        }
        if carry == Carry::Tunnel && met.by_request {
            let why = "a rule for this host looks at requests, and a tunnel hides them";
            return block("blocked_by_policy", why.to_owned());
        }
        let door = match met.allow {
            Some(rule) if self.mode(asking.agent) != Mode::None => {
                notes.say(|| format!("The rule {:?} lets it pass.", rule.name));
                Door::Open
            }
            _ => self.door(asking, carry, notes),
        };
        if let Some(rule) = met.exempt {
            notes
                .say(|| format!("The rule {:?} spares it from asking and from limits.", rule.name));
        }
        let ask = met.ask.filter(|_| met.exempt.is_none()).map(|rule| rule.name.clone());
        match door {
            Door::Shut(why) => block("blocked_by_policy", why),
            Door::Ask if met.exempt.is_none() => Verdict::Ask { rule: ask, first_use: true },
            Door::Open | Door::Ask if ask.is_some() => Verdict::Ask { rule: ask, first_use: false },
            Door::Open | Door::Ask => Verdict::Allow,
        }
    }

    /// What nobody may, whatever the mode and the rules say.
    fn forbidden(&self, asking: &Asking<'_>) -> Option<(&'static str, String)> {
        let to = asking.authority;
        if self.scopes(asking.agent).any(|egress| egress.block.iter().any(|place| place.is(to))) {
            return Some(("blocked_by_policy", format!("{to} is on a block list")));
        }
        if asking.remembered == Some(false) {
            return Some(("blocked_by_policy", format!("the owner said no to {}", to.host)));
        }
        match &to.host {
            Host::Name(name) if service_name(name).is_some() => return self.service(asking, name),
            Host::Name(name) if refused_name(name) && self.declared(to).next().is_none() => {
                let why = format!("{name} is a name of machinery or of this network");
                return Some(("address_not_allowed", why));
            }
            Host::Ip(ip) if !self.dialled(to, *ip) => {
                let why =
                    format!("{ip} is an address of this machine, a private network or nobody");
                return Some(("address_not_allowed", why));
            }
            Host::Name(_) | Host::Ip(_) => {}
        }
        (!self.open_port(asking)).then(|| {
            let why = format!("the port {} is not open for {}; add it to ports", to.port, to.host);
            ("blocked_by_policy", why)
        })
    }

    /// Whether an address may be dialled for a place, as far as can be said without knowing this machine.
    #[must_use]
    pub fn dialled(&self, to: &Authority, ip: IpAddr) -> bool {
        class(ip) == Class::Public || self.private(to, ip)
    }

    fn service(&self, asking: &Asking<'_>, name: &str) -> Option<(&'static str, String)> {
        let no = |why: String| Some(("blocked_by_policy", why));
        let name = service_name(name).unwrap_or_default();
        let Some(service) = self.host_service(asking.agent, name) else {
            return no(format!("there is no host service {name:?} for this agent"));
        };
        if asking.tls || asking.authority.port != 80 {
            return no(format!("a host service is reached as http://{name}{SERVICES}/"));
        }
        let (Some(method), Some(target)) = (asking.method, asking.target) else { return None };
        let methods = &service.methods;
        let method = methods.is_empty() || allows(methods, method, &others(asking, target));
        let path =
            service.paths.is_empty() || service.paths.iter().any(|p| p.every_reading(target));
        if method && path && target.plain() {
            return None;
        }
        no(format!("the host service {name:?} is not open for this method and path"))
    }

    fn open_port(&self, asking: &Asking<'_>) -> bool {
        let to = asking.authority;
        let named = |rule: &Rule| rule.action == Some(Action::Allow) && rule.port == Some(to.port);
        matches!(to.port, 80 | 443)
            || asking.bound != Bound::No
            || self.declared(to).next().is_some()
            || self.scopes(asking.agent).any(|egress| {
                let mut places = egress.allow.iter().chain(&egress.tunnel);
                egress.ports.iter().any(|port| port.0 == to.port)
                    || places.any(|place| place.port.is_some() && place.is(to))
            })
            || self.rules_for(asking).any(named)
    }

    /// Rules for the agent, the host and the port.
    fn rules_for<'a>(&'a self, asking: &Asking<'a>) -> impl Iterator<Item = &'a Rule> {
        let Asking { agent, authority, .. } = *asking;
        let mut rules: Vec<usize> = self.index.rules_for(&authority.host).collect();
        rules.sort_unstable();
        let rules = rules.into_iter().filter_map(|at| self.rules.get(at));
        rules.filter(move |rule| {
            rule.port.is_none_or(|port| port == authority.port)
                && rule.agent.as_ref().is_none_or(|pattern| pattern.matches(agent))
        })
    }

    fn meet<'a>(&'a self, asking: &Asking<'a>, carry: Carry, notes: &mut Notes) -> Met<'a> {
        let mut met = Met::default();
        let others = asking.target.map(|target| others(asking, target)).unwrap_or_default();
        for rule in self.rules_for(asking) {
            let strict = rule.action != Some(Action::Allow) && rule.action != Some(Action::Exempt);
            met.by_path |= rule.path.is_some();
            met.by_request |= strict && (rule.path.is_some() || !rule.methods.is_empty());
            let hits = |strict: bool| match (asking.method, asking.target) {
                (Some(method), Some(target)) => rule.hits(method, target, &others, strict),
                // Of a `CONNECT` only a rule for whole hosts knows, or one that opens a door to be judged later.
                _ => {
                    let whole = rule.path.is_none() && rule.methods.is_empty();
                    whole || (!strict && carry == Carry::Mitm)
                }
            };
            if strict && hits(true) {
                notes.say(|| format!("The rule {:?} meets it.", rule.name));
            }
            match rule.action {
                Some(Action::Block) if hits(true) => met.block = met.block.or(Some(rule)),
                Some(Action::Ask) if hits(true) => met.ask = met.ask.or(Some(rule)),
                Some(Action::Allow) if hits(false) => met.allow = met.allow.or(Some(rule)),
                Some(Action::Exempt) if hits(false) => met.exempt = met.exempt.or(Some(rule)),
                Some(_) | None => {}
            }
            if rule.limit.is_some() && hits(true) {
                met.limits.push(rule);
            }
        }
        met
    }

    fn door(&self, asking: &Asking<'_>, carry: Carry, notes: &mut Notes) -> Door {
        let to = asking.authority;
        if to.host.name().and_then(service_name).is_some() {
            notes.say(|| "It is a host service of this agent.".to_owned());
            return Door::Open;
        }
        let mode = self.mode(asking.agent);
        notes.say(|| format!("The mode for this agent is {mode}."));
        if mode == Mode::None {
            return Door::Shut("this agent may reach nothing (mode none)".to_owned());
        }
        let opened = self.opened(asking, carry);
        if let Some(by) = &opened {
            notes.say(|| format!("{to} is open: {by}."));
            return Door::Open;
        }
        match mode {
            Mode::Open => Door::Open,
            Mode::Ask => Door::Ask,
            Mode::None | Mode::Allowlist
                if asking.bound == Bound::Host && asking.method.is_some() =>
            {
                Door::Shut(format!("the secret for {to} is not for this method and path"))
            }
            Mode::None | Mode::Allowlist => {
                Door::Shut(format!("{to} is not on the list of this agent; the owner can add it"))
            }
        }
    }

    /// What opens a place, if anything does.
    fn opened(&self, asking: &Asking<'_>, carry: Carry) -> Option<&'static str> {
        let to = asking.authority;
        let mut scopes = self.scopes(asking.agent);
        let covered = asking.bound == Bound::Request
            || (asking.bound == Bound::Host && asking.method.is_none());
        if covered && carry == Carry::Mitm {
            return Some("a secret of the agent is for it");
        }
        if asking.remembered == Some(true) {
            return Some("the owner said yes to it");
        }
        if self.scopes(asking.agent).any(|e| e.allow.iter().chain(&e.tunnel).any(|p| p.is(to))) {
            return Some("it is on the list");
        }
        let methods: Vec<&str> =
            asking.method.into_iter().chain(asking.other_methods.iter().copied()).collect();
        let reads = asking.target.is_none_or(|target| target.method().next().is_none())
            && methods.iter().all(|method| METHODS_OF_READERS.contains(method));
        scopes.find_map(|egress| {
            egress.presets.iter().find_map(|preset| match preset {
                Preset::None => None,
                Preset::Web => (reads && carry == Carry::Mitm)
                    .then_some("it only reads, and the preset web lets it"),
                Preset::Llm | Preset::Dev => {
                    let hosts = self.presets.get(preset).map_or(&[][..], Vec::as_slice);
                    let fine = matches!(to.port, 80 | 443);
                    let hit = |host: &HostPattern| host.matches(&to.host);
                    (fine && hosts.iter().any(hit)).then_some("it is in a preset")
                }
            })
        })
    }
}

fn service_name(host: &str) -> Option<&str> {
    host.strip_suffix(SERVICES).filter(|name| !name.contains('.'))
}

/// The methods that a server may obey instead.
fn others(asking: &Asking<'_>, target: &Target) -> Vec<String> {
    let headers = asking.other_methods.iter().flat_map(|value| value.split(','));
    headers.map(|method| method.trim().to_owned()).chain(target.method()).collect()
}

fn allows(methods: &[Method], method: &str, others: &[String]) -> bool {
    let listed = |one: &str| methods.iter().any(|m| m.0 == "*" || m.0 == one);
    listed(method) && others.iter().all(|other| listed(&other.to_ascii_uppercase()))
}

impl Rule {
    /// Whether a request is meant: by any reading and method if the rule is strict, else by all of them.
    fn hits(&self, method: &str, target: &Target, others: &[String], strict: bool) -> bool {
        let method = self.methods.is_empty()
            || if strict {
                let is = |one: &str| self.methods.iter().any(|m| m.0.eq_ignore_ascii_case(one));
                is(method) || others.iter().any(|other| is(other))
            } else {
                allows(&self.methods, method, others)
            };
        method
            && self.path.as_ref().is_none_or(|path| {
                if strict { path.any_reading(target) } else { path.every_reading(target) }
            })
    }
}

#[cfg(test)]
mod tests;
