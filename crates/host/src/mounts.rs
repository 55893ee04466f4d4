//! Folders and files of the machine that an agent may see beside its own: what is refused or hidden is told.
//!
//! What is allowed is judged by [`nanoclaw_mounts`].

use crate::Host;
use nanoclaw_central::{Agent, Session};
use nanoclaw_mounts::{Install, Judged, judge};
use serde_json::Value;
use std::sync::Arc;

/// Everything that a box of this agent gets. Tells the owner what it does not get, once. Blocks.
pub(crate) fn of(host: &Arc<Host>, session: &Session, agent: &Agent, asked: &Value) -> Judged {
    let config = &host.config;
    let own = [&config.data, &config.groups, &config.container, &config.tools, &config.runner];
    let judged = judge(
        &Install {
            home: config.home.clone(),
            own: own.map(Clone::clone).to_vec(),
            empty: config.data.join("run/empty"),
        },
        asked,
    );
    for note in &judged.notes {
        let text = format!("{}: {}", note.what, note.why);
        let event = if note.refused { "mount refused" } else { "mount covered" };
        host.trace(event, None, Some(&session.id), None, &text);
        tracing::warn!(agent = %agent.id, text, event);
        let sees = if note.refused { "does not see" } else { "sees a part of" };
        host.notify_owner(
            &format!("mount:{}:{text}", agent.id),
            &format!("⚠️ {} {sees} {text}.", agent.name),
        );
    }
    judged
}
