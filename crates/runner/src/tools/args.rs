//! Arguments of a call, read one by one; a wrong type counts as absent.

use serde_json::{Map, Value};

#[derive(Clone, Copy)]
pub(super) struct Args<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Args<'a> {
    /// A text that is there, even if it is empty.
    pub(super) fn given(self, key: &str) -> Option<&'a str> {
        self.0.get(key).and_then(Value::as_str)
    }

    /// A text that says something.
    pub(super) fn text(self, key: &str) -> Option<&'a str> {
        self.given(key).filter(|t| !t.is_empty())
    }

    /// The number of a message: positive, also as text.
    pub(super) fn number(self, key: &str) -> Option<i64> {
        let number = match self.0.get(key)? {
            Value::Number(n) => n.as_i64(),
            Value::String(s) => s.trim().trim_start_matches('#').parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        number.filter(|n| *n > 0)
    }

    pub(super) fn seconds(self, key: &str) -> Option<f64> {
        self.0.get(key).and_then(Value::as_f64).filter(|s| s.is_finite() && *s > 0.0)
    }

    pub(super) fn get(self, key: &str) -> Option<&'a Value> {
        self.0.get(key)
    }
}
