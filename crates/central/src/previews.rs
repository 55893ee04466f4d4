//! What chats show of answers that are still being said (`previews`).
//!
//! A row is on disk before the message is sent, and the message's id as soon as the platform told it. The row
//! goes when the message became the answer, or was taken back.

use crate::stored::{address, lenient};
use crate::{Central, Result};
use nanoclaw_contract::ids::{Address, OutId, PlatformMessageId, SessionId};
use rusqlite::params;

/// Most messages of a session that wait for their rows: a box may begin as many as it likes.
const OPEN_MAX: u32 = 16;

stored! {
    /// A message that is shown ahead of its outbound row.
    Previewed = "previews" {
        /// The row that it will become.
        out: OutId = "out_id",
        /// What the platform calls it; none: nobody knows whether it is shown.
        message: Option<PlatformMessageId> = "message_id" => lenient,
        /// Where it is shown.
        to: Address = "channel_type, platform_id, thread_id" => address,
    }
}

impl Central {
    /// Records that a preview is about to be sent; false where too many are open.
    pub fn begin_preview(&self, session: &SessionId, out: &OutId, to: &Address) -> Result<bool> {
        let sql = "INSERT INTO previews (session_id, out_id, channel_type, platform_id, thread_id)
                   SELECT ?1, ?2, ?3, ?4, ?5
                   WHERE (SELECT COUNT(*) FROM previews WHERE session_id = ?1) < ?6";
        let Address { channel_type, platform_id, thread_id } = to;
        let values = params![session, out, channel_type, platform_id, thread_id, OPEN_MAX];
        Ok(self.run("record the preview", sql, values)? > 0)
    }

    /// The platform shows it, under this id.
    pub fn preview_shown(&self, s: &SessionId, out: &OutId, id: &PlatformMessageId) -> Result<()> {
        let sql = "UPDATE previews SET message_id = ?3 WHERE session_id = ?1 AND out_id = ?2";
        self.run("record the preview", sql, params![s, out, id]).map(drop)
    }

    /// The session's previews that are open.
    pub fn previews(&self, session: &SessionId) -> Result<Vec<Previewed>> {
        self.all("WHERE session_id = ?1 ORDER BY out_id", [session])
    }

    /// Sessions that have such.
    pub fn sessions_with_previews(&self) -> Result<Vec<SessionId>> {
        let sql = "SELECT DISTINCT session_id FROM previews";
        self.list("previews", sql, [], |r| r.get(0))
    }

    /// It became the answer, or was taken back.
    pub fn end_preview(&self, session: &SessionId, out: &OutId) -> Result<()> {
        let sql = "DELETE FROM previews WHERE session_id = ?1 AND out_id = ?2";
        self.run("end the preview", sql, params![session, out]).map(drop)
    }
}
