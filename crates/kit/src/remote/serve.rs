//! The program's side: runs a channel for the host at the other end of standard input.

use super::link::{Calls, Link};
use super::wire::{Call, Reply};
use crate::lock;
use async_trait::async_trait;
use nanoclaw_channel::{
    Answer, AnswerOutcome, Change, Channel, ChannelDef, Health, Inbound, Ingress, IngressError,
    SendError, Start, StartError, Started,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, watch};

/// How long the adapter may take to stop when the host is gone.
const STOP_MAX: Duration = Duration::from_secs(5);

/// How long another program of the same channel, which was killed or left by a killed host, may take to end.
const OTHER_MAX: Duration = Duration::from_secs(15);

/// Messages that are handed to the host at once.
const PUSHES_MAX: usize = 64;

/// Why nothing was served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Somebody started the program by hand.
    #[error(
        "this program is a part of NanoClaw, which starts it with a socket as standard input: {0}"
    )]
    NoSocket(io::Error),
}

/// Runs a channel until the host stops it or is gone.
pub async fn serve(channel: &'static ChannelDef) -> Result<(), ServeError> {
    let socket = io::stdin().as_fd().try_clone_to_owned().map_err(ServeError::NoSocket)?;
    end_with_host(&socket).map_err(ServeError::NoSocket)?;
    let socket = StdUnixStream::from(socket);
    socket.set_nonblocking(true).map_err(ServeError::NoSocket)?;
    let socket = UnixStream::from_std(socket).map_err(ServeError::NoSocket)?;
    let (health, mut healths) = watch::channel(None);
    let served = Arc::new(Served {
        channel,
        live: Mutex::new(None),
        health,
        pushes: Arc::new(Semaphore::new(PUSHES_MAX)),
    });
    let (link, reading) = Link::open(socket, Arc::clone(&served) as Arc<dyn Calls>);
    let telling = tokio::spawn(async move {
        while healths.changed().await.is_ok() {
            let health: Option<Health> = healths.borrow_and_update().clone();
            if let Some(health) = health {
                link.health(health).await;
            }
        }
    });
    drop(reading.await);
    telling.abort();
    served.stop().await;
    Ok(())
}

/// Ends the process when the host is gone, even if nothing else in it runs any more.
fn end_with_host(socket: &OwnedFd) -> io::Result<()> {
    let socket = socket.try_clone()?;
    rustix::net::sockopt::socket_type(&socket)?;
    std::thread::Builder::new().name("host".to_owned()).spawn(move || {
        let mut fds = [PollFd::new(&socket, PollFlags::RDHUP)];
        while !matches!(poll(&mut fds, None), Ok(1..)) {}
        std::thread::sleep(STOP_MAX + Duration::from_secs(1));
        std::process::exit(1);
    })?;
    Ok(())
}

/// A channel in this process.
struct Served {
    channel: &'static ChannelDef,
    live: Mutex<Option<Live>>,
    health: watch::Sender<Option<Health>>,
    pushes: Arc<Semaphore>,
}

#[derive(Clone)]
struct Live {
    channel: Arc<dyn Channel>,
    /// Nobody else runs this channel on the same data.
    _lock: Arc<File>,
}

impl Served {
    fn live(&self) -> Option<Arc<dyn Channel>> {
        lock(&self.live).as_ref().map(|live| Arc::clone(&live.channel))
    }

    async fn start(
        &self,
        link: &Arc<Link>,
        data: PathBuf,
        settings: BTreeMap<String, String>,
    ) -> Reply {
        let lock_of = only_one(&data, self.channel.name).await;
        let health = self.health.clone();
        let start = Start {
            ingress: Arc::new(Away { link: Arc::downgrade(link), pushes: self.pushes.clone() }),
            data,
            setting: Arc::new(move |name| settings.get(name).cloned()),
            report: Arc::new(move |told| {
                health.send_if_modified(|now| {
                    let other = now.as_ref() != Some(&told);
                    *now = Some(told.clone());
                    other
                });
            }),
        };
        let started: Started = match &lock_of {
            Ok(_) => (self.channel.start)(start).await,
            Err(e) => Err(StartError::Unreachable(e.clone())),
        };
        Reply::Started(started.map(|channel| {
            let capabilities = channel.capabilities();
            let live = lock_of.ok().map(|file| Live { channel, _lock: Arc::new(file) });
            *lock(&self.live) = live;
            capabilities
        }))
    }

    async fn stop(&self) {
        if let Some(channel) = self.live() {
            // The host does not wait longer.
            drop(tokio::time::timeout(STOP_MAX, channel.stop()).await);
        }
        drop(lock(&self.live).take());
    }
}

/// Waits until no other program of this channel uses the same data.
async fn only_one(data: &Path, channel: &str) -> Result<File, String> {
    let folder = data.join("channels").join(channel);
    let wait = move || -> io::Result<File> {
        std::fs::create_dir_all(&folder)?;
        let file = File::create(folder.join("program.lock"))?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    };
    match tokio::time::timeout(OTHER_MAX, tokio::task::spawn_blocking(wait)).await {
        Ok(Ok(Ok(file))) => Ok(file),
        Ok(Ok(Err(e))) => Err(format!("cannot lock the channel's folder: {e}")),
        Ok(Err(e)) => Err(e.to_string()),
        Err(_) => Err("another program still runs this channel on the same data".to_owned()),
    }
}

#[async_trait]
impl Calls for Served {
    async fn called(&self, link: &Arc<Link>, call: Call) -> Option<Reply> {
        let channel = match call {
            Call::Start { data, settings } => return Some(self.start(link, data, settings).await),
            Call::Ping => return Some(Reply::Done),
            Call::Stop => {
                self.stop().await;
                return Some(Reply::Done);
            }
            Call::Push(_) | Call::Change(_) | Call::Answer(_) => return None,
            _ => self.live(),
        };
        let Some(channel) = channel else {
            let why = "the channel is not started".to_owned();
            return Some(Reply::Sent(Err(SendError::Retry { after: None, why })));
        };
        Some(match call {
            Call::Send(message) => Reply::Sent(channel.send(&message).await),
            Call::OpenDm(handle) => Reply::Opened(channel.open_dm(&handle).await),
            Call::History(at, before, max) => {
                Reply::History(channel.history(&at, &before, max).await)
            }
            Call::ChatName(chat) => Reply::Name(channel.chat_name(&chat).await),
            Call::Typing(to, typing) => {
                channel.typing(&to, typing).await;
                Reply::Done
            }
            Call::Subscribe(to) => {
                channel.subscribe(&to).await;
                Reply::Done
            }
            Call::Start { .. }
            | Call::Ping
            | Call::Stop
            | Call::Push(_)
            | Call::Change(_)
            | Call::Answer(_) => return None,
        })
    }

    fn told(&self, _health: Health) {}
}

/// The host, from here.
struct Away {
    link: Weak<Link>,
    pushes: Arc<Semaphore>,
}

impl Away {
    async fn ask(&self, call: Call) -> Result<Reply, IngressError> {
        let gone = || IngressError("the host is gone".to_owned());
        let permit = self.pushes.acquire().await.map_err(|_| gone())?;
        let link = self.link.upgrade().ok_or_else(gone)?;
        let reply = link.call(call).await.ok_or_else(gone);
        drop(permit);
        reply
    }

    async fn taken(&self, call: Call) -> Result<(), IngressError> {
        match self.ask(call).await? {
            Reply::Taken(result) => result.map_err(IngressError),
            other => Err(IngressError(format!("the host answered {other:?}"))),
        }
    }
}

#[async_trait]
impl Ingress for Away {
    async fn push(&self, message: Inbound) -> Result<(), IngressError> {
        self.taken(Call::Push(Box::new(message))).await
    }

    async fn change(&self, change: Change) -> Result<(), IngressError> {
        self.taken(Call::Change(change)).await
    }

    async fn answer(&self, answer: Answer) -> Result<AnswerOutcome, IngressError> {
        match self.ask(Call::Answer(answer)).await? {
            Reply::Answered(result) => result.map_err(IngressError),
            other => Err(IngressError(format!("the host answered {other:?}"))),
        }
    }
}
