//! What a secret is, where it may stand in a request, and what well-known prefixes and variables mean.

use crate::{Result, refused};
use nanoclaw_policy::{Authority, HostPattern, PathPattern};
use serde::{Deserialize, Serialize};

const METHODS_MAX: usize = 16;
const NAME_MAX: usize = 128;

/// What a secret is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An API key or a subscription token of Anthropic; the prefix tells which.
    Anthropic,
    /// An API key of OpenAI.
    Openai,
    /// `authorization: Bearer …`
    Bearer,
    /// A header of any name.
    Header,
    /// A password of Basic authentication.
    Basic,
    /// A parameter of the query.
    Query,
    /// A segment of the path.
    Path,
    /// The client secret (or the first refresh token) from which access tokens are made.
    Oauth2,
    /// The private key of a GitHub App, from which installation tokens are made.
    GithubApp,
    /// A token of the host's own channels: no box ever uses it.
    HostOnly,
}

impl Kind {
    /// All, with the name on a command line.
    pub const ALL: [(Self, &'static str); 10] = [
        (Self::Anthropic, "anthropic"),
        (Self::Openai, "openai"),
        (Self::Bearer, "bearer"),
        (Self::Header, "header"),
        (Self::Basic, "basic"),
        (Self::Query, "query"),
        (Self::Path, "path"),
        (Self::Oauth2, "oauth2"),
        (Self::GithubApp, "github-app"),
        (Self::HostOnly, "host-only"),
    ];

    /// Its name on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// Whether a value is one word by its nature.
    pub(crate) fn is_token(self) -> bool {
        matches!(self, Self::Anthropic | Self::Openai | Self::Bearer | Self::Header)
    }

    /// Whether requests carry something made from the value, not the value.
    #[must_use]
    pub fn is_dynamic(self) -> bool {
        matches!(self, Self::Oauth2 | Self::GithubApp)
    }

    /// Refuses a value whose prefix says that it is something else.
    pub(crate) fn confirm(self, value: &str) -> Result<()> {
        let Some(seen) = known(value).map(|known| known.kind) else { return Ok(()) };
        let clash = match self {
            Self::Anthropic | Self::Openai => seen != self,
            _ => false,
        };
        if clash {
            let (said, seen) = (self.name(), seen.name());
            return refused(format!("this value looks like {seen}, not {said}; check which it is"));
        }
        Ok(())
    }
}

/// What a prefix says about a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The prefix.
    pub prefix: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Where it belongs.
    pub host: &'static str,
}

const fn token(prefix: &'static str, host: &'static str) -> Known {
    Known { prefix, kind: Kind::Bearer, host }
}

/// Prefixes that tell what a value is; a dummy keeps them. The longer stands before the shorter.
const PREFIXES: [Known; 24] = [
    Known { prefix: OAUTH, kind: Kind::Anthropic, host: ANTHROPIC },
    Known { prefix: "sk-ant-oat", kind: Kind::Anthropic, host: ANTHROPIC },
    Known { prefix: "sk-ant-api03-", kind: Kind::Anthropic, host: ANTHROPIC },
    Known { prefix: "sk-ant-", kind: Kind::Anthropic, host: ANTHROPIC },
    token("sk-or-v1-", "openrouter.ai"),
    Known { prefix: "sk-proj-", kind: Kind::Openai, host: OPENAI },
    Known { prefix: "sk-svcacct-", kind: Kind::Openai, host: OPENAI },
    token("sk_live_", "api.stripe.com"),
    token("sk_test_", "api.stripe.com"),
    token("rk_live_", "api.stripe.com"),
    token("github_pat_", GITHUB),
    token("ghp_", GITHUB),
    token("gho_", GITHUB),
    token("ghs_", GITHUB),
    token("ghu_", GITHUB),
    token("glpat-", "gitlab.com"),
    token("xoxb-", "slack.com"),
    token("xoxp-", "slack.com"),
    token("npm_", "registry.npmjs.org"),
    token("hf_", "huggingface.co"),
    token("gsk_", "api.groq.com"),
    token("lin_api_", "api.linear.app"),
    token("ntn_", "api.notion.com"),
    token("re_", "api.resend.com"),
];
const OAUTH: &str = "sk-ant-oat01-";
const ANTHROPIC: &str = "api.anthropic.com";
const OPENAI: &str = "api.openai.com";
const GITHUB: &str = "api.github.com";

/// What the prefix of a value says.
#[must_use]
pub fn known(value: &str) -> Option<Known> {
    PREFIXES.into_iter().find(|known| value.starts_with(known.prefix))
}

/// Whether a value of Anthropic is a token of a subscription, not a key.
#[must_use]
pub fn is_anthropic_oauth(value: &str) -> bool {
    value.starts_with("sk-ant-oat")
}

/// Where in a request a secret stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Slot {
    /// In a header; `format` holds `{value}`.
    Header {
        /// Lower case.
        name: String,
        /// Such as `Bearer {value}`.
        format: String,
    },
    /// In a parameter of the query.
    Query {
        /// The parameter.
        name: String,
    },
    /// As a segment of the path, where the dummy stands.
    PathSegment,
    /// As the password of Basic authentication.
    Basic {
        /// The user.
        user: String,
    },
}

impl Slot {
    /// `authorization: Bearer …`
    #[must_use]
    pub fn bearer() -> Self {
        Self::Header { name: "authorization".into(), format: "Bearer {value}".into() }
    }

    /// A header that holds the value alone.
    #[must_use]
    pub fn header(name: &str) -> Self {
        Self::Header { name: name.to_ascii_lowercase(), format: "{value}".into() }
    }

    fn check(&self) -> Result<()> {
        let word = |text: &str| {
            let ok = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            !text.is_empty() && text.len() <= NAME_MAX && text.bytes().all(ok)
        };
        match self {
            Self::Header { name, format } => {
                if !word(name) || name.bytes().any(|b| b.is_ascii_uppercase()) {
                    return refused(format!(
                        "{name:?} is no name of a header; write it as in x-api-key"
                    ));
                }
                let plain = |b: u8| b.is_ascii_graphic() || b == b' ';
                if format.matches("{value}").count() != 1
                    || format.len() > NAME_MAX
                    || !format.bytes().all(plain)
                {
                    return refused(format!(
                        "{format:?} is no format; write it as in \"Bearer {{value}}\""
                    ));
                }
            }
            Self::Query { name } if !word(name) => {
                return refused(format!("{name:?} is no name of a parameter"));
            }
            Self::Basic { user } if user.contains(':') || user.chars().any(char::is_control) => {
                return refused(
                    "a user of Basic authentication has no colon and no control character",
                );
            }
            Self::Query { .. } | Self::PathSegment | Self::Basic { .. } => {}
        }
        Ok(())
    }
}

/// When a secret is put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inject {
    /// Where the request carries the agent's dummy.
    #[default]
    Placeholder,
    /// In every request to the place.
    Always,
}

/// A place where a secret may be used, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// Which hosts.
    pub host: HostPattern,
    /// Which port.
    pub port: u16,
    /// Which methods; none named means every one.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Which paths.
    #[serde(default)]
    pub path: PathPattern,
    /// Where in the request.
    pub slot: Slot,
    /// When.
    #[serde(default)]
    pub mode: Inject,
    /// The host never says back what it was sent; its answers need not be searched.
    #[serde(default)]
    pub no_echo: bool,
    /// Also without TLS, to a private address.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// Answers keep `set-cookie` and the like.
    #[serde(default)]
    pub allow_response_headers: bool,
}

impl Binding {
    /// Every path and method of a host at port 443.
    #[must_use]
    pub fn new(host: HostPattern, slot: Slot) -> Self {
        Self {
            host,
            port: 443,
            methods: Vec::new(),
            path: PathPattern::default(),
            slot,
            mode: Inject::default(),
            no_echo: false,
            allow_plaintext: false,
            allow_response_headers: false,
        }
    }

    /// Whether the host and the port are meant.
    #[must_use]
    pub fn covers(&self, authority: &Authority) -> bool {
        self.port == authority.port && self.host.matches(&authority.host)
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.host == HostPattern::Any {
            return refused("a secret is bound to hosts by name; * is none");
        }
        let method = |m: &String| {
            !m.is_empty() && m.len() <= 32 && m.bytes().all(|b| b.is_ascii_uppercase())
        };
        if self.port == 0 || self.methods.len() > METHODS_MAX || !self.methods.iter().all(method) {
            return refused("a binding has a port from 1 and methods in capitals, such as GET");
        }
        self.slot.check()
    }
}

/// A variable that other installs keep a secret in, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What the secret is called here.
    pub secret: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Where it is used; the kind may tell more.
    pub host: &'static str,
}

const fn variable(
    name: &'static str,
    secret: &'static str,
    kind: Kind,
    host: &'static str,
) -> Variable {
    Variable { name, secret, kind, host }
}

/// What `import env` knows, besides the tokens of channels.
pub const VARIABLES: [Variable; 13] = [
    variable("ANTHROPIC_API_KEY", "anthropic", Kind::Anthropic, ANTHROPIC),
    variable("CLAUDE_CODE_OAUTH_TOKEN", "anthropic", Kind::Anthropic, ANTHROPIC),
    variable("ANTHROPIC_AUTH_TOKEN", "anthropic", Kind::Anthropic, ANTHROPIC),
    variable("OPENAI_API_KEY", "openai", Kind::Openai, OPENAI),
    variable("PARALLEL_API_KEY", "parallel", Kind::Header, "api.parallel.ai"),
    variable("GH_TOKEN", "github", Kind::Bearer, GITHUB),
    variable("GITHUB_TOKEN", "github", Kind::Bearer, GITHUB),
    variable("GITLAB_TOKEN", "gitlab", Kind::Bearer, "gitlab.com"),
    variable("OPENROUTER_API_KEY", "openrouter", Kind::Bearer, "openrouter.ai"),
    variable("GROQ_API_KEY", "groq", Kind::Bearer, "api.groq.com"),
    variable("HF_TOKEN", "huggingface", Kind::Bearer, "huggingface.co"),
    variable("NPM_TOKEN", "npm", Kind::Bearer, "registry.npmjs.org"),
    variable("STRIPE_API_KEY", "stripe", Kind::Bearer, "api.stripe.com"),
];

/// A place as people write it: a host, with a port, a path or the whole address where they matter.
struct At {
    host: HostPattern,
    port: u16,
    prefix: String,
    plain: bool,
}

impl At {
    fn parse(text: &str) -> Result<Self> {
        let (plain, rest) = match text.split_once("://") {
            Some(("http", rest)) => (true, rest),
            Some(("https", rest)) => (false, rest),
            Some(_) => {
                return refused(format!("{text:?} starts with neither https:// nor http://"));
            }
            None => (false, text),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if is_port(port) && (!host.contains(':') || host.ends_with(']')) => {
                (host, port.parse().ok())
            }
            _ => (authority, Some(if plain { 80 } else { 443 })),
        };
        let Some(port) = port.filter(|port| *port != 0) else {
            return refused(format!("{text:?} has no port that exists"));
        };
        Ok(Self { host: pattern(host)?, port, prefix: path.trim_end_matches('/').into(), plain })
    }

    fn binding(&self, path: &str, slot: Slot) -> Result<Binding> {
        let path = pattern(&format!("{}{path}", self.prefix))?;
        let new = Binding::new(self.host.clone(), slot);
        Ok(Binding { port: self.port, path, allow_plaintext: self.plain, ..new })
    }

    fn model(&self, slot: &Slot, paths: &[&str]) -> Result<Vec<Binding>> {
        let always = |binding| Binding { mode: Inject::Always, no_echo: true, ..binding };
        paths.iter().map(|path| self.binding(path, slot.clone()).map(always)).collect()
    }
}

fn pattern<T: std::str::FromStr<Err = nanoclaw_policy::BadPattern>>(text: &str) -> Result<T> {
    text.parse()
        .map_err(|e: nanoclaw_policy::BadPattern| crate::SecretsError::Refused(e.to_string()))
}

/// The bindings of a key or a token of Anthropic: what a harness needs, not what the account stores.
pub fn anthropic(place: &str, is_oauth: bool) -> Result<Vec<Binding>> {
    let slot = if is_oauth { Slot::bearer() } else { Slot::header("x-api-key") };
    At::parse(place)?.model(&slot, &["/v1/messages/**", "/v1/models/**"])
}

/// The bindings that go without saying for a kind at a place: `host`, `host:port` or an address.
pub fn usual(kind: Kind, place: &str, value: &str) -> Result<Vec<Binding>> {
    let slot = match kind {
        Kind::HostOnly => return Ok(Vec::new()),
        Kind::Anthropic => return anthropic(place, is_anthropic_oauth(value)),
        Kind::Openai => {
            let paths = ["/v1/responses/**", "/v1/chat/**", "/v1/embeddings", "/v1/models/**"];
            return At::parse(place)?.model(&Slot::bearer(), &paths);
        }
        Kind::Bearer | Kind::Oauth2 | Kind::GithubApp => Slot::bearer(),
        Kind::Header => Slot::header("x-api-key"),
        Kind::Basic => Slot::Basic { user: String::new() },
        Kind::Query => Slot::Query { name: "key".into() },
        Kind::Path => Slot::PathSegment,
    };
    let mut bindings = vec![At::parse(place)?.binding("/**", slot)?];
    if place == GITHUB {
        // git speaks Basic where the API speaks Bearer.
        let slot = Slot::Basic { user: "x-access-token".into() };
        bindings.push(Binding::new(pattern("github.com")?, slot));
    }
    Ok(bindings)
}
