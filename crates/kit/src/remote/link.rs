//! One end of the socket: calls out and their answers, calls in, health.

use super::wire::{Call, Frame, Reply};
use crate::lock;
use async_trait::async_trait;
use nanoclaw_channel::Health;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

/// Frames that wait to be written.
const QUEUE: usize = 64;

/// Calls of the other end that are being answered; one that has more open than this is out of its mind.
const CALLS_MAX: usize = 1024;

/// Who answers the calls of the other end.
#[async_trait]
pub(super) trait Calls: Send + Sync + 'static {
    /// The answer, or `None`: that is not to be asked here.
    async fn called(&self, link: &Arc<Link>, call: Call) -> Option<Reply>;

    /// The other end told how it is.
    fn told(&self, health: Health);
}

/// One end.
pub(super) struct Link {
    out: Mutex<Option<mpsc::Sender<Vec<u8>>>>,
    /// Who waits for which answer; gone when the link is closed.
    waiting: Mutex<Option<BTreeMap<u64, oneshot::Sender<Reply>>>>,
    last: AtomicU64,
}

impl Link {
    /// Speaks on a socket; the task ends, with the reason if it was no plain end, when the other end is gone.
    pub(super) fn open(
        socket: UnixStream,
        calls: Arc<dyn Calls>,
    ) -> (Arc<Self>, JoinHandle<String>) {
        let (from, to) = socket.into_split();
        let (out, queue) = mpsc::channel(QUEUE);
        let link = Arc::new(Self {
            out: Mutex::new(Some(out)),
            waiting: Mutex::new(Some(BTreeMap::new())),
            last: AtomicU64::new(0),
        });
        tokio::spawn(write(to, queue));
        let reading = tokio::spawn(Arc::clone(&link).read(from, calls));
        (link, reading)
    }

    /// Asks the other end; `None` when it is gone before it answered.
    pub(super) async fn call(&self, call: Call) -> Option<Reply> {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let frame = encoded(Frame::Call(number, call))?;
        lock(&self.waiting).as_mut()?.insert(number, answer);
        self.say(frame).await;
        answered.await.ok()
    }

    /// Tells how the adapter is.
    pub(super) async fn health(&self, health: Health) {
        if let Some(frame) = encoded(Frame::Health(health)) {
            self.say(frame).await;
        }
    }

    /// Answers; somebody waits for it, so also when the answer cannot be said.
    async fn reply(&self, number: u64, reply: Reply) {
        let frame = encoded(Frame::Reply(number, reply));
        if let Some(frame) = frame.or_else(|| encoded(Frame::Reply(number, Reply::Done))) {
            self.say(frame).await;
        }
    }

    /// Says something; when the link is closed, to nobody.
    async fn say(&self, frame: Vec<u8>) {
        let out = lock(&self.out).clone();
        if let Some(out) = out
            && out.send(frame).await.is_err()
        {
            self.close();
        }
    }

    /// Nobody waits for anything any more.
    pub(super) fn close(&self) {
        drop(lock(&self.waiting).take());
        drop(lock(&self.out).take());
    }

    async fn read(self: Arc<Self>, from: OwnedReadHalf, calls: Arc<dyn Calls>) -> String {
        let mut from = BufReader::new(from);
        let open = Arc::new(Semaphore::new(CALLS_MAX));
        let why = loop {
            match Frame::read(&mut from).await {
                Ok(None) => break String::new(),
                Err(e) => break format!("the connection broke: {e}"),
                Ok(Some(Frame::Health(health))) => calls.told(health),
                Ok(Some(Frame::Reply(number, reply))) => {
                    let waits = lock(&self.waiting).as_mut().and_then(|w| w.remove(&number));
                    // Who asked may have given up.
                    drop(waits.map(|waits| waits.send(reply)));
                }
                Ok(Some(Frame::Call(number, call))) => {
                    let Ok(permit) = Arc::clone(&open).try_acquire_owned() else {
                        break "it asks too much at once".to_owned();
                    };
                    let (link, calls) = (Arc::clone(&self), Arc::clone(&calls));
                    // Not ended with the link: what is being taken is taken whole.
                    tokio::spawn(async move {
                        match calls.called(&link, call).await {
                            Some(reply) => link.reply(number, reply).await,
                            None => link.close(),
                        }
                        drop(permit);
                    });
                }
            }
        };
        self.close();
        why
    }
}

fn encoded(frame: Frame) -> Option<Vec<u8>> {
    frame.encode().inspect_err(|e| tracing::error!("between host and program: {e}")).ok()
}

async fn write(mut to: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = queue.recv().await {
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
