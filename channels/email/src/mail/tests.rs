//! Mails as people and programs write them, and as nobody should.

use super::{Mail, Own, new_and_quoted, read};
use crate::ids::Email;
use expect_test::{Expect, expect};
use proptest::prelude::*;

fn own() -> Own {
    let auth_server = Some("mx.x.example".to_owned());
    Own { email: Email::parse("bot@x.example").unwrap(), auth_server }
}

fn mail(text: &str) -> Result<Mail, &'static str> {
    read(text.replace('\n', "\r\n").as_bytes(), &own())
}

#[test]
fn a_mail_is_read_whole() {
    let raw = "From: =?utf-8?Q?Ann_=C3=9Cber?= <Ann@Y.example>\n\
        Authentication-Results: mx.x.example;\n dmarc=pass header.from=y.example\n\
        To: bot@x.example\nSubject: =?utf-8?B?R3LDvMOfZQ==?=\nMessage-ID: <3@y>\n\
        Date: Sun, 22 Nov 2026 10:00:00 +0100\nIn-Reply-To: <2@y>\nReferences: <1@y> <2@y>\n\
        MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n\
        --b\nContent-Type: text/html; charset=utf-8\n\n<p>Hi <b>bot</b></p><p>two</p>\n\
        --b\nContent-Type: text/csv; name=\"../../a\u{202e}b.csv\"\nContent-Disposition: attachment\n\
        Content-Transfer-Encoding: base64\n\nYSxiCg==\n--b--\n";
    let mail = mail(raw).unwrap();
    assert_eq!(mail.id, "3@y");
    assert_eq!(mail.sender.handle, "ann@y.example");
    assert_eq!(mail.sender.name.as_deref(), Some("Ann Über"));
    assert_eq!(mail.subject, "Grüße");
    assert_eq!(mail.references, ["1@y", "2@y"]);
    assert_eq!(mail.at.unwrap().to_string(), "2026-11-22T09:00:00Z");
    assert!(mail.text.contains("Hi bot") && mail.text.contains("two"), "{:?}", mail.text);
    let [file] = mail.files.as_slice() else { panic!("{:?}", mail.files) };
    assert_eq!((file.name.as_str(), file.bytes.as_slice()), ("ab.csv", b"a,b\n".as_slice()));
}

#[test]
fn who_proves_nothing_is_called_so() {
    let mail = mail("From: ann@y.example\nAuthentication-Results: evil; dmarc=pass\n\nhi").unwrap();
    assert_eq!(mail.sender.handle, "unverified:ann@y.example");
    assert_eq!(mail.from.as_str(), "ann@y.example");
    assert!(mail.id.ends_with("@hashed"));
}

#[test]
fn mails_of_nobody_or_many_are_refused() {
    for from in ["", "From: \n", "From: a@y.example, b@y.example\n", "From: not an address\n"] {
        assert!(mail(&format!("{from}Subject: x\n\nhi")).is_err(), "{from}");
    }
    assert!(mail("From: bot@x.example\n\nhi").is_err());
}

/// Whoever was written to could otherwise speak to the agent in the name of who wrote.
#[test]
fn a_mail_that_was_written_to_others_proves_nothing() {
    let proof = "Authentication-Results: mx.x.example; dmarc=pass header.from=y.example\n";
    for (to, is) in [
        ("To: bot@x.example", "owner@y.example"),
        ("To: eve@z.example, Bot <BOT+notes@X.example>", "owner@y.example"),
        ("To: eve@z.example\nCc: bot@x.example", "owner@y.example"),
        ("To: eve@z.example", "unverified:owner@y.example"),
        ("To: bot@z.example, bot+bot@x.example.z", "unverified:owner@y.example"),
        ("X-To: bot@x.example", "unverified:owner@y.example"),
    ] {
        let mail = mail(&format!("{proof}From: owner@y.example\n{to}\n\nhi")).unwrap();
        assert_eq!(mail.sender.handle, is, "{to}");
    }
}

/// A signature covers one of several senders, and nobody says which.
#[test]
fn a_mail_with_a_second_sender_is_refused() {
    let proof = "Authentication-Results: mx.x.example; dkim=pass header.d=y.example\n";
    let many = "X-A: b\n".repeat(1100);
    for between in ["", many.as_str()] {
        let raw = format!("{proof}From: ann@y.example\n{between}From: owner@y.example\n\nhi");
        assert!(mail(&raw).is_err());
    }
    assert!(mail(&format!("{proof}From: owner@y.example\n\nhi")).is_ok());
}

#[test]
fn a_broken_word_of_the_server_gives_its_place_to_no_forgery() {
    let forged = "Authentication-Results: mx.x.example; dmarc=pass header.from=y.example\r\n";
    let own: &[u8] =
        b"Authentication-Results: mx.x.example; spf=fail smtp.mailfrom=\xff@evil.example\r\n";
    let rest = format!("{forged}From: ann@y.example\r\n\r\nhi");
    let mail = read(&[own, rest.as_bytes()].concat(), &self::own()).unwrap();
    assert_eq!(mail.sender.handle, "unverified:ann@y.example");
}

/// The server takes its own header out of what strangers send, but only where it knows the name.
#[test]
fn a_name_of_a_header_with_a_gap_in_it_is_none() {
    let read = |name: &str| {
        let proof = "mx.x.example; dmarc=pass header.from=y.example";
        mail(&format!("{name}: {proof}\nFrom: ann@y.example\nTo: bot@x.example\n\nhi"))
    };
    for broken in ["Authentication-\rResults", "Authentication -Results", ":Authentication-Results"]
    {
        assert!(read(broken).is_err(), "{broken:?}");
    }
    for (name, is) in [
        ("authentication-results ", "ann@y.example"),
        ("X-Authentication-Results", "unverified:ann@y.example"),
        ("not Authentication-Results", "unverified:ann@y.example"),
    ] {
        assert_eq!(read(name).unwrap().sender.handle, is, "{name:?}");
    }
}

#[test]
fn of_a_mail_with_ever_so_many_files_the_rest_is_told() {
    let part = "--b\nContent-Type: text/csv; name=a.csv\nContent-Disposition: attachment\n\na\n";
    let raw = format!(
        "From: ann@y.example\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n{}--b--\n",
        part.repeat(250)
    );
    let files = mail(&raw).unwrap().files;
    assert_eq!(files.len(), 101);
    let last = files.last().unwrap();
    assert_eq!((last.name.as_str(), last.missing.is_some()), ("150 more files", true));
}

#[test]
fn what_is_new_stands_above_what_it_answers() {
    let check = |text: &str, wanted: &Expect| {
        let (new, quoted) = new_and_quoted(text);
        wanted.assert_eq(&format!("{new}|{quoted}"));
    };
    check(
        "yes\n\nOn Monday, Bot wrote:\n> will you?\n>\n> soon\n",
        &expect![[r#"
        yes|On Monday, Bot wrote:
        > will you?
        >
        > soon"#]],
    );
    check(
        "yes\n\nOn Monday, the 3rd,\nBot <bot@x> wrote:\n> q\n",
        &expect![[r#"
        yes|On Monday, the 3rd,
        Bot <bot@x> wrote:
        > q"#]],
    );
    check(
        "> will you?\nyes\n",
        &expect![[r#"
        > will you?
        yes|"#]],
    );
    check(
        "yes\n\n-----Original Message-----\nFrom: x\n\nq",
        &expect![[r#"
        yes|-----Original Message-----
        From: x

        q"#]],
    );
    check(
        "one\ntwo:\n> q\nthree",
        &expect![[r#"
        one
        two:
        > q
        three|"#]],
    );
    check("> only", &expect!["|> only"]);
    check("", &expect!["|"]);
}

#[test]
fn a_mail_of_quotation_alone_is_kept_as_it_is() {
    assert_eq!(mail("From: a@y.example\n\n> only this").unwrap().text, "> only this");
}

proptest! {
    #[test]
    fn nothing_that_arrives_panics(raw: Vec<u8>, text in "(?s).{0,400}") {
        drop(read(&raw, &own()));
        let framed = format!("From: a@y.example\nSubject: {text}\nReferences: {text}\nContent-Type: multipart/mixed; boundary=b\n\n--b\n{text}\n--b--");
        drop(mail(&framed));
        let (new, quoted) = new_and_quoted(&text);
        let bare = |t: &str| t.split_whitespace().collect::<String>();
        prop_assert_eq!(format!("{}{}", bare(new), bare(quoted)), bare(&text));
    }
}
