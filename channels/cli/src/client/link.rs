//! The connection to the host, from the client's end.

use crate::wire::{Event, HELLO, Hello, LINE_MAX, Read, Request, read_line};
use std::io;
use std::path::Path;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

/// Events that may wait; the host's queue takes the rest.
const EVENTS_MAX: usize = 64;

pub(super) struct Link {
    write: OwnedWriteHalf,
    events: mpsc::Receiver<Event>,
}

impl Link {
    /// Connects and says hello.
    pub(super) async fn open(data: &Path, agent: Option<&str>) -> io::Result<Self> {
        let (read, write) = UnixStream::connect(crate::socket(data)).await?.into_split();
        let (queue, events) = mpsc::channel(EVENTS_MAX);
        tokio::spawn(receive(read, queue));
        let mut link = Self { write, events };
        let hello = Hello {
            hello: HELLO,
            agent: agent.map(str::to_owned),
            chat: None,
            client: Some("nanoclaw chat".to_owned()),
        };
        link.send(&Request::Hello(hello)).await?;
        Ok(link)
    }

    pub(super) async fn send(&mut self, request: &Request) -> io::Result<()> {
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        self.write.write_all(line.as_bytes()).await
    }

    /// The next event; `None` when the connection is gone. Nothing is lost when this is cancelled.
    pub(super) async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

async fn receive(read: OwnedReadHalf, queue: mpsc::Sender<Event>) {
    let mut read = BufReader::new(read);
    while let Ok(Read::Line(line)) = read_line(&mut read, LINE_MAX).await {
        // What a newer host adds is none of our business.
        let Ok(event) = serde_json::from_slice(&line) else { continue };
        if queue.send(event).await.is_err() {
            return;
        }
    }
}
