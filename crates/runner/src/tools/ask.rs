//! Questions with buttons, and cards.

use super::args::Args;
use super::say::{place, write};
use super::tasks::request;
use crate::session::{Session, out_id};

use nanoclaw_contract::content::{Choice, OPTIONS_MAX, System};
use nanoclaw_contract::message::{AGENT_CHANNEL, NewOut, OutKind};
use serde_json::{Value, json};
use std::time::Duration;

const TIMEOUT_SECONDS: f64 = 300.0;
/// Longer than a day nobody waits.
const TIMEOUT_SECONDS_MAX: f64 = 86_400.0;

/// Asks, and waits for the answer. An answer that comes too late is a message of its own.
pub(super) async fn question(
    session: &Session,
    args: Args<'_>,
    call: &str,
) -> Result<String, String> {
    const WANTED: &str = "title, question, and options are required";
    let title = args.text("title").ok_or(WANTED)?;
    let question = args.text("question").ok_or(WANTED)?;
    let options = args.get("options").and_then(Value::as_array).filter(|o| !o.is_empty());
    let options = options.ok_or(WANTED)?;
    if options.len() > OPTIONS_MAX {
        return Err(format!("more than {OPTIONS_MAX} options"));
    }
    let options: Vec<Choice> = serde_json::from_value(Value::Array(options.clone()))
        .map_err(|_| "each option is a text or an object with a label")?;
    let id = out_id("msg", &format!("tool/{call}"));
    let key = id.as_str().to_owned();
    let content = json!({ "type": "ask_question", "questionId": key, "title": title,
        "question": question, "options": options });
    let answer = session.ask(&key);
    if let Err(e) = post(session, args, id, &content) {
        session.unask(&key);
        return Err(e);
    }
    // A box that was started anew asks again under the same id, and the answer may be there already.
    if let Some(value) = answered(session, &key) {
        session.unask(&key);
        return Ok(value);
    }
    let seconds = args.seconds("timeout").unwrap_or(TIMEOUT_SECONDS).min(TIMEOUT_SECONDS_MAX);
    match tokio::time::timeout(Duration::from_secs_f64(seconds), answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(_)) | Err(_) => {
            session.unask(&key);
            let id = out_id("sys", &format!("tool/{call}/expired"));
            request(
                session,
                id,
                None,
                &json!({ "action": "question_expired", "questionId": key }),
            )?;
            Err(format!("Question timed out after {seconds}s"))
        }
    }
}

fn answered(session: &Session, question: &str) -> Option<String> {
    let content = session.inbox().ok()?.answer(question).ok()??;
    match serde_json::from_str(&content) {
        Ok(System::QuestionResponse { selected_option, .. }) => Some(selected_option),
        Ok(System::CliResponse { .. }) | Err(_) => None,
    }
}

pub(super) fn card(session: &Session, args: Args<'_>, call: &str) -> Result<String, String> {
    let card = args.get("card").filter(|c| c.is_object()).ok_or("card is required")?;
    let fallback = args.given("fallbackText").unwrap_or("");
    let id = out_id("msg", &format!("tool/{call}"));
    let done = format!("Card sent (id: {id})");
    post(session, args, id, &json!({ "type": "card", "card": card, "fallbackText": fallback }))?;
    Ok(done)
}

fn post(
    session: &Session,
    args: Args<'_>,
    id: nanoclaw_contract::ids::OutId,
    content: &Value,
) -> Result<(), String> {
    let place = place(session, args)?;
    if place.to.channel_type.as_str() == AGENT_CHANNEL {
        let name = place.name;
        return Err(format!("{name} is an agent and sees no buttons. Name a chat in \"to\"."));
    }
    let (to, in_reply_to) = (Some(place.to), place.in_reply_to);
    let content = content.to_string();
    write(session, NewOut { id, in_reply_to, kind: OutKind::ChatSdk, to, content })?;
    session.turn().delivered();
    Ok(())
}
