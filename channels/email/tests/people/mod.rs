//! People, and the mails that they and machines write.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nanoclaw_channel::time::Timestamp;
use nanoclaw_conformance::{Place, Say};
use std::collections::BTreeMap;
use std::fmt::Write as _;

pub(crate) const BOT: &str = "bot@agents.test";
pub(crate) const AUTH_SERVER: &str = "mx.agents.test";

/// What is no mail, or from nobody.
pub(crate) const BROKEN: [&[u8]; 4] = [
    b"\r\n",
    b"no mail at all\r\n",
    b"From: \xff\xfe <@>\r\nContent-Type: multipart/mixed; boundary=\r\n\r\n--\r\n",
    b"From: a@people.test, b@people.test\r\n\r\ntwo senders\r\n",
];

/// What they wrote.
#[derive(Default)]
pub(crate) struct People {
    /// The first mail of each conversation, and the last one.
    threads: BTreeMap<(String, Place), (String, String)>,
    sent: u32,
}

/// The address and the name of somebody.
pub(crate) fn person(who: &str) -> (String, Option<String>) {
    let mut name = who.to_owned();
    name[..1].make_ascii_uppercase();
    (format!("{who}@people.test"), Some(name))
}

/// Mails that machines wrote, or the agent itself.
pub(crate) fn echoes() -> Vec<Vec<u8>> {
    let mails = [
        format!("From: {BOT}\r\n"),
        format!("From: ann@people.test\r\nX-Loop: {BOT}\r\n"),
        "From: ann@people.test\r\nAuto-Submitted: auto-replied\r\n".to_owned(),
        "From: MAILER-DAEMON@people.test\r\n".to_owned(),
        "From: news@people.test\r\nList-Id: <news.people.test>\r\n".to_owned(),
    ];
    let raw = |head: &String| format!("{head}Subject: echo\r\n\r\nan echo\r\n").into_bytes();
    mails.iter().map(raw).collect()
}

impl People {
    /// A mail as a program of people writes it: its id, and all of it.
    pub(crate) fn compose(&mut self, say: &Say, now: Timestamp) -> (String, Vec<u8>) {
        self.sent += 1;
        let id = format!("{}-{}@people.test", say.who, self.sent);
        let (address, name) = person(say.who);
        let mut head = format!(
            "Authentication-Results: {AUTH_SERVER}; dmarc=pass header.from=people.test\r\n\
             From: {} <{address}>\r\nTo: <{BOT}>\r\nMessage-ID: <{id}>\r\nMIME-Version: 1.0\r\n\
             Date: {}\r\n",
            name.unwrap_or_default(),
            now.strftime("%a, %d %b %Y %H:%M:%S +0000"),
        );
        let thread = self
            .threads
            .entry((say.who.to_owned(), say.place))
            .or_insert_with(|| (id.clone(), id.clone()));
        let last = say.reply_to.clone().unwrap_or_else(|| thread.1.clone());
        if last != id {
            write!(head, "In-Reply-To: <{last}>\r\nReferences: <{}> <{last}>\r\n", thread.0).ok();
        }
        thread.1.clone_from(&id);
        let text = format!(
            "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n",
            wrapped(say.text.as_bytes())
        );
        if say.files.is_empty() {
            return (id, format!("{head}{text}").into_bytes());
        }
        let mut all = format!("{head}Content-Type: multipart/mixed; boundary=\"=_b\"\r\n\r\n");
        if !say.text.is_empty() {
            write!(all, "--=_b\r\n{text}").ok();
        }
        for file in &say.files {
            let mime = file.mime.clone().unwrap_or_else(|| "application/octet-stream".to_owned());
            let name: String = file.name.bytes().map(|b| format!("%{b:02X}")).collect();
            let bytes = match file.size {
                Some(size) => vec![b'x'; usize::try_from(size).unwrap_or(0)],
                None => file.bytes.clone(),
            };
            write!(
                all,
                "--=_b\r\nContent-Type: {mime}\r\nContent-Transfer-Encoding: base64\r\n\
                 Content-Disposition: attachment; filename*=utf-8''{name}\r\n\r\n{}\r\n",
                wrapped(&bytes)
            )
            .ok();
        }
        all.push_str("--=_b--\r\n");
        (id, all.into_bytes())
    }
}

fn wrapped(bytes: &[u8]) -> String {
    let text = BASE64.encode(bytes);
    let lines: Vec<&str> =
        (0..text.len()).step_by(76).filter_map(|n| text.get(n..(n + 76).min(text.len()))).collect();
    lines.join("\r\n")
}
