//! A secret in its slot: chosen by the placeholder that the request carries, or because it always goes there.
//!
//! First everything is taken out of the slots ([`take`]), so that what is left can be searched and judged; when
//! the request may go, the value is put in ([`put`]). What a box itself wrote into a slot never goes out with it.

use crate::DUMMY;
use crate::head;
use crate::refusal::Refusal;
use crate::store::{Credential, Kind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use nanoclaw_policy::{Bound as Fit, Target};
use nanoclaw_secrets::{Bound, Inject, Kind as Secret, Slot, Value};
use serde_json::json;
use std::sync::Arc;

const API_KEY: &str = "x-api-key";
const BETA: HeaderName = HeaderName::from_static("anthropic-beta");
const OAUTH: &str = "sk-ant-oat";
const OAUTH_BETA: &str = "oauth-2025-04-20";
const VALUE: &str = "{value}";

/// One secret of a request and how it will stand there.
struct Use {
    bound: usize,
    /// What the box wrote, with the placeholder in it; nothing for a secret that always goes.
    text: Option<String>,
}

/// The secrets of one request.
pub(crate) struct Uses {
    bounds: Arc<Vec<Bound>>,
    uses: Vec<Use>,
}

impl Uses {
    fn each(&self) -> impl Iterator<Item = (&Bound, &Use)> {
        self.uses.iter().filter_map(|one| Some((self.bounds.get(one.bound)?, one)))
    }

    pub(crate) fn bound(&self) -> impl Iterator<Item = &Bound> {
        self.each().map(|(bound, _)| bound)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.bound().map(|bound| bound.name.clone()).collect()
    }

    pub(crate) fn any(&self) -> bool {
        !self.uses.is_empty()
    }

    /// Whether some headers of an answer are for the secret's owner alone.
    pub(crate) fn hides_answer_headers(&self) -> bool {
        self.bound().any(|bound| !bound.binding.allow_response_headers)
    }

    /// A target without the placeholders that belong there.
    pub(crate) fn without(&self, target: &str) -> String {
        let in_target =
            |bound: &&Bound| matches!(bound.binding.slot, Slot::Query { .. } | Slot::PathSegment);
        self.bound().filter(in_target).fold(target.to_owned(), |t, b| t.replace(&b.dummy, "-"))
    }
}

/// Whether this opens the API of a model.
pub(crate) fn is_model(bound: &Bound) -> bool {
    matches!(bound.kind, Secret::Anthropic | Secret::Openai)
}

/// How far these are for the request.
pub(crate) fn fit(bounds: &[Bound], method: &str, target: &Target) -> Fit {
    match bounds {
        [] => Fit::No,
        some if some.iter().any(|bound| covers(bound, method, target)) => Fit::Request,
        _ => Fit::Host,
    }
}

/// Whether a secret is for this method and path.
pub(crate) fn covers(bound: &Bound, method: &str, target: &Target) -> bool {
    let Bound { binding, .. } = bound;
    let method = binding.methods.is_empty() || binding.methods.iter().any(|m| m == method);
    method && binding.path.every_reading(target)
}

/// Chooses, and takes out of the slots whatever the box put there.
pub(crate) fn take(
    bounds: &Arc<Vec<Bound>>,
    parts: &mut Parts,
    target: &Target,
) -> Result<Uses, Refusal> {
    let fitting = |at: &usize| covers(&bounds[*at], parts.method.as_str(), target);
    let fitting: Vec<usize> = (0..bounds.len()).filter(fitting).collect();
    let carried = |at: usize| Some((at, carried(&bounds[at], &parts.headers, target)?));
    let mut uses: Vec<Use> = fitting
        .iter()
        .filter_map(|at| carried(*at))
        .map(|(bound, text)| Use { bound, text: Some(text) })
        .collect();
    let same_slot = |a: usize, b: usize| slot_name(&bounds[a]) == slot_name(&bounds[b]);
    for at in fitting.iter().filter(|at| bounds[**at].binding.mode == Inject::Always) {
        if !uses.iter().any(|one| one.text.is_some() && same_slot(one.bound, *at)) {
            uses.push(Use { bound: *at, text: None });
        }
    }
    let clash = |one: &Use| uses.iter().filter(|two| same_slot(one.bound, two.bound)).count() > 1;
    let clashing: Vec<&str> =
        uses.iter().filter(|one| clash(one)).map(|one| bounds[one.bound].name.as_str()).collect();
    if !clashing.is_empty() {
        let text =
            "several secrets are for this place; send the placeholder of the one that is meant";
        let refusal = Refusal::new(StatusCode::CONFLICT, "multiple_credentials", text);
        return Err(refusal.with("secrets", json!(clashing)));
    }
    for one in &uses {
        match &bounds[one.bound].binding.slot {
            Slot::Header { name, .. } => drop(parts.headers.remove(name.as_str())),
            Slot::Basic { .. } => drop(parts.headers.remove(AUTHORIZATION)),
            Slot::Query { .. } | Slot::PathSegment => {}
        }
    }
    Ok(Uses { bounds: Arc::clone(bounds), uses })
}

fn slot_name(bound: &Bound) -> (&str, &str) {
    match &bound.binding.slot {
        Slot::Header { name, .. } => ("header", name),
        Slot::Basic { .. } => ("header", "authorization"),
        Slot::Query { name } => ("query", name),
        Slot::PathSegment => ("path", &bound.dummy),
    }
}

/// What stands in the slot, if the placeholder is in it.
pub(crate) fn carried(bound: &Bound, headers: &HeaderMap, target: &Target) -> Option<String> {
    let dummy = &bound.dummy;
    let text = |name: &str| match headers.get_all(name).iter().collect::<Vec<_>>()[..] {
        [one] => one.to_str().ok().map(str::to_owned),
        _ => None,
    };
    let found = match &bound.binding.slot {
        Slot::Header { name, .. } => text(name)?,
        Slot::Basic { .. } => {
            let given = text("authorization")?;
            let (scheme, word) = given.split_once(' ')?;
            let basic = scheme.eq_ignore_ascii_case("basic");
            String::from_utf8(STANDARD.decode(word.trim()).ok().filter(|_| basic)?).ok()?
        }
        Slot::Query { name } => {
            let mut pairs = target.query()?.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, value)| key == name && value == dummy)?.1.to_owned()
        }
        Slot::PathSegment => {
            // As in `/bot<token>/`: a part of one segment.
            target.path().split('/').find(|segment| segment.contains(dummy.as_str()))?.to_owned()
        }
    };
    found.contains(dummy.as_str()).then_some(found)
}

/// Puts one value in; gives back the target it stands in.
pub(crate) fn put(
    (bound, text): (&Bound, Option<&str>),
    value: &Value,
    headers: &mut HeaderMap,
    target: String,
) -> Result<String, Refusal> {
    let (secret, dummy) = (value.expose(), bound.dummy.as_str());
    match &bound.binding.slot {
        Slot::Header { name, format } => {
            let text = match text {
                Some(text) => text.replace(dummy, secret),
                None => format.replace(VALUE, secret),
            };
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit(bound))?;
            if name == API_KEY || name == AUTHORIZATION {
                anthropic(headers, secret);
            }
            headers.insert(name, sensitive(bound, &text)?);
        }
        Slot::Basic { user } => {
            let pair =
                text.map_or_else(|| format!("{user}:{secret}"), |t| t.replace(dummy, secret));
            let value = format!("Basic {}", STANDARD.encode(pair));
            headers.insert(AUTHORIZATION, sensitive(bound, &value)?);
        }
        Slot::Query { name } => return Ok(in_query(&target, name, &escaped(secret))),
        Slot::PathSegment => {
            let (path, query) = target.split_once('?').unwrap_or((&target, ""));
            let path = path.replace(dummy, &escaped(secret));
            return Ok(if query.is_empty() { path } else { format!("{path}?{query}") });
        }
    }
    Ok(target)
}

/// A key and a token never go together, and a token needs its beta.
fn anthropic(headers: &mut HeaderMap, secret: &str) {
    if !secret.starts_with("sk-ant-") {
        return;
    }
    headers.remove(API_KEY);
    headers.remove(AUTHORIZATION);
    betas(headers, secret.starts_with(OAUTH));
}

fn betas(headers: &mut HeaderMap, oauth: bool) {
    let given: Vec<&str> = headers.get_all(BETA).iter().filter_map(|v| v.to_str().ok()).collect();
    let given = given.join(",");
    let mut betas: Vec<&str> =
        given.split(',').map(str::trim).filter(|b| !b.is_empty() && *b != OAUTH_BETA).collect();
    if oauth {
        betas.push(OAUTH_BETA);
    }
    match HeaderValue::from_str(&betas.join(",")) {
        Ok(value) if !betas.is_empty() => drop(headers.insert(BETA, value)),
        _ => drop(headers.remove(BETA)),
    }
}

fn in_query(target: &str, name: &str, value: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let named = |pair: &&str| pair.split('=').next() != Some(name);
    let mut pairs: Vec<&str> = query.split('&').filter(|p| !p.is_empty()).filter(named).collect();
    let ours = format!("{name}={value}");
    pairs.push(&ours);
    format!("{path}?{}", pairs.join("&"))
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() || b"-._~:".contains(&b) => out.push(char::from(b)),
            b => out += &format!("%{b:02X}"),
        }
    }
    out
}

fn sensitive(bound: &Bound, text: &str) -> Result<HeaderValue, Refusal> {
    let plain = text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    let value = HeaderValue::from_str(text).ok().filter(|_| plain).map(|mut value| {
        value.set_sensitive(true);
        value
    });
    value.ok_or_else(|| unfit(bound))
}

fn unfit(bound: &Bound) -> Refusal {
    let text = format!("the secret {:?} cannot stand where it is bound to", bound.name);
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "bad_secret", text)
}

/// The one credential of the model's API, in place of whatever the box sent.
pub(crate) fn model(headers: &mut HeaderMap, credential: &Credential) -> Result<(), Refusal> {
    for name in ["authorization", API_KEY, "cookie"] {
        headers.remove(name);
    }
    let leaks = |v: &HeaderValue| v.as_bytes().windows(DUMMY.len()).any(|w| w == DUMMY.as_bytes());
    if headers.values().any(leaks) {
        let text = "the box's placeholder credential stands in a header where it does not belong";
        return Err(Refusal::blocked("placeholder_leak", text));
    }
    let secret = credential.secret.expose();
    let (name, text) = match credential.kind {
        Kind::ApiKey => (HeaderName::from_static(API_KEY), secret.to_owned()),
        Kind::Oauth => (AUTHORIZATION, format!("Bearer {secret}")),
    };
    betas(headers, credential.kind == Kind::Oauth);
    let mut value = HeaderValue::from_str(&text).map_err(|_| no_credential())?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}

pub(crate) fn no_credential() -> Refusal {
    let text = "no usable credential for the model API is stored here. The owner of this install runs \
                `nanoclaw setup` on the machine to store one";
    Refusal::new(StatusCode::UNAUTHORIZED, "authentication_error", text)
}

/// Every value goes in, just now; they are given back in the order of the uses.
pub(crate) async fn all(
    vault: &crate::serve::Vault,
    uses: &Uses,
    headers: &mut HeaderMap,
    target: &Target,
) -> Result<(String, Vec<Arc<Value>>), Refusal> {
    let (mut wire, mut values) = (target.wire().to_owned(), Vec::new());
    for (bound, one) in uses.each() {
        let value = vault.wallet.value(bound).await?;
        wire = put((bound, one.text.as_deref()), &value, headers, wire)?;
        values.push(value);
    }
    // A value in a path can change what the path means only if it was stored without its rules.
    if wire.len() > head::HEAD_MAX {
        return Err(head::too_large());
    }
    Ok((wire, values))
}

#[cfg(test)]
mod tests;
