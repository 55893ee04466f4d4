//! Questions that wait for a person's answer (`pending_questions`).
//!
//! The id on a card is the host's own: it follows from the session and from the id that the box chose, and no
//! box can choose one that stands for somebody else's question or approval.

use crate::approvals::APPROVAL_PREFIX;
use crate::stored::{Stored as _, address, json};
use crate::{Central, Error, Result};
use nanoclaw_contract::content::{Choice, Question};
use nanoclaw_contract::ids::{
    Address, ChannelType, OutId, PlatformId, QuestionId, SessionId, ThreadId, stable,
};
use nanoclaw_contract::time::{Timestamp, iso};
use rusqlite::{Row, params};

/// Most open questions of one session.
pub const QUESTIONS_PER_SESSION_MAX: i64 = 100;

stored! {
    /// A question that waits for its answer.
    OpenQuestion = "pending_questions" {
        /// Its id on the card.
        id: QuestionId = "question_id",
        /// The id that the box knows it by.
        asked_as: QuestionId = "COALESCE(asked_as, question_id)",
        /// Who asks.
        session: SessionId = "session_id",
        /// The outbound row that asked.
        out: OutId = "message_out_id",
        /// A short heading.
        title: String,
        /// What can be answered.
        options: Vec<Choice> = "options_json" => json,
        /// When it was asked.
        created_at: String,
        /// Whether the agent stopped waiting.
        late: bool,
        /// Where it was asked.
        at: Option<Address> = "channel_type, platform_id, thread_id" => place,
    }
}

/// The id on the card of a question that a session asks under an id of its own.
pub fn question_id(session: &SessionId, asked_as: &QuestionId) -> Result<QuestionId> {
    let id = format!("q-{}", stable(&format!("question\n{session}\n{asked_as}")));
    QuestionId::parse(id).map_err(|e| Error::Refused(e.to_string()))
}

/// What an older install left unclear is no place.
fn place(row: &Row<'_>, n: usize) -> rusqlite::Result<Option<Address>> {
    Ok(address(row, n).ok())
}

impl Central {
    /// Opens a question that was asked at this address; its id on the card. The same one again changes
    /// nothing.
    pub fn put_question(
        &self,
        q: &Question,
        session: &SessionId,
        out: &OutId,
        at: &Address,
        now: Timestamp,
    ) -> Result<QuestionId> {
        let options = serde_json::to_string(&q.options)
            .map_err(|e| Error::Refused(format!("the options cannot be written: {e}")))?;
        if q.question_id.as_str().starts_with(APPROVAL_PREFIX) {
            return Err(Error::Refused(format!("the question id {} is taken", q.question_id)));
        }
        let id = question_id(session, &q.question_id)?;
        self.tx("open the question", |tx| {
            tx.execute(
                "INSERT INTO pending_questions (question_id, session_id, message_out_id, channel_type,
                   platform_id, thread_id, title, options_json, created_at, asked_as)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
                 ON CONFLICT (question_id) DO NOTHING",
                params![
                    id,
                    session,
                    out,
                    at.channel_type,
                    at.platform_id,
                    at.thread_id,
                    q.title,
                    options,
                    iso(now),
                    q.question_id
                ],
            )?;
            // A box that asks without end loses its own oldest questions.
            tx.execute(
                "DELETE FROM pending_questions WHERE rowid IN (SELECT rowid FROM pending_questions
                   WHERE session_id = ?1 ORDER BY rowid DESC LIMIT -1 OFFSET ?2)",
                params![session, QUESTIONS_PER_SESSION_MAX],
            )?;
            Ok(id)
        })
    }

    /// Notes that the agent stopped waiting.
    pub fn expire_question(&self, id: &QuestionId) -> Result<()> {
        let sql = "UPDATE pending_questions SET late = 1 WHERE question_id = ?1";
        self.run("note that nobody waits", sql, [id]).map(drop)
    }

    /// The open question with this id.
    pub fn question(&self, id: &QuestionId) -> Result<Option<OpenQuestion>> {
        self.get("WHERE question_id = ?1", [id])
    }

    /// The questions of a chat or thread whose agents wait, the latest first, for answers that are typed.
    pub fn questions_in_chat(
        &self,
        channel: &ChannelType,
        platform: &PlatformId,
        thread: Option<&ThreadId>,
    ) -> Result<Vec<OpenQuestion>> {
        let rest = "WHERE channel_type = ?1 AND platform_id = ?2 AND thread_id IS ?3 AND late = 0
                    ORDER BY created_at DESC, rowid DESC";
        self.all(rest, params![channel, platform, thread])
    }

    /// Forgets questions that were asked before this time.
    pub fn prune_questions(&self, before: Timestamp) -> Result<usize> {
        let sql = "DELETE FROM pending_questions WHERE created_at < ?1";
        self.run("prune the questions", sql, [iso(before)])
    }

    /// Closes a question and hands it out: whoever gets it answers it, nobody else can.
    pub fn take_question(&self, id: &QuestionId) -> Result<Option<OpenQuestion>> {
        let sql = format!(
            "DELETE FROM pending_questions WHERE question_id = ?1 RETURNING {}",
            OpenQuestion::COLUMNS
        );
        // Read to its end, so that the deletion is committed.
        Ok(self.list("pending_questions", &sql, [id], OpenQuestion::read)?.pop())
    }
}
