//! The built-in demo: a harness without a model. Offline, without a key, the same answer every time.
//!
//! It shows a new install that everything works, from the chat to the tools, and gives tests an
//! agent that they can predict. It never pretends to be an AI. It reads the prompts that the runner
//! writes and remembers the conversation in the continuation alone. Read next: [`talk`].

mod prompt;
mod schedule;
mod talk;

use async_trait::async_trait;
use nanoclaw_runner::provider::{
    Command, ErrorKind, Event, Memory, Prompt, Provider, ProviderDef, ProviderError, Setup, TurnEnd,
};
use std::collections::VecDeque;
use tokio::sync::mpsc;

/// The demo agent.
pub const PROVIDER: ProviderDef = ProviderDef { name: "demo", memory: Memory::Instructions, make };

fn make(setup: Setup) -> Box<dyn Provider> {
    Box::new(Demo { memory: talk::Memory::read(setup.continuation.as_deref()), setup })
}

struct Demo {
    setup: Setup,
    memory: talk::Memory,
}

#[async_trait]
impl Provider for Demo {
    async fn run(
        mut self: Box<Self>,
        mut commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<Event>,
    ) {
        let mut waiting = VecDeque::new();
        loop {
            let prompt = match waiting.pop_front() {
                Some(prompt) => prompt,
                None => match commands.recv().await {
                    Some(Command::Prompt(prompt)) => prompt,
                    Some(Command::Interrupt) => continue,
                    Some(Command::Stop { .. }) | None => break,
                },
            };
            let turn = self.turn(&prompt, &events);
            tokio::pin!(turn);
            let end = loop {
                tokio::select! {
                    end = &mut turn => break Some(end),
                    command = commands.recv() => match command {
                        Some(Command::Prompt(next)) => waiting.push_back(next),
                        Some(Command::Interrupt) => break Some(Err(failure(ErrorKind::Interrupted))),
                        Some(Command::Stop { .. }) | None => break None,
                    },
                }
            };
            let Some(end) = end else { break };
            if prompt.wants_turn && events.send(Event::TurnEnded(end)).await.is_err() {
                return;
            }
        }
        // Nobody may be listening any more.
        events.send(Event::Exited(None)).await.ok();
    }
}

impl Demo {
    async fn turn(
        &mut self,
        prompt: &Prompt,
        events: &mpsc::Sender<Event>,
    ) -> Result<TurnEnd, ProviderError> {
        let tell = async |event| events.send(event).await.map_err(|_| failure(ErrorKind::Other));
        tell(Event::Consumed(prompt.id)).await?;
        let said = prompt::parse(&prompt.text);
        if !prompt.wants_turn {
            said.iter().for_each(|said| self.memory.keep(said));
            return Ok(TurnEnd::default());
        }
        tell(Event::TurnStarted).await?;
        if let Some(command) = &prompt.command {
            let notice = Some(format!("There is nothing to do for {command}. (demo agent)"));
            return Ok(TurnEnd { notice, ..TurnEnd::default() });
        }
        for (n, said) in said.iter().enumerate() {
            // The number of a message is the same however messages are put together.
            let key = said.id.map_or_else(
                || format!("demo-{}-{n}", prompt.id),
                |id| format!("demo-message-{id}"),
            );
            let to = said.from.clone();
            let mut talk = talk::Talk { setup: &self.setup, events, said, to, key, calls: 0 };
            let answer = talk.answer(&self.memory).await?;
            self.memory.keep(said);
            talk.say(&answer).await?;
        }
        tell(Event::Session(self.memory.write())).await?;
        Ok(TurnEnd::default())
    }
}

fn failure(kind: ErrorKind) -> ProviderError {
    ProviderError { kind, detail: "the demo was asked to fail".into() }
}
