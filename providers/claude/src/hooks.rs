//! The hooks that Claude Code calls back, and what they are answered.
//!
//! A hook holds up the turn until it is answered, so nothing here waits. The one exception, the copy of
//! a conversation before it is compacted, is made by the caller.

use crate::frames::Hook;
use crate::turn::Conversation;
use serde_json::{Map, Value, json};
use std::time::Duration;

const EVENTS: [&str; 5] = ["PreToolUse", "PostToolUse", "PostToolUseFailure", "PreCompact", "Stop"];
/// After this Claude Code goes on without an answer.
const TIMEOUT_S: u64 = 60;
/// How long Bash runs if it is not told.
const BASH_DEFAULT: Duration = Duration::from_secs(120);
/// Added to what Claude Code is told to keep when it compacts.
const KEEP_ROUTING: &str = "\
Keep the routing of the conversation. For recent messages keep the opening tags as they are, with every \
attribute (`from`, `sender`, `time`, ids), for chat messages, tasks and webhooks alike, and keep the order \
in which people and agent spoke. End the summary with this reminder, word for word: \"Everything that is \
meant for someone must stand in <message to=\\\"name\\\">…</message>, with one of the destinations named in \
the instructions; text outside of such a block reaches nobody.\"";

/// What is registered at the start.
pub(crate) fn registration() -> Value {
    let hook = |event: &str| {
        let calls = json!([{ "hookCallbackIds": [event], "timeout": TIMEOUT_S }]);
        (event.to_owned(), calls)
    };
    Value::Object(EVENTS.into_iter().map(hook).collect::<Map<_, _>>())
}

/// Answers a hook. `check` says why a turn that ends with a text must go on.
pub(crate) fn answer(
    hook: Hook,
    talk: &mut Conversation,
    check: &(dyn Fn(&str) -> Option<String> + Send + Sync),
) -> Value {
    match (hook.hook_event_name.as_str(), hook.tool_use_id) {
        ("PreToolUse", Some(id)) => {
            let timeout = (hook.tool_name == "Bash").then(|| bash_timeout(&hook.tool_input));
            talk.tool_started(id, hook.tool_name, timeout);
        }
        ("PostToolUse" | "PostToolUseFailure", Some(id)) => talk.tool_ended(&id),
        ("PreCompact", _) => return json!({ "systemMessage": KEEP_ROUTING }),
        // Asked once per turn: an agent that does not understand must not loop.
        ("Stop", _) if !hook.stop_hook_active => {
            let said = hook.last_assistant_message.unwrap_or_default();
            if let Some(reason) = check(&said) {
                return json!({ "decision": "block", "reason": reason });
            }
        }
        _ => {}
    }
    json!({})
}

fn bash_timeout(input: &Value) -> Duration {
    let asked = input.get("timeout").and_then(Value::as_u64);
    asked.map_or(BASH_DEFAULT, Duration::from_millis)
}
