//! Requests that people decide (`pending_approvals`), their cards and their votes.
//!
//! ```text
//! pending ─▶ approved ─▶ applying ─▶ done
//!     │ │                    └─────▶ failed
//!     │ └──▶ rejected
//!     └────▶ expired
//! ```
//!
//! Every arrow is one transaction that only the state before it allows, so it is taken once, whoever
//! comes at the same moment. A row without a hash was asked by v2 and is left to it.

use crate::stored::maybe_at;
use crate::{Central, Error, NewMail, Result, at_ms, mail, one};
use nanoclaw_contract::content::Choice;
use nanoclaw_contract::ids::{
    Address, AgentId, ApprovalId, ChannelType, PlatformId, SessionId, UserId,
};
use nanoclaw_contract::time::{Timestamp, iso};
use nanoclaw_contract::words;
use rusqlite::{Row, params};

/// What the ids of requests begin with; no agent's question may.
pub(crate) const APPROVAL_PREFIX: &str = "ap-";

words! {
    /// Where a request stands.
    ApprovalStatus {
        /// It waits for votes.
        Pending = "pending",
        /// It was approved; nothing was done yet.
        Approved = "approved",
        /// It is being carried out.
        Applying = "applying",
        /// It was rejected.
        Rejected = "rejected",
        /// Nobody decided in time.
        Expired = "expired",
        /// It was carried out.
        Done = "done",
        /// It was approved, but could not be carried out.
        Failed = "failed",
    }
}

stored! {
    /// A request.
    Approval = "pending_approvals" {
        /// Its id.
        id: ApprovalId = "approval_id",
        /// Who asks and is told.
        session: Option<SessionId> = "session_id",
        /// The kind of action.
        action: String,
        /// What will happen, as canonical JSON.
        payload: String,
        /// Which agent it is about.
        agent: Option<AgentId> = "agent_group_id",
        /// Where it stands.
        status: ApprovalStatus,
        /// A short heading.
        title: String,
        /// The options, as JSON.
        options: String = "options_json",
        /// The payload's hash when it was asked; none: v2 asked.
        hash: Option<String>,
        /// How many must approve.
        needed: u32,
        /// Until when it can be decided.
        expires_at: Option<Timestamp> = "expires_ms" => maybe_at,
        /// The value of the option that won.
        chosen: Option<String>,
        /// Who decided, for people.
        decided_by: Option<String>,
        /// What came of it, for people.
        outcome: Option<String>,
        /// When it was asked.
        created_at: String,
    }
}

impl Approval {
    /// Whether nothing comes of it any more.
    pub fn is_over(&self) -> bool {
        use ApprovalStatus::{Expired, Failed, Rejected};
        matches!(self.status, Rejected | Expired | Failed)
    }

    /// What can be answered.
    pub fn choices(&self) -> Vec<Choice> {
        serde_json::from_str(&self.options).unwrap_or_default()
    }
}

/// A request to be opened.
#[derive(Debug, Clone)]
pub struct NewApproval {
    /// Its id.
    pub id: ApprovalId,
    /// The same key again is the same request.
    pub key: String,
    /// Who asks.
    pub session: Option<SessionId>,
    /// The kind of action.
    pub action: String,
    /// What will happen.
    pub payload: String,
    /// Its hash.
    pub hash: String,
    /// Which agent it is about.
    pub agent: Option<AgentId>,
    /// A short heading.
    pub title: String,
    /// What can be answered.
    pub options: Vec<Choice>,
    /// How many must approve.
    pub needed: u32,
    /// Until when.
    pub expires_at: Timestamp,
}

/// One approver's card: the last line of it carries the buttons.
#[derive(Debug, Clone)]
pub struct Card {
    /// Whose it is.
    pub user: UserId,
    /// Its lines, in order.
    pub lines: Vec<NewMail>,
}

/// What became of opening a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// It is open now.
    New,
    /// It was open, or decided, under this id.
    Same(ApprovalId),
    /// The key stands for something else.
    Taken,
}

/// A vote.
#[derive(Debug, Clone, Copy)]
pub struct Vote<'a> {
    /// The person: one vote each.
    pub person: &'a str,
    /// Under which identity.
    pub user: &'a str,
    /// What people call them.
    pub name: &'a str,
    /// The value of the option.
    pub value: &'a str,
}

/// What became of a vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voted {
    /// The request is not open any more.
    Late,
    /// The person has voted before.
    Again,
    /// It counts; so many more are needed.
    Counted(u32),
    /// It decided.
    Decided,
}

impl Central {
    /// Opens a request and posts its cards, or does nothing.
    pub fn open_approval(&self, a: &NewApproval, cards: &[Card], now: Timestamp) -> Result<Opened> {
        let options = serde_json::to_string(&a.options)
            .map_err(|e| Error::Refused(format!("the options cannot be written: {e}")))?;
        self.tx("open the request", |tx| {
            let known = "SELECT approval_id, hash FROM pending_approvals WHERE request_key = ?1";
            let read = |r: &Row<'_>| Ok((r.get(0)?, r.get::<_, Option<String>>(1)?));
            if let Some((id, hash)) = one(tx, known, [&a.key], read)? {
                let same = hash.as_ref() == Some(&a.hash);
                return Ok(if same { Opened::Same(id) } else { Opened::Taken });
            }
            tx.execute(
                "INSERT INTO pending_approvals (approval_id, session_id, request_id, action, payload,
                   created_at, agent_group_id, expires_at, title, options_json, request_key, hash, needed,
                   expires_ms)
                 VALUES (?1, ?2, ?1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
                params![
                    a.id,
                    a.session,
                    a.action,
                    a.payload,
                    iso(now),
                    a.agent,
                    iso(a.expires_at),
                    a.title,
                    options,
                    a.key,
                    a.hash,
                    a.needed,
                    a.expires_at.as_millisecond()
                ],
            )?;
            for card in cards {
                for line in &card.lines {
                    mail::insert(tx, line, now)?;
                }
                let Some(last) = card.lines.last() else { continue };
                tx.execute(
                    "INSERT INTO approval_cards (approval_id, mail_key, user_id, channel_type, platform_id)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![a.id, last.key, card.user, last.to.channel_type, last.to.platform_id],
                )?;
            }
            Ok(Opened::New)
        })
    }

    /// The request with this id.
    pub fn approval(&self, id: &ApprovalId) -> Result<Option<Approval>> {
        self.get("WHERE approval_id = ?1", [id])
    }

    /// The latest requests first; only those that wait for votes, or all.
    pub fn approvals(&self, all: bool, limit: u32) -> Result<Vec<Approval>> {
        let rest = "WHERE ?1 OR status = 'pending' ORDER BY created_at DESC, rowid DESC LIMIT ?2";
        self.all(rest, params![all, limit])
    }

    /// The request with this key, and its hash.
    pub fn approval_with_key(&self, key: &str) -> Result<Option<(ApprovalId, Option<String>)>> {
        let sql = "SELECT approval_id, hash FROM pending_approvals WHERE request_key = ?1";
        self.one("look for the request", sql, [key], |r| Ok((r.get(0)?, r.get(1)?)))
    }

    /// The open request whose key begins like this.
    pub fn open_approval_like(&self, prefix: &str) -> Result<Option<ApprovalId>> {
        let sql = "SELECT approval_id FROM pending_approvals
                   WHERE request_key >= ?1 AND request_key < ?1 || char(1114111) AND status = 'pending'";
        self.one("look for the request", sql, [prefix], |r| r.get(0))
    }

    /// How many requests about this agent (or about none) wait for votes: those that sessions ask for, or
    /// those that nobody's session does.
    pub fn count_open_approvals(&self, agent: Option<&AgentId>, of_sessions: bool) -> Result<i64> {
        let sql = "SELECT COUNT(*) FROM pending_approvals WHERE agent_group_id IS ?1
                   AND (session_id IS NOT NULL) = ?2 AND status = 'pending' AND hash IS NOT NULL";
        let count =
            self.one("count the requests", sql, params![agent, of_sessions], |r| r.get(0))?;
        Ok(count.unwrap_or(0))
    }

    /// What sessions of this agent asked for and people rejected after this time.
    pub fn rejected_since(&self, agent: Option<&AgentId>, at: Timestamp) -> Result<Vec<String>> {
        let sql = "SELECT payload FROM pending_approvals WHERE agent_group_id IS ?1
                   AND session_id IS NOT NULL AND status = 'rejected' AND decided_at > ?2";
        self.list("pending_approvals", sql, params![agent, iso(at)], |r| r.get(0))
    }

    /// Who voted so far.
    pub fn voters(&self, id: &ApprovalId) -> Result<Vec<String>> {
        let sql = "SELECT user_id FROM approval_votes WHERE approval_id = ?1";
        self.list("approval_votes", sql, [id], |r| r.get(0))
    }

    /// Takes somebody's vote back.
    pub fn withdraw_vote(&self, id: &ApprovalId, user: &str) -> Result<()> {
        let sql = "DELETE FROM approval_votes WHERE approval_id = ?1 AND user_id = ?2";
        self.run("take the vote back", sql, params![id, user]).map(drop)
    }

    /// Counts a vote. Any rejection decides; otherwise as many as are needed.
    pub fn vote(&self, id: &ApprovalId, v: &Vote<'_>, now: Timestamp) -> Result<Voted> {
        self.tx("count the vote", |tx| {
            let open = "SELECT needed FROM pending_approvals WHERE approval_id = ?1
                        AND status = 'pending' AND hash IS NOT NULL AND expires_ms > ?2";
            let needed: Option<u32> =
                one(tx, open, params![id, now.as_millisecond()], |r| r.get(0))?;
            let Some(needed) = needed else { return Ok(Voted::Late) };
            let counted = tx.execute(
                "INSERT INTO approval_votes (approval_id, person_id, user_id, value, at)
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
                params![id, v.person, v.user, v.value, iso(now)],
            )?;
            if counted == 0 {
                return Ok(Voted::Again);
            }
            let status = if v.value.starts_with("reject") {
                ApprovalStatus::Rejected
            } else {
                let votes = "SELECT COUNT(*) FROM approval_votes WHERE approval_id = ?1";
                let votes: u32 = one(tx, votes, [id], |r| r.get(0))?.unwrap_or(0);
                if votes < needed {
                    return Ok(Voted::Counted(needed - votes));
                }
                ApprovalStatus::Approved
            };
            tx.execute(
                "UPDATE pending_approvals SET status = ?2, chosen = ?3, decided_by = ?4, decided_at = ?5
                 WHERE approval_id = ?1",
                params![id, status, v.value, v.name, iso(now)],
            )?;
            tx.execute("DELETE FROM approval_names WHERE approval_id = ?1", [id])?;
            Ok(Voted::Decided)
        })
    }

    /// Ends what nobody decided in time; says which.
    pub fn expire_approvals(&self, now: Timestamp) -> Result<Vec<ApprovalId>> {
        let sql = "UPDATE pending_approvals SET status = 'expired'
                   WHERE status = 'pending' AND hash IS NOT NULL AND expires_ms <= ?1
                   RETURNING approval_id";
        self.list("pending_approvals", sql, [now.as_millisecond()], |r| r.get(0))
    }

    /// When the next request expires.
    pub fn next_expiry(&self) -> Result<Option<Timestamp>> {
        let sql = "SELECT MIN(expires_ms) FROM pending_approvals WHERE status = 'pending'";
        let ms = self.one("read the next expiry", sql, [], |r| r.get::<_, Option<i64>>(0))?;
        Ok(ms.flatten().map(at_ms))
    }

    /// Begins to carry it out; false if that was begun before.
    pub fn begin_applying(&self, id: &ApprovalId) -> Result<bool> {
        let sql = "UPDATE pending_approvals SET status = 'applying'
                   WHERE approval_id = ?1 AND status = 'approved'";
        Ok(self.run("begin the approved action", sql, [id])? > 0)
    }

    /// Records what came of it.
    pub fn finish_approval(
        &self,
        id: &ApprovalId,
        status: ApprovalStatus,
        outcome: &str,
    ) -> Result<()> {
        let sql = "UPDATE pending_approvals SET status = ?2, outcome = ?3
                   WHERE approval_id = ?1 AND status IN ('approved', 'applying')";
        self.run("record the outcome", sql, params![id, status, outcome]).map(drop)
    }

    /// Everybody concerned was told.
    pub fn approval_told(&self, id: &ApprovalId) -> Result<()> {
        let sql = "UPDATE pending_approvals SET told = 1 WHERE approval_id = ?1";
        self.run("close the request", sql, [id]).map(drop)
    }

    /// Requests that were decided or expired, but whose story is not at its end.
    pub fn unsettled_approvals(&self) -> Result<Vec<Approval>> {
        let rest =
            "WHERE told = 0 AND hash IS NOT NULL AND status <> 'pending' ORDER BY created_at";
        self.all(rest, [])
    }

    /// The keys of the cards of a request.
    pub fn cards_of(&self, id: &ApprovalId) -> Result<Vec<String>> {
        let sql = "SELECT mail_key FROM approval_cards WHERE approval_id = ?1";
        self.list("approval_cards", sql, [id], |r| r.get(0))
    }

    /// The requests whose cards lie in this chat, the latest first: those that are open, and those whose
    /// first letters are `code`.
    pub fn approvals_at(
        &self,
        channel: &ChannelType,
        platform: &PlatformId,
        code: &str,
        limit: u32,
    ) -> Result<Vec<Approval>> {
        let rest = "WHERE approval_id IN (SELECT approval_id FROM approval_cards
                      WHERE channel_type = ?1 AND platform_id = ?2)
                    AND (status = 'pending' OR substr(approval_id, 4, 4) = ?3)
                    ORDER BY status = 'pending' DESC, created_at DESC LIMIT ?4";
        self.all(rest, params![channel, platform, code, limit])
    }

    /// Where this person got a card of this request.
    pub fn card_place(&self, id: &ApprovalId, user: &UserId) -> Result<Option<Address>> {
        let sql = "SELECT channel_type, platform_id FROM approval_cards
                   WHERE approval_id = ?1 AND user_id = ?2";
        self.one("look for the card", sql, params![id, user], |r| {
            Ok(Address { channel_type: r.get(0)?, platform_id: r.get(1)?, thread_id: None })
        })
    }

    /// Gives up the open request of this card if none of its cards can arrive any more.
    pub fn fail_undelivered(&self, mail_key: &str, outcome: &str) -> Result<Vec<ApprovalId>> {
        let sql = "UPDATE pending_approvals SET status = 'failed', outcome = ?2
                   WHERE status = 'pending' AND approval_id IN
                       (SELECT approval_id FROM approval_cards WHERE mail_key = ?1)
                     AND NOT EXISTS (SELECT 1 FROM approval_cards c JOIN mail m ON m.key = c.mail_key
                       WHERE c.approval_id = pending_approvals.approval_id
                         AND m.state IN ('pending', 'sent'))
                   RETURNING approval_id";
        self.list("pending_approvals", sql, params![mail_key, outcome], |r| r.get(0))
    }

    /// Who approved it last, as far as they are a person on a platform.
    pub fn approved_by(&self, id: &ApprovalId) -> Result<Option<UserId>> {
        let sql = "SELECT v.user_id FROM approval_votes v JOIN users u ON u.id = v.user_id
                   WHERE v.approval_id = ?1 AND v.value <> 'reject' ORDER BY v.at DESC LIMIT 1";
        self.one("read who approved", sql, [id], |r| r.get(0))
    }

    /// The next thing that this person types in this chat is a name; `None` ends that.
    pub fn expect_name(&self, id: &ApprovalId, from: Option<(&UserId, &Address)>) -> Result<()> {
        match from {
            Some((user, at)) => self.run(
                "expect a name",
                "INSERT OR REPLACE INTO approval_names (approval_id, user_id, channel_type, platform_id)
                 VALUES (?1, ?2, ?3, ?4)",
                params![id, user, at.channel_type, at.platform_id],
            ),
            None => {
                let sql = "DELETE FROM approval_names WHERE approval_id = ?1";
                self.run("expect no name", sql, [id])
            }
        }
        .map(drop)
    }

    /// The open request for which this person is to type a name in this chat.
    pub fn expected_name(&self, user: &UserId, at: &Address) -> Result<Option<ApprovalId>> {
        let sql = "SELECT n.approval_id FROM approval_names n
                   JOIN pending_approvals p ON p.approval_id = n.approval_id
                   WHERE n.channel_type = ?1 AND n.platform_id = ?2 AND n.user_id = ?3
                     AND p.status = 'pending' LIMIT 1";
        let params = params![at.channel_type, at.platform_id, user];
        self.one("look for the expected name", sql, params, |r| r.get(0))
    }

    /// Forgets requests that ended before this time.
    pub fn prune_approvals(&self, before: Timestamp) -> Result<usize> {
        let sql = "DELETE FROM pending_approvals
                   WHERE told = 1 AND status <> 'pending' AND created_at < ?1";
        self.run("prune the requests", sql, [iso(before)])
    }
}
