//! A wire to a server, that can be cut, and that answers in the server's place when it is told to.

use anyhow::Result;
use nanoclaw_conformance::Fault;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

#[derive(Default)]
struct State {
    fault: Mutex<Option<(Fault, u32)>>,
    calls: AtomicUsize,
}

/// A wire.
pub(crate) struct Wire {
    pub(crate) port: u16,
    state: Arc<State>,
    /// Whether it is cut, and how often all connections were ended.
    cut: watch::Sender<(bool, u32)>,
    task: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Wire {
    pub(crate) async fn new(to: u16, bell: Arc<Notify>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State::default());
        let (cut, cuts) = watch::channel((false, 0));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                shared.calls.fetch_add(1, Ordering::Relaxed);
                let (state, bell, mut cuts) = (shared.clone(), bell.clone(), cuts.clone());
                if cuts.borrow_and_update().0 {
                    continue;
                }
                tokio::spawn(async move {
                    tokio::select! {
                        _ = cuts.changed() => {}
                        _ = connection(client, to, &state, &bell) => {}
                    }
                    bell.notify_waiters();
                    bell.notify_one();
                });
            }
        });
        Ok(Self { port, state, cut, task })
    }

    pub(crate) fn calls(&self) -> usize {
        self.state.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn fail(&self, fault: Fault, times: u32) {
        *self.state.fault.lock().unwrap_or_else(PoisonError::into_inner) =
            (times > 0).then_some((fault, times));
    }

    pub(crate) fn cut(&self, cut: bool) {
        self.cut.send_modify(|state| *state = (cut, state.1 + 1));
    }

    pub(crate) fn hang_up(&self) {
        self.cut.send_modify(|state| state.1 += 1);
    }
}

impl State {
    /// Whether a fault is due now; it is used up, but for a login that is refused until it is taken back.
    fn due(&self, is: impl Fn(Fault) -> bool) -> Option<Fault> {
        let mut due = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let (fault, left) = due.filter(|(fault, _)| is(*fault))?;
        if fault != Fault::Revoked {
            *due = (left > 1).then_some((fault, left - 1));
        }
        Some(fault)
    }
}

/// What a line of the client gets instead of being passed on.
enum Answer {
    Say(String),
    Silence,
}

fn answer(state: &State, line: &str) -> Option<Answer> {
    let upper = line.to_ascii_uppercase();
    let say = |text: &str| Some(Answer::Say(format!("{text}\r\n")));
    if upper.starts_with("AUTH ") && state.due(|f| f == Fault::Revoked).is_some() {
        return say("535 5.7.8 login refused");
    }
    let mut words = upper.split(' ');
    let (tag, command) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if command == "LOGIN" && state.due(|f| f == Fault::Revoked).is_some() {
        return say(&format!("{tag} NO [AUTHENTICATIONFAILED] login refused"));
    }
    if !upper.starts_with("MAIL FROM") {
        return None;
    }
    match state.due(|f| !matches!(f, Fault::AnswerLost | Fault::Revoked))? {
        Fault::Busy { .. } => say("450 4.7.1 too many mails"),
        Fault::HalfOpen => Some(Answer::Silence),
        _ => say("451 4.3.0 out of order"),
    }
}

async fn connection(client: TcpStream, to: u16, state: &State, bell: &Notify) -> Result<()> {
    let server = TcpStream::connect(("127.0.0.1", to)).await?;
    let (client_read, mut client_write) = client.into_split();
    let (mut server_read, mut server_write) = server.into_split();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel::<Answer>();
    let up = async {
        let mut lines = BufReader::new(client_read);
        let mut data = false;
        loop {
            let mut line = Vec::new();
            if lines.read_until(b'\n', &mut line).await? == 0 {
                return Ok::<(), anyhow::Error>(());
            }
            let text = String::from_utf8_lossy(&line);
            if data {
                data = text != ".\r\n";
            } else if let Some(answer) = answer(state, &text) {
                drop(tell.send(answer));
                continue;
            } else {
                data = text.eq_ignore_ascii_case("DATA\r\n");
            }
            server_write.write_all(&line).await?;
        }
    };
    let down = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let bytes = tokio::select! {
                answer = told.recv() => match answer {
                    Some(Answer::Say(text)) => text.into_bytes(),
                    Some(Answer::Silence) => std::future::pending().await,
                    None => return Ok::<(), anyhow::Error>(()),
                },
                read = server_read.read(&mut buffer) => match read? {
                    0 => return Ok(()),
                    n => buffer[..n].to_vec(),
                },
            };
            client_write.write_all(&bytes).await?;
            bell.notify_waiters();
            bell.notify_one();
        }
    };
    tokio::select! { up = up => up, down = down => down }
}
