//! The session's files and what is true of the running turn, shared by the loop and the tools.
//!
//! This is the only place that writes `outbound.db`. The inbox is opened anew for each look: it may
//! lie behind a file system on which a long-lived handle grows stale.

use crate::reply;
use crate::turn::{Block, Origin, Turn};
use jiff::tz::TimeZone;
use nanoclaw_contract::Error;
use nanoclaw_contract::content::Chat;
use nanoclaw_contract::dir::Workspace;
use nanoclaw_contract::fault;
use nanoclaw_contract::ids::{Address, ChannelType, MessageId, OutId, PlatformId};
use nanoclaw_contract::inbox::InboxReader;
use nanoclaw_contract::message::{
    AGENT_CHANNEL, Destination, InRow, NewOut, OutKind, OutRow, Target,
};
use nanoclaw_contract::outbox::{Commit, Outbox};
use nanoclaw_contract::preview::Preview;
use nanoclaw_contract::time::SharedClock;
use serde_json::json;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use uuid::Uuid;

/// One session.
pub(crate) struct Session {
    pub(crate) workspace: Workspace,
    pub(crate) clock: SharedClock,
    pub(crate) zone: TimeZone,
    /// The agent's own id: what comes from there is from itself.
    pub(crate) own: String,
    outbox: Mutex<Outbox>,
    turn: Mutex<Turn>,
    asks: Mutex<HashMap<String, oneshot::Sender<String>>>,
    /// The highest number seen in the inbox.
    floor: AtomicI64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// Opens the session; claims of an earlier runner are dropped.
    pub(crate) fn open(
        workspace: Workspace,
        clock: SharedClock,
        zone: TimeZone,
        own: String,
    ) -> Result<Self, Error> {
        let outbox = Mutex::new(Outbox::open(&workspace.outbound(), clock.now())?);
        let (turn, asks, floor) = (Mutex::default(), Mutex::default(), AtomicI64::new(0));
        Ok(Self { workspace, clock, zone, own, outbox, turn, asks, floor })
    }

    /// The inbox, as it is now.
    pub(crate) fn inbox(&self) -> Result<InboxReader, Error> {
        InboxReader::open(&self.workspace.inbound())
    }

    /// The outbox.
    pub(crate) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        locked(&self.outbox)
    }

    /// The running turn.
    pub(crate) fn turn(&self) -> MutexGuard<'_, Turn> {
        locked(&self.turn)
    }

    /// Takes note of a number in the inbox.
    pub(crate) fn saw(&self, seq: i64) {
        self.floor.fetch_max(seq, Ordering::Relaxed);
    }

    /// Durable point: everything in the commit is true, or nothing of it.
    pub(crate) fn commit(&self, commit: Commit<'_>) -> Result<Vec<i64>, Error> {
        let seq_floor = self.floor.load(Ordering::Relaxed);
        fault::point("runner.commit");
        let seqs = self.outbox().commit(&Commit { seq_floor, ..commit }, self.clock.now())?;
        fault::point("runner.committed");
        Ok(seqs)
    }

    /// Writes what the turn said until now.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        let said = self.said()?;
        if !said.rows.is_empty() {
            self.commit(Commit { say: &said.rows, ..Commit::default() })?;
        }
        self.written(&said);
        Ok(())
    }

    /// What the turn said until now, as rows. It stays there until [`Session::written`].
    pub(crate) fn said(&self) -> Result<Said, Error> {
        let turn = self.turn();
        let mut said = Said { rows: Vec::new(), unknown: Vec::new(), blocks: turn.blocks.len() };
        if said.blocks == 0 {
            return Ok(said);
        }
        let inbox = self.inbox()?;
        let destinations = inbox.destinations()?;
        for Block { key, said: wanted } in &turn.blocks {
            match addressed(&inbox, &destinations, &turn.origin, wanted)? {
                Some((to, in_reply_to)) => {
                    said.rows.push(say(key, Some(to), in_reply_to, &wanted.text));
                }
                None => said.unknown.push(wanted.to.clone()),
            }
        }
        Ok(said)
    }

    /// The row that this block will be, as it is now; none if nobody has the name.
    pub(crate) fn preview(
        &self,
        key: &str,
        wanted: reply::Block,
    ) -> Result<Option<Preview>, Error> {
        let inbox = self.inbox()?;
        let to = addressed(&inbox, &inbox.destinations()?, &self.turn().origin, &wanted)?;
        let id = out_id("msg", key);
        Ok(to.map(|(to, in_reply_to)| Preview { id, to, in_reply_to, text: wanted.text }))
    }

    /// Takes what was written out of the turn.
    pub(crate) fn written(&self, said: &Said) {
        let mut turn = self.turn();
        turn.written(said.blocks, said.rows.len());
        turn.unknown.extend(said.unknown.iter().cloned());
    }

    /// Where something goes that names no destination: the conversation that caused the turn, or
    /// else the one the session belongs to.
    pub(crate) fn here(
        &self,
        inbox: &InboxReader,
    ) -> Result<(Option<Address>, Option<MessageId>), Error> {
        let origin = self.turn().origin.clone();
        match origin.to {
            Some(to) => Ok((Some(to), origin.reply_to)),
            None => Ok((inbox.routing()?, origin.reply_to)),
        }
    }

    /// Where something goes that names a destination, and perhaps the number of the message it answers.
    pub(crate) fn there(
        &self,
        inbox: &InboxReader,
        to: &Destination,
        reply_to: Option<i64>,
    ) -> Result<(Address, Option<MessageId>), Error> {
        let origin = self.turn().origin.clone();
        address(inbox, &origin, &to.target, reply_to)
    }

    /// Where to tell people about something.
    pub(crate) fn people(&self, origin: &Origin) -> Option<Address> {
        let person = |to: &Address| to.channel_type.as_str() != AGENT_CHANNEL;
        origin.to.clone().filter(person).or_else(|| {
            self.inbox().and_then(|inbox| inbox.routing()).ok().flatten().filter(person)
        })
    }

    /// Starts to wait for the answer to a question.
    pub(crate) fn ask(&self, question: &str) -> oneshot::Receiver<String> {
        let (tell, answer) = oneshot::channel();
        locked(&self.asks).insert(question.to_owned(), tell);
        answer
    }

    /// Stops waiting.
    pub(crate) fn unask(&self, question: &str) {
        locked(&self.asks).remove(question);
    }

    /// Gives an answer to who waits for it; false if nobody does any more.
    pub(crate) fn answer(&self, question: &str, value: &str) -> bool {
        let waiting = locked(&self.asks).remove(question);
        waiting.is_some_and(|tell| tell.send(value.to_owned()).is_ok())
    }

    /// The conversation and the platform's name of the message with this number.
    pub(crate) fn message(&self, seq: i64) -> Result<Option<(Option<Address>, String)>, Error> {
        let inbox = self.inbox()?;
        if let Some(row) = inbox.by_seq(seq)? {
            let id = Chat::parse(&row.content).id.unwrap_or_else(|| row.id.as_str().to_owned());
            return Ok(Some((row.reply(), id)));
        }
        let Some(OutRow { id, to, .. }) = self.outbox().by_seq(seq)? else { return Ok(None) };
        let name = inbox.platform_message_id(&id)?;
        Ok(Some((to, name.map_or_else(|| id.as_str().to_owned(), |n| n.as_str().to_owned()))))
    }
}

/// What a turn said, as rows.
pub(crate) struct Said {
    /// The rows.
    pub(crate) rows: Vec<NewOut>,
    /// Names that nobody has.
    unknown: Vec<String>,
    blocks: usize,
}

fn addressed(
    inbox: &InboxReader,
    destinations: &[Destination],
    origin: &Origin,
    wanted: &reply::Block,
) -> Result<Option<(Address, Option<MessageId>)>, Error> {
    let Some(to) = destinations.iter().find(|d| d.name == wanted.to) else { return Ok(None) };
    address(inbox, origin, &to.target, wanted.reply_to).map(Some)
}

/// The address of a destination: the thread and the message are those of the answered number if it came
/// from there, else those that the turn heard there, or else the newest in the inbox.
fn address(
    inbox: &InboxReader,
    origin: &Origin,
    target: &Target,
    reply_to: Option<i64>,
) -> Result<(Address, Option<MessageId>), Error> {
    let (channel_type, platform_id) = match target {
        Target::Channel { channel_type, platform_id } => {
            (channel_type.clone(), platform_id.clone())
        }
        Target::Agent(agent) => {
            let refused = |e: nanoclaw_contract::ids::BadId| Error::Refused(e.to_string());
            (
                ChannelType::parse(AGENT_CHANNEL).map_err(refused)?,
                PlatformId::parse(agent.as_str()).map_err(refused)?,
            )
        }
    };
    let from_there = |row: &InRow| {
        row.channel_type.as_ref() == Some(&channel_type)
            && row.platform_id.as_ref() == Some(&platform_id)
    };
    let answered = match reply_to {
        Some(seq) => inbox.by_seq(seq)?.filter(from_there).map(|row| (row.id, row.thread_id)),
        None => None,
    };
    let heard = || origin.heard.get(&(channel_type.clone(), platform_id.clone())).cloned();
    let latest = match answered.or_else(heard) {
        Some(known) => Some(known),
        None => inbox.latest_from(&channel_type, &platform_id)?,
    };
    let (reply_to, thread_id) = latest.unzip();
    let to = Address { channel_type, platform_id, thread_id: thread_id.flatten() };
    Ok((to, reply_to.or_else(|| origin.reply_to.clone())))
}

/// A chat message whose id follows from `key`.
pub(crate) fn say(
    key: &str,
    to: Option<Address>,
    in_reply_to: Option<MessageId>,
    text: &str,
) -> NewOut {
    let content = json!({ "text": text }).to_string();
    NewOut { id: out_id("msg", key), in_reply_to, kind: OutKind::Chat, to, content }
}

/// The id of an outbound row: the same key makes the same id, so that repeated work says nothing twice.
pub(crate) fn out_id(prefix: &str, key: &str) -> OutId {
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("nanoclaw out\n{key}").as_bytes());
    #[expect(clippy::expect_used, reason = "a prefix and a UUID are a usable id")]
    OutId::parse(format!("{prefix}-{id}")).expect("a UUID is printable and short")
}
