//! Requests that wait, over a long poll.
//!
//! Whoever polls looks after it began to listen, so that nothing is asked between the two without being heard.

use super::{Answered, Call, Facade, No, Reply, done};
use nanoclaw_vault::approvals::{Bus, DECIDE_WITHIN_MS, PLACE, REQUEST};
use nanoclaw_vault::{Decision, approvals::Decided};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long a poll waits for something to tell.
pub(crate) const WAIT: Duration = Duration::from_secs(30);
/// How long the agent's connection is held.
const HELD_SECONDS: u64 = 300;
const SHOWN_MAX: usize = 1024;

/// Until when what was shown could be decided, so that a late decision is told apart from a wrong one.
#[derive(Default)]
pub(crate) struct Desk(Mutex<BTreeMap<String, i64>>);

impl Desk {
    fn show(&self, events: &[Value]) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            if let (Some(id), Some(until)) = (event["id"].as_str(), event["until"].as_i64()) {
                shown.insert(id.to_owned(), until);
            }
        }
        while shown.len() > SHOWN_MAX {
            let oldest = shown.iter().min_by_key(|(_, until)| **until).map(|(id, _)| id.clone());
            oldest.map(|id| shown.remove(&id));
        }
    }

    fn is_late(&self, id: &str, now_ms: i64) -> bool {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown.get(id).is_some_and(|until| *until <= now_ms)
    }
}

/// What waits and is not in `exclude`: now, or as soon as there is something, or nothing after [`WAIT`].
pub(crate) async fn pending(bus: &Bus, exclude: &[&str]) -> Vec<Value> {
    let (mut last, end) = (bus.last(), Instant::now() + WAIT);
    loop {
        last.mark_unchanged();
        let mut events = bus.pending();
        events.retain(|event| event["id"].as_str().is_some_and(|id| !exclude.contains(&id)));
        // The sender lives as long as the bus.
        if !events.is_empty() || timeout_at(end, last.changed()).await.is_err() {
            return events;
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Approve,
    Deny,
}

#[derive(Deserialize)]
struct Decide {
    decision: Answer,
}

impl Facade {
    pub(super) async fn waiting(&self, query: &str, second: bool) -> Value {
        let call = Call { method: "GET", path: Vec::new(), query, body: &[], second };
        let exclude = call.parameter("exclude").unwrap_or_default();
        let exclude: Vec<&str> = exclude.split(',').collect();
        let events = pending(self.vault.bus(), &exclude).await;
        self.desk.show(&events);
        let agents = self.agents.all().unwrap_or_default();
        let requests = events.iter().map(|event| {
            let name = event["agent"].as_str().unwrap_or_default();
            let known = agents.iter().find(|agent| agent.identifier == name);
            let (id, shown) = known.map_or((name, name), |a| (&a.id, &a.name));
            let agent = json!({ "id": id, "name": shown, "externalId": name });
            request(event, &agent)
        });
        json!({ "requests": requests.collect::<Vec<_>>(), "timeoutSeconds": HELD_SECONDS })
    }

    /// ● One decision, told to the vault. Blocks.
    pub(super) fn decide(&self, call: &Call<'_>, id: &str) -> Answered {
        let Ok(Decide { decision }) = call.json() else {
            let text = "decision is approve or deny".to_owned();
            return Ok(Reply::Text(422, "text/plain", text));
        };
        let answer = match decision {
            Answer::Approve => "approve",
            Answer::Deny => "reject",
        };
        let decision = Decision {
            id: id.to_owned(),
            answer: answer.into(),
            by: "OneCLI's API".into(),
            why: None,
        };
        match self.vault.approvals().decide(&decision) {
            Ok(decided) => outcome(decided, self.desk.is_late(id, self.store.now() * 1000)),
            Err(e) => Err(No(503, e.to_string())),
        }
    }
}

fn outcome(decided: Decided, is_late: bool) -> Answered {
    match (decided, is_late) {
        (Decided::Now { .. }, _) => done(),
        (Decided::Before, true) => Err(No(410, "approval_expired".into())),
        (Decided::Before, false) => Err(No(404, "approval_not_found".into())),
    }
}

/// A request that waits, in OneCLI's words.
fn request(event: &Value, agent: &Value) -> Value {
    let (place, said) = (event[PLACE].as_str().unwrap_or_default(), &event[REQUEST]);
    let text = |field: &str, other: &str| said[field].as_str().unwrap_or(other).to_owned();
    let query = said["query"].as_str().map(|query| format!("?{query}")).unwrap_or_default();
    let path = format!("{}{query}", text("path", "/"));
    let url = format!("{}://{place}{path}", text("scheme", "https"));
    let headers =
        said["content_type"].as_str().map(|kind| ("content-type".to_owned(), kind.into()));
    let headers: serde_json::Map<_, _> = headers.into_iter().collect();
    let until = event["until"].as_i64().unwrap_or_default();
    json!({
        "id": event["id"], "method": text("method", "CONNECT"), "url": url, "host": place, "path": path,
        "headers": headers, "bodyPreview": said["start"].as_str().filter(|start| !start.is_empty()),
        "agent": agent, "createdAt": crate::time((until - DECIDE_WITHIN_MS) / 1000),
        "expiresAt": crate::time(until / 1000),
    })
}

#[cfg(test)]
mod tests;
