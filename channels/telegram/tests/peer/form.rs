//! The fields of a request, from JSON or from a form with files.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

#[derive(Default)]
pub(crate) struct Fields {
    pub(crate) values: Map<String, Value>,
    /// Name and bytes, by field.
    pub(crate) files: BTreeMap<String, (String, Vec<u8>)>,
}

impl Fields {
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        match self.values.get(name)? {
            Value::String(text) => text.parse().ok(),
            value => value.as_i64(),
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).and_then(Value::as_str)
    }

    /// A field that is JSON, and a text of JSON in a form.
    pub(crate) fn json(&self, name: &str) -> Option<Value> {
        match self.values.get(name)? {
            Value::String(text) => serde_json::from_str(text).ok(),
            value => Some(value.clone()),
        }
    }
}

pub(crate) fn fields(kind: Option<&str>, body: &[u8]) -> Fields {
    let mut fields = Fields::default();
    match kind.and_then(|kind| kind.split_once("boundary=")) {
        Some((_, boundary)) => {
            parts(&mut fields, format!("--{}", boundary.trim_matches('"')).as_bytes(), body);
        }
        None => {
            if let Ok(Value::Object(map)) = serde_json::from_slice(body) {
                fields.values = map;
            }
        }
    }
    fields
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    // Boundaries begin with a dash: looking only there is fast enough for large files.
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(at) = hay[from..].iter().position(|b| *b == first).map(|at| at + from) {
        if hay[at..].starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

fn parts(fields: &mut Fields, boundary: &[u8], body: &[u8]) {
    let mut rest = body;
    while let Some(at) = find(rest, boundary) {
        rest = &rest[at + boundary.len()..];
        let Some(end) = find(rest, boundary) else { break };
        let part = rest[..end].strip_prefix(b"\r\n").unwrap_or(&rest[..end]);
        let Some(gap) = find(part, b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&part[..gap]).into_owned();
        let bytes = part[gap + 4..].strip_suffix(b"\r\n").unwrap_or(&part[gap + 4..]);
        let value = |key: &str| {
            let (_, rest) = head.split_once(&format!("{key}=\""))?;
            Some(rest.split_once('"')?.0.to_owned())
        };
        let Some(name) = value("; name") else { continue };
        match value("; filename") {
            Some(file) => {
                fields.files.insert(name, (file, bytes.to_vec()));
            }
            None => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                fields.values.insert(name, Value::String(text));
            }
        }
    }
}
