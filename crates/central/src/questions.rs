//! Questions that wait for a person's answer (`pending_questions`).
//!
//! The id comes from a box. It opens a question once, for the session that asked, and never stands for
//! somebody else's question or approval.

use crate::approvals::APPROVAL_PREFIX;
use crate::{Central, Error, Result, lenient, one};
use nanoclaw_contract::content::{Choice, Question};
use nanoclaw_contract::ids::{
    Address, ChannelType, OutId, PlatformId, QuestionId, SessionId, ThreadId,
};
use nanoclaw_contract::time::{Timestamp, iso};
use rusqlite::types::Type;
use rusqlite::{Row, params};

/// Most open questions of one session.
pub const QUESTIONS_PER_SESSION_MAX: i64 = 100;

/// A question that waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenQuestion {
    /// Its id, chosen in the box.
    pub id: QuestionId,
    /// Who asks.
    pub session: SessionId,
    /// The outbound row that asked.
    pub out: OutId,
    /// Where it was asked.
    pub at: Option<Address>,
    /// A short heading.
    pub title: String,
    /// What can be answered.
    pub options: Vec<Choice>,
    /// When it was asked.
    pub created_at: String,
}

macro_rules! columns {
    () => {
        "question_id, session_id, message_out_id, channel_type, platform_id, thread_id, title,
         options_json, created_at "
    };
}

fn question(r: &Row<'_>) -> rusqlite::Result<OpenQuestion> {
    let channel_type = lenient(r, "channel_type", ChannelType::parse)?;
    let platform_id = lenient(r, "platform_id", PlatformId::parse)?;
    let thread_id = lenient(r, "thread_id", ThreadId::parse)?;
    Ok(OpenQuestion {
        id: r.get(0)?,
        session: r.get(1)?,
        out: r.get(2)?,
        at: channel_type.zip(platform_id).map(|(channel_type, platform_id)| Address {
            channel_type,
            platform_id,
            thread_id,
        }),
        title: r.get(6)?,
        options: serde_json::from_str(&r.get::<_, String>(7)?)
            .map_err(|e| rusqlite::Error::FromSqlConversionFailure(7, Type::Text, Box::new(e)))?,
        created_at: r.get(8)?,
    })
}

impl Central {
    /// Opens a question that was asked at this address. The same one again changes nothing. False if the
    /// id stands for something else already; then nothing was written.
    pub fn put_question(
        &self,
        q: &Question,
        session: &SessionId,
        out: &OutId,
        at: &Address,
        now: Timestamp,
    ) -> Result<bool> {
        let options = serde_json::to_string(&q.options)
            .map_err(|e| Error::Refused(format!("the options cannot be written: {e}")))?;
        self.tx("open the question", |tx| {
            let owner = "SELECT session_id FROM pending_questions WHERE question_id = ?1";
            if let Some(owner) = one(tx, owner, [&q.question_id], |r| r.get::<_, String>(0))? {
                return Ok(owner == session.as_str());
            }
            if q.question_id.as_str().starts_with(APPROVAL_PREFIX) {
                return Ok(false);
            }
            let approval = "SELECT 1 FROM pending_approvals WHERE approval_id = ?1
                            UNION ALL SELECT 1 FROM pending_sender_approvals WHERE id = ?1
                            UNION ALL SELECT 1 FROM pending_channel_approvals WHERE messaging_group_id = ?1";
            if one(tx, approval, [&q.question_id], |_| Ok(()))?.is_some() {
                return Ok(false);
            }
            tx.execute(
                concat!(
                    "INSERT INTO pending_questions (",
                    columns!(),
                    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
                ),
                params![
                    q.question_id,
                    session,
                    out,
                    at.channel_type,
                    at.platform_id,
                    at.thread_id,
                    q.title,
                    options,
                    iso(now)
                ],
            )?;
            // A box that asks without end loses its own oldest questions.
            tx.execute(
                "DELETE FROM pending_questions WHERE rowid IN (SELECT rowid FROM pending_questions
                   WHERE session_id = ?1 ORDER BY rowid DESC LIMIT -1 OFFSET ?2)",
                params![session, QUESTIONS_PER_SESSION_MAX],
            )?;
            Ok(true)
        })
    }

    /// The open question with this id.
    pub fn question(&self, id: &QuestionId) -> Result<Option<OpenQuestion>> {
        let sql = concat!("SELECT ", columns!(), "FROM pending_questions WHERE question_id = ?1");
        self.one("read the question", sql, [id], question)
    }

    /// The open questions of a chat or thread, the latest first, for answers that are typed.
    pub fn questions_in_chat(
        &self,
        channel: &ChannelType,
        platform: &PlatformId,
        thread: Option<&ThreadId>,
    ) -> Result<Vec<OpenQuestion>> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            "FROM pending_questions WHERE channel_type = ?1 AND platform_id = ?2 AND thread_id IS ?3
             ORDER BY created_at DESC, rowid DESC"
        );
        self.list("pending_questions", sql, params![channel, platform, thread], question)
    }

    /// Closes a question and hands it out: whoever gets it answers it, nobody else can.
    pub fn take_question(&self, id: &QuestionId) -> Result<Option<OpenQuestion>> {
        let sql =
            concat!("DELETE FROM pending_questions WHERE question_id = ?1 RETURNING ", columns!());
        // Read to its end, so that the deletion is committed.
        let mut taken = self.list("pending_questions", sql, [id], question)?;
        Ok(taken.pop())
    }
}
