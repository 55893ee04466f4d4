//! Answers that are typed in a direct chat, where a platform has no buttons.
//!
//! A bare number never decides: an agent that talks in the same chat could have somebody type one. A code
//! from the card does, or the option's own word while only one card is open there.

use super::{Decided, Voter};
use crate::{Host, HostError, questions};
use nanoclaw_central::{Approval, ApprovalStatus};
use nanoclaw_channel::{Choice, Inbound, Question, ask};
use nanoclaw_contract::ids::{ApprovalId, QuestionId, UserId};
use std::sync::Arc;

/// Longest text that can be an answer.
const ANSWER_BYTES_MAX: usize = 200;
/// Longest name of a new agent.
const NAME_CHARS_MAX: usize = 64;
/// Cards of one chat that are looked at.
const CARDS_MAX: u32 = 50;

/// What somebody types to mean this request.
fn code(id: &str) -> &str {
    id.get(3..7).unwrap_or(id)
}

/// The card for a channel without buttons.
pub(crate) fn card(q: &Question) -> String {
    let code = code(q.question_id.as_str());
    let reply = |(n, o): (usize, &Choice)| format!("- `{code} {}` {}", n + 1, o.label);
    let replies: Vec<_> = q.options.iter().enumerate().map(reply).collect();
    format!("**{}**\n{}\nReply with one of these:\n{}", q.title, q.question, replies.join("\n"))
}

/// Takes a message that answers a request; true if it did, or was meant to. Blocks.
pub(crate) fn take(host: &Arc<Host>, message: &Inbound, user: &UserId) -> Result<bool, HostError> {
    let (at, said) = (&message.at, ask::typed(&message.text));
    if said.len() > ANSWER_BYTES_MAX || !message.files.is_empty() {
        return Ok(false);
    }
    if let Some(id) = host.central.expected_name(user, at)? {
        return name(host, &id, message, user).map(|()| true);
    }
    if host.channels.get(&at.channel_type).is_some_and(|c| c.capabilities().buttons) {
        return Ok(false);
    }
    let first = said.trim_matches('`').split_whitespace().next().unwrap_or_default();
    let first = first.to_ascii_lowercase();
    let cards = host.central.approvals_at(&at.channel_type, &at.platform_id, &first, CARDS_MAX)?;
    let (reply, about) = match meant(&cards, said) {
        Meant::Nothing => return Ok(false),
        Meant::Which => {
            ("More than one request is open here. Reply with the code of its card.".to_owned(), "")
        }
        Meant::No(a) => {
            ("That is not one of the options of this request.".to_owned(), a.id.as_str())
        }
        // An agent's own question may have the same words: it is answered, and decides nothing here.
        Meant::Word(..) if questions::asked(host, message)?.is_some() => return Ok(false),
        Meant::Word(a, value) | Meant::This(a, value) => {
            match host.decide(&a.id, Voter::Person(user), &value)? {
                // The card itself says the rest.
                Decided::Taken(_) if a.needed == 1 => return Ok(true),
                Decided::Taken(text) | Decided::Late(text) | Decided::Refused(text) => {
                    (text, a.id.as_str())
                }
            }
        }
    };
    host.say(&format!("typed:{}:{}:{about}", at.channel_type, message.id), at, reply)?;
    Ok(true)
}

enum Meant<'a> {
    /// It is no answer.
    Nothing,
    /// It could be for several.
    Which,
    /// This request, but none of its options.
    No(&'a Approval),
    This(&'a Approval, String),
    /// The only one that is open, by the word of an option.
    Word(&'a Approval, String),
}

fn meant<'a>(cards: &'a [Approval], said: &str) -> Meant<'a> {
    let said = said.trim_matches('`');
    let (first, rest) = said.split_once(char::is_whitespace).unwrap_or((said, ""));
    let coded = cards.iter().find(|a| code(a.id.as_str()).eq_ignore_ascii_case(first));
    if let Some(a) = coded {
        let Ok(question_id) = QuestionId::parse(a.id.as_str()) else { return Meant::Nothing };
        let options = a.choices();
        let q = Question { question_id, title: String::new(), question: String::new(), options };
        return match ask::choice(&q, rest) {
            Some(choice) => Meant::This(a, choice.value.clone()),
            None => Meant::No(a),
        };
    }
    let is = |c: &Choice| c.label.eq_ignore_ascii_case(said) || c.value.eq_ignore_ascii_case(said);
    let open = cards.iter().filter(|a| a.status == ApprovalStatus::Pending);
    let mut fitting = open.filter_map(|a| a.choices().into_iter().find(is).map(|c| (a, c.value)));
    match (fitting.next(), fitting.next()) {
        (None, _) => Meant::Nothing,
        (Some((a, value)), None) => Meant::Word(a, value),
        (Some(_), Some(_)) => Meant::Which,
    }
}

/// The name of a new agent.
fn name(
    host: &Arc<Host>,
    id: &ApprovalId,
    message: &Inbound,
    user: &UserId,
) -> Result<(), HostError> {
    let said = ask::typed(&message.text);
    let reply = if said.eq_ignore_ascii_case("cancel") {
        host.central.expect_name(id, None)?;
        "Cancelled. The request is still open.".to_owned()
    } else if said.is_empty() || said.chars().count() > NAME_CHARS_MAX {
        format!("A name has 1 to {NAME_CHARS_MAX} characters. Type it here, or `cancel`.")
    } else {
        match host.decide(id, Voter::Person(user), &format!("new:{said}"))? {
            Decided::Taken(_) => return Ok(()),
            Decided::Late(text) | Decided::Refused(text) => text,
        }
    };
    host.say(&format!("typed:{}:{}", message.at.channel_type, message.id), &message.at, reply)
}
