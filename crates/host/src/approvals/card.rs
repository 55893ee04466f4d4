//! What people see of a request: all of it, and nothing that hides.

use super::Action;
use crate::mail::{Letter, details_of};
use crate::{Host, HostError, strangers};
use nanoclaw_central::{Approval, ApprovalStatus, Card, NewApproval, NewMail};
use nanoclaw_channel::{Choice, Question, QuestionId};
use nanoclaw_contract::ids::{Address, AgentId, ChatId, SessionId, UserId};
use serde_json::Value;

/// Longest details on the card itself; longer ones get messages of their own before it.
const ON_CARD_MAX: usize = 1500;

/// A request for people.
pub(crate) struct Shown {
    pub(crate) title: String,
    /// Who asks for what.
    summary: String,
    /// Every argument, one per line.
    details: String,
    pub(crate) options: Vec<Choice>,
}

/// Text from outside as people can see it: what is invisible or turns text around is spelled out.
pub(crate) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let hides = c.is_control()
            || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
                | '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}' | '\u{fe00}'..='\u{fe0f}');
        if hides && c != '\n' {
            out.push_str(&c.escape_unicode().to_string());
        } else {
            out.push(c);
        }
    }
    out
}

/// A name inside a sentence: one line of plain text.
fn name(text: &str) -> String {
    format!("`{}`", visible(text).replace('`', "'").replace('\n', " "))
}

/// Every value below `value` with its path, as JSON.
fn flatten(path: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                // A key is the asker's too: what is no plain word is quoted.
                let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
                let key = if plain { key.clone() } else { format!("{key:?}") };
                let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                flatten(&path, value, lines);
            }
        }
        _ => lines.push(format!("{path} = {value}")),
    }
}

fn details(action: &Action) -> Result<String, HostError> {
    if let Action::Request { lines, .. } = action {
        return Ok(visible(&lines.join("\n")));
    }
    let mut value =
        serde_json::to_value(action).map_err(|e| HostError::Unknown(format!("action: {e}")))?;
    if let Value::Object(map) = &mut value {
        map.shift_remove("action");
    }
    value.sort_all_objects();
    let mut lines = Vec::new();
    flatten("", &value, &mut lines);
    Ok(visible(&lines.join("\n")))
}

/// A code block that nothing inside it can end.
fn fenced(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}\n{text}\n{fence}")
}

fn choice(label: &str, selected: &str, value: &str) -> Choice {
    Choice { label: label.into(), selected_label: selected.into(), value: value.into() }
}

/// Puts an action into words. Blocks.
pub(crate) fn describe(
    host: &Host,
    action: &Action,
    session: Option<&SessionId>,
) -> Result<Shown, HostError> {
    let agent = |id: &AgentId| -> Result<String, HostError> {
        Ok(host.central.agent(id)?.map_or_else(|| id.to_string(), |a| a.name))
    };
    let mut options = vec![
        choice("Approve", "✅ Approved", "approve"),
        choice("Reject", "❌ Rejected", "reject"),
    ];
    let (title, mut summary) = match action {
        Action::InstallPackages { agent: a, .. } => {
            let who = agent(a)?;
            (
                format!("Packages for {who}"),
                format!("{} asks to install packages into its box.", name(&who)),
            )
        }
        Action::AddMcpServer { agent: a, .. } => {
            let who = agent(a)?;
            (
                format!("A tool server for {who}"),
                format!("{} asks for a tool server that runs in its box.", name(&who)),
            )
        }
        Action::CreateAgent { by, name: new, .. } => {
            let who = agent(by)?;
            (
                format!("A new agent for {who}"),
                format!("{} asks to create the agent {}.", name(&who), name(new)),
            )
        }
        Action::Command { agent: a, command, .. } => {
            let who = agent(a)?;
            (
                format!("A command of {who}"),
                format!("{} asks to run {}.", name(&who), name(&format!("ncl {command}"))),
            )
        }
        Action::Request { agent: a, title, options: offered, .. } => {
            options = offered.clone();
            (title.clone(), format!("{} asks for a request to leave its box.", name(&agent(a)?)))
        }
        Action::LetIn { chat, agent: a, name: who, user, .. } => {
            options = vec![
                choice("Allow", "✅ Allowed", "approve"),
                choice("Deny", "❌ Denied", "reject"),
            ];
            let (to, place) = (agent(a)?, place(host, chat)?);
            (
                "👤 New person".to_owned(),
                format!(
                    "{} ({}) wants to talk to {} in {place}.",
                    name(who),
                    name(user.as_str()),
                    name(&to)
                ),
            )
        }
        Action::ConnectChat { chat, name: who, user, .. } => {
            options = strangers::options(host)?;
            (
                "📣 New chat".to_owned(),
                format!(
                    "{} ({}) addressed your bot in {}, where no agent listens.",
                    name(who),
                    name(user.as_str()),
                    place(host, chat)?
                ),
            )
        }
    };
    let chat = match session {
        Some(session) => host.central.session(session)?.and_then(|s| s.chat),
        None => None,
    };
    if let Some(chat) = chat {
        summary.push_str(&format!(" It asks from {}.", place(host, &chat)?));
    }
    let title = name(&title).trim_matches('`').to_owned();
    Ok(Shown { title, summary, details: details(action)?, options })
}

fn place(host: &Host, chat: &ChatId) -> Result<String, HostError> {
    Ok(match host.central.chat(chat)? {
        Some(c) => {
            let called = c.name.as_deref().unwrap_or(c.platform_id.as_str());
            format!("{} on {}", name(called), c.channel_type)
        }
        None => format!("the chat {chat}"),
    })
}

impl Shown {
    /// One approver's card.
    pub(crate) fn card(
        &self,
        new: &NewApproval,
        user: UserId,
        to: &Address,
    ) -> Result<Card, HostError> {
        let until = new.expires_at.strftime("%Y-%m-%d %H:%M UTC");
        let votes = match new.needed {
            1 => String::new(),
            n => format!(" {n} people must approve."),
        };
        let key =
            format!("{}:{}", new.id, nanoclaw_contract::ids::stable(&format!("{to:?}")).simple());
        let all = fenced(&self.details);
        let mut lines = Vec::new();
        let mut line = |key: String, letter: &Letter| -> Result<(), HostError> {
            lines.push(NewMail { key, to: to.clone(), body: letter.to_json()? });
            Ok(())
        };
        let details = if self.details.len() > ON_CARD_MAX {
            let text = format!("**{}**: every detail of the request below.\n{all}", self.title);
            line(details_of(&key), &Letter::Text(text))?;
            "Every detail is in the message above.".to_owned()
        } else {
            all
        };
        let question = Question {
            question_id: QuestionId::parse(new.id.as_str())?,
            title: self.title.clone(),
            question: format!("{}\n{details}\nOpen until {until}.{votes}", self.summary),
            options: self.options.clone(),
        };
        line(key, &Letter::Ask(question))?;
        Ok(Card { user, lines })
    }
}

/// Who decided what.
pub(crate) fn decided_line(a: &Approval) -> String {
    let chosen = a.chosen.as_deref().unwrap_or_default();
    let label = a.choices().into_iter().find(|c| c.value == chosen).map(|c| c.selected_label);
    let label = label.unwrap_or_else(|| match a.status {
        ApprovalStatus::Rejected => "❌ Rejected".into(),
        _ => "✅ Approved".into(),
    });
    format!("{label} by {}.", a.decided_by.as_deref().unwrap_or("somebody"))
}

/// How a request ended, for people and agents alike.
pub(crate) fn outcome_line(a: &Approval) -> String {
    let outcome = a.outcome.as_deref().unwrap_or_default();
    match a.status {
        ApprovalStatus::Pending => "It waits for a decision.".into(),
        ApprovalStatus::Expired => "⌛ Expired: nobody decided in time. Nothing was done.".into(),
        ApprovalStatus::Failed if a.decided_by.is_none() => {
            format!("⚠️ Nobody could decide: {outcome}")
        }
        ApprovalStatus::Failed => format!("{} ⚠️ But it failed: {outcome}", decided_line(a)),
        _ => format!("{} {outcome}", decided_line(a)).trim_end().to_owned(),
    }
}
