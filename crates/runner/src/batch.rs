//! Decides which rows go to the model together. Pure.
//!
//! Rows of trigger 0 never cause a turn: they wait, and go along in order with the next row that
//! does. Commands are carried out on an exact match only, the same match by which the host decides
//! who may give them; anything else that begins with a slash is what somebody said.

use nanoclaw_contract::content::{Chat, Task};
use nanoclaw_contract::ids::MessageId;
use nanoclaw_contract::message::{InKind, InRow, Trigger};
use uuid::Uuid;

/// What to do with the rows that wait.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Start a new conversation, before anything else.
    pub(crate) clear: Vec<InRow>,
    /// Then these, in order.
    pub(crate) steps: Vec<Step>,
}

/// One step.
#[derive(Debug)]
pub(crate) enum Step {
    /// Say these to the model.
    Tell(Batch),
    /// Give the harness a command, alone.
    Command(InRow, &'static str),
    /// Let the task's program decide first.
    Script(InRow, String),
}

/// Rows of one prompt.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The prompt's id: the same rows make the same id.
    pub(crate) id: Uuid,
    /// The rows, in order.
    pub(crate) rows: Vec<InRow>,
}

impl Batch {
    /// A batch of these rows.
    pub(crate) fn new(rows: Vec<InRow>) -> Self {
        Self { id: batch_id(rows.iter().map(|r| &r.id)), rows }
    }

    /// Whether the model must answer.
    pub(crate) fn wants_turn(&self) -> bool {
        self.rows.iter().any(|r| r.trigger == Trigger::Wake)
    }
}

/// The id of a batch of these rows.
pub(crate) fn batch_id<'a>(ids: impl Iterator<Item = &'a MessageId>) -> Uuid {
    let mut name = String::from("nanoclaw batch");
    for id in ids {
        name.push('\n');
        name.push_str(id.as_str());
    }
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
}

/// Plans what to do with `rows`, oldest first. `known` are batches of an earlier life of the runner,
/// which the model may have seen: they are put together in the same way again.
pub(crate) fn plan(rows: Vec<InRow>, max: usize, known: &[Vec<MessageId>]) -> Plan {
    let mut plan = Plan::default();
    let mut rest = Vec::with_capacity(rows.len());
    for row in rows {
        match command(&row) {
            Some("/clear") => plan.clear.push(row),
            _ => rest.push(row),
        }
    }
    for ids in known {
        let ours = |row: &InRow| ids.contains(&row.id);
        let found: Vec<_> = rest.iter().filter(|r| ours(r)).collect();
        let may = found.iter().any(|r| asks(r)) && found.iter().all(|r| script(r).is_none());
        if may && found.len() == ids.len() {
            let (batch, others) = rest.into_iter().partition(ours);
            rest = others;
            plan.steps.push(Step::Tell(Batch::new(batch)));
        }
    }
    let last = rest.iter().rposition(asks);
    let mut open: Vec<InRow> = Vec::new();
    let flush = |open: &mut Vec<InRow>, steps: &mut Vec<Step>| {
        steps.push(Step::Tell(Batch::new(std::mem::take(open))));
    };
    for (at, row) in rest.into_iter().enumerate() {
        if let Some(command) = command(&row) {
            if open.iter().any(asks) {
                flush(&mut open, &mut plan.steps);
            }
            plan.steps.push(Step::Command(row, command));
        } else if let Some(script) = script(&row) {
            plan.steps.push(Step::Script(row, script));
        } else if last.is_some_and(|last| at <= last) || open.iter().any(asks) {
            open.push(row);
            if open.len() >= max {
                flush(&mut open, &mut plan.steps);
            }
        }
    }
    if !open.is_empty() {
        flush(&mut open, &mut plan.steps);
    }
    plan
}

/// Whether the model must answer this row itself.
fn asks(row: &InRow) -> bool {
    row.trigger == Trigger::Wake && command(row).is_none() && script(row).is_none()
}

fn command(row: &InRow) -> Option<&'static str> {
    let is_chat = matches!(row.kind, InKind::Chat | InKind::ChatSdk);
    if !is_chat || row.trigger == Trigger::Context {
        return None;
    }
    let text = Chat::parse(&row.content).text;
    ["/clear", "/compact", "/context", "/cost"].into_iter().find(|c| *c == text.trim())
}

fn script(row: &InRow) -> Option<String> {
    if row.kind != InKind::Task {
        return None;
    }
    let task: Task = serde_json::from_str(&row.content).ok()?;
    task.script.filter(|s| !s.trim().is_empty() && row.trigger == Trigger::Wake)
}

#[cfg(test)]
mod tests;
