//! A conversation at the terminal.
//!
//! Three parties: a thread that edits the line being typed, a thread that prints above it, and the task
//! here, which joins them with the host. What is typed while the host is away is kept and sent when it is
//! back. Nothing ends the program but the person at the keyboard, since a terminal that is left in the
//! middle of a line stays unusable.

use super::show::{dialect, message};
use super::{Ended, Link, complain, new_say, pack};
use crate::wire::{Answered, Choose, Event, Message, Request, Say};
use nanoclaw_channel::Question;
use nanoclaw_channel::ask;
use nanoclaw_channel::markdown::{Dialect, printable, printable_line};
use rustyline::error::ReadlineError;
use rustyline::{Config, DefaultEditor, ExternalPrinter as _};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

/// Between two attempts to reach a host that went away.
const AGAIN: Duration = Duration::from_secs(1);

/// Lines of history that are kept.
const HISTORY_MAX: usize = 1000;

const HELP: &str = "\
/file PATH [text]  send a file (quote a path with spaces)
/help              this
/quit              leave; so do Ctrl-D and Ctrl-C twice
A question is answered with its number or its words.
Everything else goes to the agent.";

pub(super) async fn talk(data: &Path, agent: Option<&str>) -> Ended {
    let mut link = match Link::open(data, agent).await {
        Ok(link) => link,
        Err(e) => return complain(Ended::Unreachable, &super::unreachable(data, &e)),
    };
    let (screen, mut typed) = match terminal(data, agent) {
        Ok(both) => both,
        Err(e) => return complain(Ended::Usage, &format!("the terminal cannot be used: {e}")),
    };
    let mut talk =
        Talk { screen, unsent: Vec::new(), questions: Vec::new(), shown: HashSet::new() };
    loop {
        let alive = tokio::select! {
            line = typed.recv() => match line {
                None => return Ended::Well,
                Some(line) => match talk.typed(&line) {
                    Some(request) => link.send(&request).await.is_ok(),
                    None => true,
                },
            },
            event = link.next() => match event {
                Some(event) => match talk.event(event) {
                    Some(request) => link.send(&request).await.is_ok(),
                    None => true,
                },
                None => false,
            },
        };
        if !alive {
            talk.screen.typing(false);
            talk.screen.note("the host went away; what you type now is sent when it is back");
            match again(data, agent, &mut typed, &mut talk).await {
                Some(back) => link = back,
                None => return Ended::Well,
            }
        }
    }
}

/// Reaches the host again and sends what it did not take; `None` when the person left meanwhile.
async fn again(
    data: &Path,
    agent: Option<&str>,
    typed: &mut mpsc::UnboundedReceiver<String>,
    talk: &mut Talk,
) -> Option<Link> {
    loop {
        tokio::select! {
            line = typed.recv() => {
                // A message waits in `unsent`; an answer to a question can be given again.
                if let Some(Request::Answer { .. }) = talk.typed(&line?) {
                    talk.screen.note("not answered: the host is away; answer again when it is back");
                }
            }
            () = tokio::time::sleep(AGAIN) => {
                let Ok(mut link) = Link::open(data, agent).await else { continue };
                let mut sent = true;
                for say in &talk.unsent {
                    sent &= link.send(&Request::Say(say.clone())).await.is_ok();
                }
                if sent {
                    talk.screen.note("the host is back");
                    return Some(link);
                }
            }
        }
    }
}

struct Talk {
    screen: Screen,
    /// What the host did not acknowledge yet.
    unsent: Vec<Say>,
    /// What is still to be answered, with the message that asked it, newest last.
    questions: Vec<(String, Question)>,
    /// What was printed; after a lost connection things come twice.
    shown: HashSet<String>,
}

impl Talk {
    fn typed(&mut self, line: &str) -> Option<Request> {
        self.screen.passed();
        let line = line.trim();
        if line.is_empty() {
            return None;
        }
        if line == "/help" {
            self.screen.print(HELP);
            return None;
        }
        if let Some(rest) = line.strip_prefix("/file ") {
            let (path, text) = path_and_text(rest);
            return match pack(&path).and_then(|file| new_say(text, vec![file])) {
                Ok(say) => Some(self.say(say)),
                Err(why) => {
                    self.screen.note(&why);
                    None
                }
            };
        }
        if let Some((_, question)) = self.questions.last()
            && let Some(choice) = ask::choice(question, line)
        {
            let question = question.question_id.to_string();
            return Some(Request::Answer {
                answer: Choose { question, value: choice.value.clone() },
            });
        }
        match new_say(line.to_owned(), Vec::new()) {
            Ok(say) => Some(self.say(say)),
            Err(why) => {
                self.screen.note(&why);
                None
            }
        }
    }

    fn say(&mut self, say: Say) -> Request {
        self.unsent.push(say.clone());
        Request::Say(say)
    }

    fn event(&mut self, event: Event) -> Option<Request> {
        match event {
            Event::Message { message } => return self.message(&message),
            Event::Said { said } => {
                if self.shown.insert(said.id) {
                    let files = said.files.iter().map(|name| format!(" [{name}]"));
                    let text = format!("{}{}", said.text, files.collect::<String>());
                    self.screen.note(&format!("you, elsewhere: {}", printable(&text)));
                }
            }
            Event::Typing { typing } => self.screen.typing(typing),
            Event::Ack { ack } => self.unsent.retain(|say| say.id.as_deref() != Some(&ack)),
            Event::Nack { nack, why } => {
                self.unsent.retain(|say| say.id.as_deref() != Some(&nack));
                self.screen.note(&format!("not taken: {}", printable(&why)));
            }
            Event::Answered { answered: Answered { question, label } } => {
                self.questions.retain(|(_, q)| q.question_id.as_str() != question);
                self.screen.note(&match label {
                    Some(label) => format!("answered: {}", printable_line(&label)),
                    None => "nobody waits for that answer any more".to_owned(),
                });
            }
            Event::Error { error } => self.screen.note(&printable(&error)),
            Event::Hello { .. } => {}
        }
        None
    }

    fn message(&mut self, message: &Message) -> Option<Request> {
        if self.shown.insert(message.id.clone()) {
            self.screen.message(message);
            // A new text settles a question.
            self.questions.retain(|(id, _)| message.edit_of.as_ref() != Some(id));
            let id = || message.id.clone();
            self.questions.extend(message.question.clone().map(|q| (id(), q)));
        }
        Some(Request::Seen { seen: message.id.clone() })
    }
}

/// The path, which may be quoted, and what follows it.
fn path_and_text(rest: &str) -> (PathBuf, String) {
    let rest = rest.trim();
    let (path, text) = match rest.strip_prefix('"').and_then(|r| r.split_once('"')) {
        Some(quoted) => quoted,
        None => rest.split_once(' ').unwrap_or((rest, "")),
    };
    (PathBuf::from(path), text.trim().to_owned())
}

/// What is printed above the line being typed.
struct Screen {
    lines: std::sync::mpsc::Sender<String>,
    dialect: &'static Dialect,
    agent: String,
    /// Whether the line above the prompt says that the agent is typing.
    typing: bool,
}

impl Screen {
    fn message(&mut self, said: &Message) {
        let (on, off) = self.dialect.strong;
        let text = format!("{on}{}{off}\n{}\n", self.agent, message(said, self.dialect));
        self.print(&text);
    }

    fn note(&mut self, text: &str) {
        let (on, off) = self.dialect.faint;
        self.print(&format!("{on}({text}){off}"));
    }

    fn print(&mut self, text: &str) {
        let typing = std::mem::take(&mut self.typing);
        let erase = if typing { "\x1b[1A\x1b[2K\r" } else { "" };
        self.write(format!("{erase}{text}\n"));
        if typing {
            self.typing(true);
        }
    }

    fn typing(&mut self, typing: bool) {
        if typing == self.typing {
            return;
        }
        self.typing = typing;
        let (on, off) = self.dialect.faint;
        self.write(if typing {
            format!("{on}{} is typing…{off}\n", self.agent)
        } else {
            // Up to the line above the status, so that the printer's end of line lands on it.
            "\x1b[1A\x1b[2K\x1b[1A\n".to_owned()
        });
    }

    /// The prompt went on a line: what stands above it is no longer the status.
    fn passed(&mut self) {
        self.typing = false;
    }

    fn write(&self, text: String) {
        // The printer ends with the program only.
        self.lines.send(text).ok();
    }
}

/// Starts the threads of the terminal.
fn terminal(
    data: &Path,
    agent: Option<&str>,
) -> rustyline::Result<(Screen, mpsc::UnboundedReceiver<String>)> {
    let config = Config::builder().max_history_size(HISTORY_MAX)?.auto_add_history(true).build();
    let mut editor = DefaultEditor::with_config(config)?;
    let history = crate::folder(data).join("history");
    if let Err(error) = editor.load_history(&history) {
        tracing::debug!(%error, "no history");
    }
    let mut printer = editor.create_external_printer()?;
    let (lines, to_print) = std::sync::mpsc::channel::<String>();
    let (typed, from_keyboard) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for text in to_print {
            if printer.print(text).is_err() {
                return;
            }
        }
    });
    std::thread::spawn(move || {
        let mut interrupted = false;
        loop {
            match editor.readline("> ") {
                Ok(line) if line.trim() == "/quit" => break,
                Ok(line) => {
                    interrupted = false;
                    if typed.send(line).is_err() {
                        break;
                    }
                }
                Err(ReadlineError::Interrupted) if !interrupted => interrupted = true,
                Err(_) => break,
            }
        }
        if let Err(error) = editor.save_history(&history) {
            tracing::debug!(%error, "history not kept");
        }
    });
    let agent = printable_line(agent.unwrap_or("agent"));
    let mut screen = Screen { lines, dialect: dialect(), agent, typing: false };
    screen.note("/help for help, /quit to leave");
    Ok((screen, from_keyboard))
}

#[cfg(test)]
mod tests;
