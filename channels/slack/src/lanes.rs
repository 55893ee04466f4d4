//! One line per conversation: what was said there is taken in its order, and a large file in one
//! conversation keeps nobody waiting in another.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

/// Most that may wait in all lines, in KB of what Slack sent.
const ROOM_KB: usize = 64 << 10;

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) struct Lanes {
    lines: Mutex<HashMap<String, Line>>,
    room: Arc<Semaphore>,
}

/// A line's end, and who works through it.
struct Line(mpsc::UnboundedSender<Job>, AbortHandle);

impl Lanes {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { lines: Mutex::default(), room: Arc::new(Semaphore::new(ROOM_KB)) })
    }

    /// Puts a job at the end of a line; false if there is no room left.
    pub(crate) fn enter(
        self: &Arc<Self>,
        line: &str,
        bytes: usize,
        job: impl Future<Output = ()> + Send + 'static,
    ) -> bool {
        let cost = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX);
        let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(cost) else { return false };
        let mut job: Job = Box::pin(async move {
            job.await;
            drop(room);
        });
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Line(end, _)) = lines.get(line) {
            match end.send(job) {
                Ok(()) => return true,
                Err(back) => job = back.0,
            }
        }
        let (end, jobs) = mpsc::unbounded_channel();
        drop(end.send(job));
        let work = tokio::spawn(Arc::clone(self).work(line.to_owned(), jobs));
        lines.insert(line.to_owned(), Line(end, work.abort_handle()));
        true
    }

    /// Ends everything at once; nobody enters any more.
    pub(crate) fn close(&self) {
        self.room.close();
        for (_, Line(_, work)) in self.lines.lock().unwrap_or_else(PoisonError::into_inner).drain()
        {
            work.abort();
        }
    }

    async fn work(self: Arc<Self>, line: String, mut jobs: mpsc::UnboundedReceiver<Job>) {
        while let Some(job) = self.next(&line, &mut jobs) {
            job.await;
        }
    }

    /// The next job of a line; an empty line is taken down while nobody can enter it.
    fn next(&self, line: &str, jobs: &mut mpsc::UnboundedReceiver<Job>) -> Option<Job> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let job = jobs.try_recv().ok();
        if job.is_none() {
            lines.remove(line);
        }
        job
    }
}

#[cfg(test)]
mod tests;
