//! The preview: what the agent has said so far of a message that it is still saying.
//!
//! The file `.preview` beside the pulse, rewritten about once a second while a turn runs, and only where
//! `container.json` asks for it. It is an addition to v2, and only for a look: the message is said by the
//! outbound row with the same id, or never.

use crate::ids::{Address, MessageId, OutId};
use serde::{Deserialize, Serialize};

/// The file's name in the box's folder.
pub const NAME: &str = ".preview";
/// Most bytes the host reads of it.
pub const BYTES_MAX: u64 = 256 << 10;

/// A message that is being said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// The row that it will be.
    pub id: OutId,
    /// Where that will go.
    pub to: Address,
    /// What it answers.
    pub in_reply_to: Option<MessageId>,
    /// The text until now: the beginning of what the row will say, and never all of it.
    pub text: String,
}
