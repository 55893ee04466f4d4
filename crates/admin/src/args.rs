//! Arguments made one: whatever way they were written, one map with the table's names and types.
//!
//! Everything that decides or acts (scope, approval, execution) sees only what comes out of here, so that
//! two spellings of one argument can never be taken for two.

use crate::table::{Flag, Kind, Verb};
use crate::wire::{Code, Failure};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Arguments by name.
pub type Args = BTreeMap<String, Value>;

/// Most bytes of all arguments together.
pub const BYTES_MAX: usize = 64 << 10;

fn bad(text: String) -> Failure {
    Failure::new(Code::InvalidArgs, text)
}

/// Names and types made one. Refuses what the verb does not take, and anything that is said twice.
pub fn canonical(
    verb: &Verb,
    given: impl IntoIterator<Item = (String, Value)>,
) -> Result<Args, Failure> {
    let (mut args, mut bytes) = (Args::new(), 0);
    for (name, value) in given {
        let Some(flag) = verb.flag(&name) else { return Err(unknown(verb, &name)) };
        let value = typed(flag, value)?;
        bytes += value.as_str().map_or_else(|| value.to_string().len(), str::len);
        if bytes > BYTES_MAX {
            return Err(bad(format!("the arguments have more than {BYTES_MAX} bytes")));
        }
        if args.insert(flag.name.into(), value).is_some() {
            return Err(bad(format!("{} is given more than once", flag.spelt())));
        }
    }
    Ok(args)
}

/// There is no argument of this name.
pub(crate) fn unknown(verb: &Verb, name: &str) -> Failure {
    let name: String = name.chars().take(60).collect();
    let known: Vec<_> = verb.flags.iter().map(Flag::spelt).collect();
    let known = if known.is_empty() { "none".into() } else { known.join(", ") };
    bad(format!("`ncl {}` takes no {name:?}; it takes {known}", verb.words()))
}

/// Fills in what was left out, and refuses if something is missing.
pub fn complete(verb: &Verb, args: &mut Args) -> Result<(), Failure> {
    for flag in verb.flags.iter().filter(|f| !args.contains_key(f.name)).collect::<Vec<_>>() {
        if let Some(default) = flag.default {
            args.insert(flag.name.into(), typed(flag, default.into())?);
        } else if flag.required {
            return Err(match verb.positional {
                Some(name) if name == flag.name => {
                    bad(format!("which one? `ncl {} {}`", verb.words(), name.to_uppercase()))
                }
                _ => bad(format!("{} is required: {}", flag.spelt(), flag.about)),
            });
        }
    }
    Ok(())
}

fn typed(flag: &Flag, value: Value) -> Result<Value, Failure> {
    let name = flag.spelt();
    let text = match &value {
        Value::Null => Some(""),
        Value::String(text) => Some(text.as_str()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    };
    if text.is_some_and(|t| t.trim().is_empty()) {
        return match flag.nullable {
            true => Ok(Value::Null),
            false => Err(bad(format!("{name} needs a value"))),
        };
    }
    let wrong = |what: &str| Err(bad(format!("{name} takes {what}")));
    match flag.kind {
        Kind::Text => match text {
            Some(t) if t.contains('\0') => wrong("no null character"),
            Some(_) => Ok(value),
            None => wrong("a text"),
        },
        Kind::Word(words) => match text {
            Some(t) if words.contains(&t) => Ok(value),
            _ => wrong(&format!("one of {}", words.join(", "))),
        },
        Kind::Number => {
            let number = text.map_or_else(|| value.as_u64(), |t| t.parse().ok());
            match number.filter(|n| i64::try_from(*n).is_ok()) {
                Some(number) => Ok(number.into()),
                None => wrong("a whole number, 0 or more"),
            }
        }
        Kind::Switch => match (&value, text) {
            (Value::Bool(_), _) => Ok(value),
            (_, Some("true" | "yes" | "on" | "1")) => Ok(true.into()),
            (_, Some("false" | "no" | "off" | "0")) => Ok(false.into()),
            (Value::Number(n), _) if n.as_u64().is_some_and(|n| n < 2) => {
                Ok((n.as_u64() == Some(1)).into())
            }
            _ => wrong("true or false"),
        },
        Kind::List | Kind::Map => {
            let parsed = match text {
                Some(t) => serde_json::from_str(t).unwrap_or_default(),
                None => value,
            };
            let is_text = |v: &Value| v.as_str().is_some_and(|t| !t.contains('\0'));
            match (flag.kind, &parsed) {
                (Kind::List, Value::Array(all)) if all.iter().all(is_text) => Ok(parsed),
                (Kind::Map, Value::Object(all)) if all.values().all(is_text) => Ok(sorted(all)),
                (Kind::List, _) => wrong(r#"a JSON array of texts, such as ["-v"]"#),
                _ => wrong(r#"a JSON object of texts, such as {"KEY": "value"}"#),
            }
        }
    }
}

/// The same map whatever order it was written in.
fn sorted(all: &Map<String, Value>) -> Value {
    let sorted: BTreeMap<_, _> = all.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    Value::Object(sorted.into_iter().collect())
}
