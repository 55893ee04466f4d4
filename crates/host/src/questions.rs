//! A person's answer to an agent's question: by button, or typed where there are none.
//!
//! Whoever may talk to the agent in that chat may answer it there, once; everybody else is told that they
//! may not. The id on a card is the host's own, so that no box can ask in another's name. An answer that
//! comes after the agent stopped waiting is kept and told.

use crate::inbound::{Written, person};
use crate::session::Files;
use crate::{Host, HostError, approvals, fault, lock};
use nanoclaw_central::{OpenQuestion, Session, question_id};
use nanoclaw_channel::{Answer, AnswerOutcome, Body, Inbound, ask};
use nanoclaw_contract::content::{Choice, Question, System};
use nanoclaw_contract::ids::{MessageId, QuestionId, UserId};
use nanoclaw_contract::inbox::Pushed;
use nanoclaw_contract::message::{InKind, NewIn, Trigger};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Longest text that can be a typed answer.
const TYPED_BYTES_MAX: usize = 200;

/// What became of an answer.
enum Closed {
    Taken(Session, Arc<Files>),
    Late,
    Refused(String),
}

/// The open question that a typed message answers, where the platform has no buttons.
pub(crate) fn asked(
    host: &Host,
    message: &Inbound,
) -> Result<Option<(OpenQuestion, Choice)>, HostError> {
    let at = &message.at;
    let buttons = host.channels.get(&at.channel_type).is_some_and(|c| c.capabilities().buttons);
    let said = ask::typed(&message.text);
    if buttons || said.len() > TYPED_BYTES_MAX || !message.files.is_empty() {
        return Ok(None);
    }
    let open =
        host.central.questions_in_chat(&at.channel_type, &at.platform_id, at.thread_id.as_ref())?;
    let Some(question) = open.into_iter().next() else { return Ok(None) };
    let asked = Question {
        question_id: question.id.clone(),
        title: question.title.clone(),
        question: String::new(),
        options: question.options.clone(),
    };
    Ok(ask::choice(&asked, said).cloned().map(|chosen| (question, chosen)))
}

/// A typed answer to an open question. The outer `Some`: it was one.
pub(crate) fn typed(
    host: &Arc<Host>,
    message: &Inbound,
    user: &UserId,
) -> Result<Option<Option<Written>>, HostError> {
    let Some((question, chosen)) = asked(host, message)? else { return Ok(None) };
    Ok(match close(host, &question, &chosen, user)? {
        Closed::Taken(session, files) => Some(Some(Written {
            session,
            _files: files,
            trigger: Trigger::Wake,
            pushed: Pushed::Duplicate,
            reply: message.at.clone(),
            follow: None,
        })),
        // It is an ordinary message then.
        Closed::Late | Closed::Refused(_) => None,
    })
}

/// The answer by button, to a request for approval or to a question: only in the channel where it was asked.
pub(crate) fn take(
    host: &Arc<Host>,
    answer: &Answer,
) -> Result<(AnswerOutcome, Option<Session>), HostError> {
    let user = person(host, &answer.channel, &answer.sender)?;
    if let Some(outcome) = approvals::clicked(host, answer, &user)? {
        return Ok((outcome, None));
    }
    let Some(question) = host.central.question(&answer.question)? else {
        return Ok((AnswerOutcome::Late, None));
    };
    let refused = |why: String| Ok((AnswerOutcome::Refused { why }, None));
    if question.at.as_ref().is_none_or(|at| at.channel_type != answer.channel) {
        return refused("the question was asked elsewhere".into());
    }
    let is = |o: &&Choice| o.value == answer.value || o.label == answer.value;
    let Some(chosen) = question.options.iter().find(is).cloned() else {
        return refused("that is not one of the options".into());
    };
    match close(host, &question, &chosen, &user)? {
        Closed::Taken(session, _) => {
            Ok((AnswerOutcome::Taken { label: chosen.selected_label }, Some(session)))
        }
        Closed::Late => Ok((AnswerOutcome::Late, None)),
        Closed::Refused(why) => refused(why),
    }
}

/// Whether this person may answer: by the rules for a message of theirs in that chat.
fn may_answer(
    host: &Host,
    question: &OpenQuestion,
    session: &Session,
    user: &UserId,
) -> Result<Result<(), String>, HostError> {
    let central = &host.central;
    let chat = match &question.at {
        Some(at) => central.chat_by_address(&at.channel_type, &at.platform_id)?,
        None => None,
    };
    let Some(chat) = chat else { return Ok(Err("the chat of the question is gone".into())) };
    let no = |record| format!("only people whom this agent knows may answer it ({record})");
    Ok(host.may_talk(&chat, &session.agent, user)?.map_err(no))
}

/// ● Writes the answer into the asker's inbox, then closes the question: a kill in between repeats the
/// first, whose id is the question's.
fn close(
    host: &Arc<Host>,
    question: &OpenQuestion,
    chosen: &Choice,
    user: &UserId,
) -> Result<Closed, HostError> {
    let Some(session) = host.central.session(&question.session)? else { return Ok(Closed::Late) };
    if let Err(why) = may_answer(host, question, &session, user)? {
        host.trace("answer refused", None, Some(&session.id), Some(&question.out), &why);
        return Ok(Closed::Refused(why));
    }
    let files = host.files(&session)?;
    let answer = System::QuestionResponse {
        question_id: question.asked_as.to_string(),
        selected_option: chosen.value.clone(),
        user_id: user.to_string(),
        user_name: host.central.user(user)?.and_then(|u| u.name),
        title: Some(question.title.clone()),
    };
    let pushed = files.push(NewIn {
        id: MessageId::parse(format!("qr-{}", question.asked_as))?,
        kind: InKind::System,
        timestamp: host.clock.now(),
        process_after: None,
        recurrence: None,
        trigger: Trigger::Wake,
        reply: question.at.clone(),
        content: serde_json::to_string(&answer).map_err(|e| HostError::Inbox(e.to_string()))?,
        source: None,
        on_wake: false,
    })?;
    fault::point("host.answer.written");
    host.central.take_question(&question.id)?;
    if pushed == Pushed::Duplicate {
        return Ok(Closed::Late);
    }
    lock(&host.traffic).person_wrote(&session.agent);
    let out = Some(&question.out);
    host.trace("answered by a person", None, Some(&session.id), out, &chosen.value);
    Ok(Closed::Taken(session, files))
}

/// The agent no longer waits: its card says so, where it can be changed. Blocks.
pub(crate) fn expire(
    host: &Arc<Host>,
    session: &Session,
    fields: &Map<String, Value>,
) -> Result<Result<(), String>, HostError> {
    let asked = fields.get("questionId").and_then(Value::as_str).unwrap_or_default();
    let Ok(asked) = QuestionId::parse(asked) else {
        return Ok(Err("question_expired needs a questionId".into()));
    };
    let id = question_id(&session.id, &asked)?;
    let Some(question) = host.central.question(&id)?.filter(|q| !q.late) else { return Ok(Ok(())) };
    let shown = host.central.delivery(&session.id, &question.out)?;
    if let (Some(at), Some(message)) = (&question.at, shown.and_then(|d| d.platform_message_id))
        && host.channels.get(&at.channel_type).is_some_and(|c| c.capabilities().edits)
    {
        let markdown = format!(
            "**{}**\n\n⏳ Nobody answered in time. If it still matters, write a message.",
            question.title
        );
        host.mail(&format!("expired-{id}"), at, Body::Edit { message, markdown })?;
    }
    host.central.expire_question(&id)?;
    Ok(Ok(()))
}
