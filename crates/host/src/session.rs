//! Finds or makes the session of a message, and writes to its inbox.
//!
//! Several messages for one session that arrive together are committed together: whoever gets the lock
//! first writes for all who wait, so a burst costs a few syncs instead of one each.

use crate::route::Placement;
use crate::{Host, HostError, lock};
use nanoclaw_central::{ContainerStatus, Session};
use nanoclaw_contract::dir::SessionDir;
use nanoclaw_contract::ids::{self, AgentId, ChatId, SessionId, ThreadId};
use nanoclaw_contract::inbox::{Inbox, Pushed};
use nanoclaw_contract::message::NewIn;
use std::sync::{Arc, Mutex, OnceLock, Weak};

/// Inboxes that stay open although nobody uses them, until the next look at what is due.
const OPEN_MAX: usize = 64;

/// The inbox of one session, opened once however many write to it.
pub(crate) struct Files {
    pub(crate) dir: SessionDir,
    inbox: Mutex<Option<Inbox>>,
    line: Mutex<Vec<(NewIn, Arc<Ticket>)>>,
    ready: OnceLock<()>,
}

type Ticket = OnceLock<Result<Pushed, String>>;

impl Files {
    /// ● Writes a row; it is on disk when this returns. Blocks.
    pub(crate) fn push(&self, row: NewIn) -> Result<Pushed, HostError> {
        let ticket = Arc::new(Ticket::new());
        lock(&self.line).push((row, ticket.clone()));
        let mut inbox = lock(&self.inbox);
        if ticket.get().is_none() {
            let batch = std::mem::take(&mut *lock(&self.line));
            let (rows, tickets): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            let result = opened(&mut inbox, &self.dir).and_then(|i| i.push(&rows));
            for (n, ticket) in tickets.iter().enumerate() {
                let one = match &result {
                    Ok(pushed) => pushed.get(n).copied().ok_or_else(|| "not written".to_owned()),
                    Err(e) => Err(e.to_string()),
                };
                // Set once only: every ticket is in exactly one batch.
                drop(ticket.set(one));
            }
        }
        match ticket.get() {
            Some(Ok(pushed)) => Ok(*pushed),
            Some(Err(e)) => Err(HostError::Inbox(e.clone())),
            None => Err(HostError::Inbox("not written".into())),
        }
    }

    /// Does something else with the inbox. Blocks.
    pub(crate) fn with<T>(
        &self,
        work: impl FnOnce(&mut Inbox) -> Result<T, nanoclaw_contract::Error>,
    ) -> Result<T, HostError> {
        let mut inbox = lock(&self.inbox);
        Ok(work(opened(&mut inbox, &self.dir)?)?)
    }
}

fn opened<'a>(
    inbox: &'a mut Option<Inbox>,
    dir: &SessionDir,
) -> Result<&'a mut Inbox, nanoclaw_contract::Error> {
    match inbox {
        Some(inbox) => Ok(inbox),
        None => Ok(inbox.insert(Inbox::open(&dir.inbound())?)),
    }
}

impl Host {
    /// The files of a session, shared by all who use them now.
    pub(crate) fn files(&self, session: &Session) -> Result<Arc<Files>, HostError> {
        let dir = SessionDir::new(&self.config.data, &session.agent, &session.id)?;
        let mut all = lock(&self.files);
        let files = match all.get(&session.id).and_then(Weak::upgrade) {
            Some(files) => files,
            None => {
                all.retain(|_, f| f.strong_count() > 0);
                let files = Arc::new(Files {
                    dir,
                    inbox: Mutex::default(),
                    line: Mutex::default(),
                    ready: OnceLock::new(),
                });
                all.insert(session.id.clone(), Arc::downgrade(&files));
                files
            }
        };
        drop(all);
        self.keep_open(&files);
        if files.ready.get().is_none() {
            // It may take a while: other sessions must not wait for it.
            let _one_at_a_time = lock(&files.inbox);
            self.seal(&files.dir)?;
            files.ready.get_or_init(|| ());
        }
        Ok(files)
    }

    /// Makes the files, or takes over those of v2.
    fn seal(&self, dir: &SessionDir) -> Result<(), HostError> {
        if dir.is_sealed() {
            return Ok(());
        }
        dir.create()?;
        self.own_by_box(&[&dir.writable(), &dir.writable().join("outbox"), &dir.outbound()])?;
        // A v2 runner that was killed left it: the next box repairs its file with it.
        let journal = dir.writable().join("outbound.db-journal");
        if journal.symlink_metadata().is_ok() {
            self.own_by_box(&[&journal])?;
        }
        // What v2 ended and did not continue.
        Inbox::open(&dir.inbound())?.adopt_tasks(self.clock.now(), &self.config.timezone)?;
        Ok(dir.seal()?)
    }

    /// Lines that wake nobody come in bursts, too: opening an inbox anew costs more than writing to it.
    fn keep_open(&self, files: &Arc<Files>) {
        let mut recent = lock(&self.recent);
        recent.retain(|f| !Arc::ptr_eq(f, files));
        if recent.len() >= OPEN_MAX {
            recent.pop_front();
        }
        recent.push_back(files.clone());
    }

    /// Closes what nobody uses.
    pub(crate) fn close_files(&self) {
        let unused = std::mem::take(&mut *lock(&self.recent));
        drop(unused);
    }

    /// The session that a message for this agent belongs to, made if there is none. Blocks.
    pub(crate) fn resolve(
        &self,
        agent: &AgentId,
        chat: &ChatId,
        place: &Placement,
    ) -> Result<Session, HostError> {
        let thread: Option<ThreadId> = match place {
            Placement::Thread(thread) => Some(thread.clone()),
            Placement::AgentShared | Placement::Chat => None,
        };
        let found = match place {
            Placement::AgentShared => self.central.agent_shared_session(agent)?,
            Placement::Chat | Placement::Thread(_) => {
                self.central.find_session(agent, chat, thread.as_ref())?
            }
        };
        if let Some(session) = found {
            return Ok(session);
        }
        let now = self.clock.now();
        let session = Session {
            id: SessionId::parse(ids::mint("sess", now))?,
            agent: agent.clone(),
            chat: Some(chat.clone()),
            thread,
            provider: None,
            active: true,
            container: ContainerStatus::Stopped,
            last_active: None,
            created_at: nanoclaw_contract::time::iso(now),
        };
        let (session, _) = match place {
            Placement::AgentShared => self.central.find_or_create_agent_shared(&session)?,
            Placement::Chat | Placement::Thread(_) => {
                self.central.find_or_create_session(&session)?
            }
        };
        Ok(session)
    }

    /// Gives files to the user that boxes run as; nothing to do when the host is that user.
    pub(crate) fn own_by_box(&self, paths: &[&std::path::Path]) -> Result<(), HostError> {
        let user = self.config.box_user;
        if rustix::process::geteuid().is_root() {
            for path in paths {
                std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid))
                    .map_err(|e| HostError::Io(format!("give {} to the box", path.display()), e))?;
            }
        }
        Ok(())
    }
}
