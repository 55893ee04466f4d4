//! What holds for any bytes: tried by the fuzzer and, a little, by the tests. No part of an ordinary build.

use crate::EgressEvent;
use crate::pairing::{ALPHABET, LENGTH, read};
use nanoclaw_channel::ask;
use serde_json::{Value, json};

#[cfg(test)]
mod tests;

/// What somebody types: a code is one however it is written, and is all that there is but for the bot's name.
pub fn code(data: &[u8]) {
    let said = String::from_utf8_lossy(data);
    let Some(code) = read(&said) else { return };
    let text = ask::typed(&said);
    assert_eq!(code.len(), LENGTH);
    assert!(code.bytes().all(|b| ALPHABET.contains(&b)), "{code:?} of {text:?}");
    let last = text.split_whitespace().last().unwrap_or_default();
    assert!(last.replace('-', "").eq_ignore_ascii_case(&code), "{code:?} is not all of {text:?}");
    let (a, b) = code.split_at(LENGTH / 2);
    for again in [format!("{a}-{b}"), format!("@bot {a}-{b}"), code.to_ascii_lowercase()] {
        assert_eq!(read(&again).as_ref(), Some(&code), "{again:?}");
    }
    assert_eq!(read(&format!("{text} {code}")), None, "more than a code");
}

/// A line that the way out tells: what is understood is what stands there.
pub fn event(data: &[u8]) {
    let Ok(said) = serde_json::from_slice::<Value>(data) else { return };
    // A list in the order of the fields is understood too.
    if !said.is_object() {
        return;
    }
    let Ok(event) = serde_json::from_value::<EgressEvent>(said.clone()) else { return };
    let understood = match event {
        EgressEvent::Asked { id, session, agent, title, lines, until, options } => {
            assert_eq!(
                said.get("options").and_then(Value::as_array).map(Vec::len),
                Some(options.len())
            );
            json!({"event": "asked", "id": id, "session": session.as_str(), "agent": agent.as_str(),
                "title": title, "lines": lines, "until": until})
        }
        EgressEvent::Alarm { code, session, agent, text } => json!({"event": "alarm", "code": code,
            "session": session.as_str(), "agent": agent.as_str(), "text": text}),
        EgressEvent::Owner { key, text } => json!({"event": "owner", "key": key, "text": text}),
    };
    for (key, value) in understood.as_object().into_iter().flatten() {
        assert_eq!(said.get(key), Some(value), "{key}");
    }
}
