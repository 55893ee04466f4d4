//! The agent's own tools, served in-process: names, schemas and the door through which they are called.
//!
//! A tool only ever writes a row; the host decides what happens. Nothing here trusts an argument.
//! Read next: [`say`] for messages, [`ask`] for questions and cards, [`tasks`] for schedules, [`team`] for
//! other agents, [`change`] for the box itself.

mod args;
mod ask;
mod change;
mod say;
mod tasks;
mod team;
#[cfg(test)]
mod tests;

use crate::session::Session;
use args::Args;
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// A tool as a model sees it.
#[derive(Debug, Clone)]
pub struct ToolDef {
    /// Its name.
    pub name: &'static str,
    /// What it does, for the model.
    pub description: &'static str,
    /// JSON Schema of its arguments.
    pub schema: Value,
}

/// Who executes the calls.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Calls a tool. `Err` is the text of a failure, for the model.
    async fn call(
        &self,
        name: &str,
        args: &Map<String, Value>,
        call: &str,
    ) -> Result<String, String>;
}

/// The tools of one session.
pub struct Tools {
    defs: Vec<ToolDef>,
    handler: Box<dyn Handler>,
}

impl Tools {
    /// Tools of another making, for a provider's tests.
    pub fn with(defs: Vec<ToolDef>, handler: impl Handler + 'static) -> Self {
        Self { defs, handler: Box::new(handler) }
    }

    pub(crate) fn of(session: Arc<Session>) -> Self {
        Self::with(all(), Ours(session))
    }

    /// Every tool.
    pub fn list(&self) -> &[ToolDef] {
        &self.defs
    }

    /// Calls a tool. `call` is the harness's id of the call: the same call twice has one effect.
    /// `Err` is the text of a failure, for the model.
    pub async fn call(
        &self,
        name: &str,
        args: &Map<String, Value>,
        call: &str,
    ) -> Result<String, String> {
        self.handler.call(name, args, call).await
    }
}

struct Ours(Arc<Session>);

#[async_trait]
impl Handler for Ours {
    async fn call(
        &self,
        name: &str,
        args: &Map<String, Value>,
        call: &str,
    ) -> Result<String, String> {
        // What was said before the call is heard before its row is written.
        tokio::task::yield_now().await;
        let (session, args) = (&*self.0, Args(args));
        match name {
            "send_message" => say::message(session, args, call),
            "send_file" => say::file(session, args, call),
            "edit_message" => say::edit(session, args, call),
            "add_reaction" => say::react(session, args, call),
            "ask_user_question" => ask::question(session, args, call).await,
            "send_card" => ask::card(session, args, call),
            "create_agent" => team::create(session, args, call),
            "schedule_task" => tasks::schedule(session, args, call),
            "list_tasks" => tasks::list(session, args),
            "cancel_task" => tasks::order(session, args, call, tasks::Order::Cancel),
            "pause_task" => tasks::order(session, args, call, tasks::Order::Pause),
            "resume_task" => tasks::order(session, args, call, tasks::Order::Resume),
            "run_task" => tasks::order(session, args, call, tasks::Order::Run),
            "update_task" => tasks::update(session, args, call),
            "install_packages" => change::packages(session, args, call),
            "add_mcp_server" => change::server(session, args, call),
            _ => Err(format!("Unknown tool: {name}")),
        }
    }
}

fn tool(
    name: &'static str,
    description: &'static str,
    properties: Value,
    required: &[&str],
) -> ToolDef {
    let schema = json!({ "type": "object", "properties": properties, "required": required });
    ToolDef { name, description, schema }
}

const TO: &str = "Name of the destination. Leave it out to answer the conversation you are in.";

fn all() -> Vec<ToolDef> {
    let mut all = messages();
    all.extend(schedules());
    let text = |d: &str| json!({ "type": "string", "description": d });
    all.push(tool(
        "create_agent",
        "Makes a lasting colleague: an agent with a box, a memory and a conversation of its own. Its name becomes a destination of yours, and you are one of its. Not for a single look-up. Somebody may have to approve it; you are told.",
        json!({ "name": text("What it is called"),
            "instructions": text("What it is for and how it shall work; the beginning of its memory") }),
        &["name"],
    ));
    all.extend(change::defs());
    all
}

fn messages() -> Vec<ToolDef> {
    let text = |d: &str| json!({ "type": "string", "description": d });
    let number = json!({ "type": "integer", "description": "The id shown with the message" });
    vec![
        tool(
            "send_message",
            "Sends a chat message at once, before your turn ends. For progress on longer work; your final answer needs no tool.",
            json!({ "to": text(TO), "text": text("The message, in Markdown"), "replyTo": number }),
            &["text"],
        ),
        tool(
            "send_file",
            "Sends a file to a chat.",
            json!({ "to": text(TO), "path": text("The file; a relative path starts at /workspace/agent"),
                "text": text("A message to go with it"), "filename": text("The name to show") }),
            &["path"],
        ),
        tool(
            "edit_message",
            "Replaces the text of a message that you sent.",
            json!({ "messageId": number, "text": text("The new text") }),
            &["messageId", "text"],
        ),
        tool(
            "add_reaction",
            "Reacts to a message with an emoji.",
            json!({ "messageId": number, "emoji": text("Shortcode such as thumbs_up, or the character") }),
            &["messageId", "emoji"],
        ),
        tool(
            "ask_user_question",
            "Asks with buttons and waits for the choice; one that comes after the timeout reaches you as a message. Only for decisions that you cannot do without; ask open questions in an ordinary message.",
            json!({ "to": text(TO), "title": text("A short heading"), "question": text("The question"),
            "options": { "type": "array", "items": { "oneOf": [
                { "type": "string" },
                { "type": "object", "required": ["label"], "properties": {
                    "label": text("What the button says"),
                    "selectedLabel": text("What the card says after the choice"),
                    "value": text("What you are told") } } ] } },
            "timeout": { "type": "number", "description": "Seconds to wait; 300 if left out" } }),
            &["title", "question", "options"],
        ),
        tool(
            "send_card",
            "Shows a card with a title, text and links; does not wait.",
            json!({ "to": text(TO), "card": { "type": "object", "description": "title, description, children, actions" },
                "fallbackText": text("The same in plain text, for chats without cards") }),
            &["card"],
        ),
    ]
}

fn schedules() -> Vec<ToolDef> {
    let text = |d: &str| json!({ "type": "string", "description": d });
    let prompt = text("What to do when it runs");
    let after = text(
        "When to run first: ISO 8601, in the user's time zone unless it ends in Z or an offset",
    );
    let script = text(
        "Bash that decides whether to wake you: its last line prints {\"wakeAgent\": bool, \"data\": any}",
    );
    let zone = text("IANA zone of the recurrence; the user's if left out");
    let missed = text(
        "What becomes of runs that were due while nothing ran: skip, once (one for all; if left out) or all",
    );
    let id = json!({ "taskId": text("The id from list_tasks") });
    vec![
        tool(
            "schedule_task",
            "Schedules work for later, once or repeatedly. The only way to schedule anything.",
            json!({ "prompt": prompt, "processAfter": after, "script": script, "timezone": zone, "missed": missed,
                "recurrence": text("Cron expression of five fields, for a task that repeats; without processAfter it runs first when this says"),
                "session": text("chat: it runs in this conversation (if left out); own: in one of its own, and only what it says comes here. Use own for work that this conversation need not know") }),
            &["prompt"],
        ),
        tool(
            "list_tasks",
            "Lists scheduled tasks.",
            json!({ "status": text("pending, paused, completed or failed; pending and paused if left out") }),
            &[],
        ),
        tool(
            "update_task",
            "Changes a scheduled task; what is left out stays.",
            json!({ "taskId": text("The id from list_tasks"), "prompt": prompt, "processAfter": after,
                "recurrence": text("Cron expression; empty to run only once"), "timezone": zone, "missed": missed,
                "script": text("Bash as in schedule_task; empty for none") }),
            &["taskId"],
        ),
        tool("cancel_task", "Cancels a scheduled task.", id.clone(), &["taskId"]),
        tool("pause_task", "Puts a scheduled task on hold.", id.clone(), &["taskId"]),
        tool("resume_task", "Lets a task on hold run again.", id.clone(), &["taskId"]),
        tool("run_task", "Runs a scheduled task now, beside its schedule.", id, &["taskId"]),
    ]
}
