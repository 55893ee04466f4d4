//! A secret as OneCLI describes it, and what it becomes here.

use nanoclaw_policy::{HostPattern, PathPattern};
use nanoclaw_secrets::kind::usual;
use nanoclaw_secrets::{Binding, Inject, Kind, NewSecret, SecretInfo, Slot, Value};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

const NAME_MAX: usize = 64;
/// The setting that keeps the name that was given, and the one with OneCLI's id.
const LABEL: &str = "onecli_name";
pub(crate) const SOURCE: &str = "onecli_id";
const VALUE: &str = "{value}";

/// All but the value.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) host_pattern: String,
    pub(crate) path_pattern: Option<String>,
    pub(crate) injection_config: Option<Injection>,
}

/// Where a generic secret stands.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Injection {
    header_name: Option<String>,
    value_format: Option<String>,
    param_name: Option<String>,
    param_format: Option<String>,
    path_template: Option<String>,
}

impl Spec {
    /// Where and how the secret goes. Here a port and a slot are part of that, so some of what OneCLI takes is not
    /// taken; the reason says what to write.
    pub(crate) fn bindings(&self, value: &str) -> Result<(Kind, Vec<Binding>), String> {
        let said = |e: &dyn std::fmt::Display| e.to_string();
        match self.kind.as_str() {
            "anthropic" => {
                let made = usual(Kind::Anthropic, &self.host_pattern, value);
                return Ok((Kind::Anthropic, made.map_err(|e| said(&e))?));
            }
            "openai" => {
                let made = usual(Kind::Openai, &self.host_pattern, value);
                return Ok((Kind::Openai, made.map_err(|e| said(&e))?));
            }
            "generic" => {}
            other => return Err(format!("the type {other:?} is not known here")),
        }
        let missing = "a generic secret needs injectionConfig with headerName or paramName";
        let injection = self.injection_config.as_ref().ok_or(missing)?;
        let (kind, slot) = match (&injection.header_name, &injection.param_name) {
            (Some(name), None) => {
                let format = injection.value_format.as_deref().unwrap_or(VALUE).to_owned();
                let name = name.to_ascii_lowercase();
                let bearer = name == "authorization" && format == "Bearer {value}";
                let kind = if bearer { Kind::Bearer } else { Kind::Header };
                (kind, Slot::Header { name, format })
            }
            (None, Some(name)) => {
                if injection.param_format.as_deref().is_some_and(|format| format != VALUE) {
                    return Err(
                        "a parameter holds the value alone here: leave paramFormat out".into()
                    );
                }
                (Kind::Query, Slot::Query { name: name.clone() })
            }
            _ if injection.path_template.is_some() => {
                return Err(
                    "a template of a path is not taken over; add it with --kind path".into()
                );
            }
            _ => return Err(missing.into()),
        };
        let host: HostPattern = self.host_pattern.parse().map_err(|e| said(&e))?;
        let path: PathPattern = self.path()?.parse().map_err(|e| said(&e))?;
        let new = Binding::new(host, slot);
        Ok((kind, vec![Binding { path, mode: Inject::Always, ..new }]))
    }

    /// `/a/*` there is everything below `/a/`.
    fn path(&self) -> Result<String, String> {
        let given = self.path_pattern.as_deref().filter(|path| !path.is_empty());
        glob(given.unwrap_or("*"))
    }

    /// As it is stored here; `settings` and the grants are added by who asks.
    pub(crate) fn with(&self, value: Value) -> Result<NewSecret, String> {
        let (kind, bindings) = self.bindings(value.expose())?;
        Ok(NewSecret {
            name: self.slug(),
            kind,
            value,
            bindings,
            grants: Vec::new(),
            expires: None,
            settings: BTreeMap::from([(LABEL.to_owned(), self.name.clone())]),
        })
    }

    /// A name with the letters that names have here.
    fn slug(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
        let name: String = self.name.chars().map(plain).take(NAME_MAX - 4).collect();
        let name = name.trim_matches(['-', '_', '.']);
        if name.is_empty() { "secret".to_owned() } else { name.to_owned() }
    }
}

/// A path of OneCLI's as a pattern of ours.
pub(crate) fn glob(path: &str) -> Result<String, String> {
    match path {
        "*" | "/*" => Ok("/**".to_owned()),
        path if !path.starts_with('/') => Err(format!("the path {path:?} begins with no /")),
        path => Ok(match path.strip_suffix('*') {
            Some(start) if start.ends_with('/') => format!("{start}**"),
            Some(start) => format!("{start}*/**"),
            None => path.to_owned(),
        }),
    }
}

/// What may be told of a secret, in OneCLI's words.
pub(crate) fn shown(info: &SecretInfo) -> serde_json::Value {
    let kind = match info.kind {
        Kind::Anthropic => "anthropic",
        Kind::Openai => "openai",
        _ => "generic",
    };
    let first = info.bindings.first();
    let injection = first.filter(|_| kind == "generic").map(|binding| match &binding.slot {
        Slot::Header { name, format } => json!({ "headerName": name, "valueFormat": format }),
        Slot::Query { name } => json!({ "paramName": name }),
        Slot::Basic { .. } => json!({ "headerName": "authorization" }),
        Slot::PathSegment => json!({}),
    });
    json!({
        "id": info.id.as_str(),
        "name": info.settings.get(LABEL).unwrap_or(&info.name),
        "type": kind,
        "hostPattern": first.map(|binding| binding.host.to_string()),
        "pathPattern": first.map(|binding| binding.path.clone()),
        "injectionConfig": injection,
        "createdAt": crate::time(info.created),
        "preview": "••••••••",
    })
}
