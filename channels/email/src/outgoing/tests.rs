//! Letters, and what is not sent twice.

use super::{Letter, Post, answer_to, batches, send, subject};
use crate::FILES_MAX;
use crate::ids::{Email, Place};
use crate::threads::{Known, Threads};
use nanoclaw_channel::{Body, OutFile, Outgoing, SendError};
use nanoclaw_kit::store::Store;
use std::sync::Mutex;

/// Takes letters, but fails once before the letter of this number.
struct Box {
    taken: Mutex<Vec<Letter>>,
    fails_at: Mutex<Option<usize>>,
}

impl Post for Box {
    async fn post(&self, letter: &Letter) -> Result<String, SendError> {
        let mut taken = self.taken.lock().unwrap();
        let mut fails = self.fails_at.lock().unwrap();
        if *fails == Some(taken.len()) {
            *fails = None;
            return Err(SendError::Retry { after: None, why: "busy".to_owned() });
        }
        taken.push(letter.clone());
        Ok(letter.id.clone())
    }
}

fn file(name: &str, size: u64) -> OutFile {
    OutFile { name: name.to_owned(), bytes: vec![b'x'; usize::try_from(size).unwrap()] }
}

#[tokio::test]
async fn a_mail_that_was_sent_is_not_sent_again_and_the_others_are() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), "email").await.unwrap();
    let threads = Threads { store, channel: "email" };
    let own = Email::parse("bot@x.example").unwrap();
    let to = Place { email: Email::parse("ann@y.example").unwrap(), thread: None };
    let files = vec![file("a.bin", FILES_MAX), file("b.bin", 5), file("c.bin", FILES_MAX + 1)];
    let message = Outgoing {
        to: to.address("email").unwrap(),
        body: Body::Text { markdown: "Here **it** is".to_owned(), files },
        key: "k1".to_owned(),
        reply_to: None,
    };
    let post = Box { taken: Mutex::default(), fails_at: Mutex::new(Some(1)) };
    assert!(matches!(send(&post, &threads, &own, &message).await, Err(SendError::Retry { .. })));
    let receipt = send(&post, &threads, &own, &message).await.unwrap();
    let taken = post.taken.lock().unwrap().clone();
    let [first, second] = taken.as_slice() else { panic!("{} mails", taken.len()) };
    assert_eq!(receipt.id.unwrap().as_str(), first.id);
    assert_eq!(first.subject, "Here it is");
    assert!(first.text.contains("c.bin") && first.text.contains("20 MB"), "{}", first.text);
    assert!(first.html.contains("<strong>it</strong>"), "{}", first.html);
    assert_eq!(second.subject, "Re: Here it is");
    assert_eq!(second.references, std::slice::from_ref(&first.id));
    assert_eq!(second.files[0].name, "b.bin");
}

#[tokio::test]
async fn an_answer_is_in_its_conversation() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), "email").await.unwrap();
    let threads = Threads { store, channel: "email" };
    let own = Email::parse("bot@x.example").unwrap();
    let raw = b"From: ann@y.example\r\nSubject: Lunch\r\nMessage-ID: <1@y>\r\n\r\nhi";
    let read = crate::mail::Own { email: own.clone(), auth_server: None };
    let place = threads.place(&crate::mail::read(raw, &read).unwrap()).await.unwrap();
    let message = |key: &str| Outgoing {
        to: place.address("email").unwrap(),
        body: Body::Text { markdown: "yes".to_owned(), files: Vec::new() },
        key: key.to_owned(),
        reply_to: None,
    };
    let post = Box { taken: Mutex::default(), fails_at: Mutex::new(None) };
    send(&post, &threads, &own, &message("k1")).await.unwrap();
    send(&post, &threads, &own, &message("k2")).await.unwrap();
    let taken = post.taken.lock().unwrap().clone();
    assert_eq!((taken[0].subject.as_str(), taken[1].subject.as_str()), ("Re: Lunch", "Re: Lunch"));
    assert_eq!(taken[0].references, ["1@y"]);
    assert_eq!(taken[1].references, ["1@y", taken[0].id.as_str()]);
    // A program that only says what it answers, and not what came before, is in the conversation too.
    let raw = format!(
        "From: ann@y.example\r\nMessage-ID: <9@y>\r\nIn-Reply-To: <{}>\r\n\r\nfine",
        taken[1].id
    );
    let again = threads.place(&crate::mail::read(raw.as_bytes(), &read).unwrap()).await.unwrap();
    assert_eq!(again, place);
    let Known { ids, .. } = threads.known(&place).await.unwrap().unwrap();
    assert_eq!(ids.len(), 4);
}

#[tokio::test]
async fn every_attempt_is_the_same_mail() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), "email").await.unwrap();
    let threads = Threads { store, channel: "email" };
    let own = Email::parse("bot@x.example").unwrap();
    let read = crate::mail::Own { email: own.clone(), auth_server: None };
    let heard = async |id: &str| {
        let raw = format!(
            "From: ann@y.example\r\nSubject: Lunch\r\nMessage-ID: <{id}>\r\nReferences: <1@y>\r\n\r\nhi"
        );
        threads.place(&crate::mail::read(raw.as_bytes(), &read).unwrap()).await.unwrap()
    };
    let place = heard("2@y").await;
    let message = Outgoing {
        to: place.address("email").unwrap(),
        body: Body::Text { markdown: "yes".to_owned(), files: Vec::new() },
        key: "k1".to_owned(),
        reply_to: None,
    };
    let post = Box { taken: Mutex::default(), fails_at: Mutex::new(Some(0)) };
    send(&post, &threads, &own, &message).await.unwrap_err();
    heard("3@y").await;
    send(&post, &threads, &own, &message).await.unwrap();
    let taken = post.taken.lock().unwrap().clone();
    assert_eq!(taken[0].references, ["1@y", "2@y"], "not what came since, and not itself");
    // What came since is not forgotten.
    let known = threads.known(&place).await.unwrap().unwrap();
    assert_eq!(known.ids, ["1@y", "2@y", taken[0].id.as_str(), "3@y"]);
}

#[test]
fn subjects_are_short_and_answers_say_so_once() {
    assert_eq!(subject("# The *plan*\n\nmore"), "The plan");
    assert_eq!(subject(" \n"), "A message");
    assert!(subject(&"word ".repeat(50)).ends_with("word …"));
    assert_eq!(answer_to("RE: x"), "RE: x");
    assert_eq!(answer_to("Réunion"), "Re: Réunion");
    assert_eq!(answer_to(""), "Re:");
}

#[test]
fn there_is_always_one_mail() {
    assert_eq!(batches(Vec::new()).len(), 1);
    let many: Vec<OutFile> = (0..5).map(|n| file(&format!("{n}"), FILES_MAX / 2)).collect();
    let sizes: Vec<usize> = batches(many.iter().collect()).iter().map(Vec::len).collect();
    assert_eq!(sizes, [2, 2, 1]);
}
