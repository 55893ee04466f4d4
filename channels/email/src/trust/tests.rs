//! Machines, forgers and people.

use super::{Headers, automatic, verified};
use crate::ids::Email;

fn headers(text: &str) -> Headers {
    text.lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn email(text: &str) -> Email {
    Email::parse(text).unwrap()
}

#[test]
fn what_machines_write_is_not_answered() {
    let own = email("bot@x.example");
    let check = |text: &str, from: &str| automatic(&headers(text), &email(from), &own);
    assert_eq!(check("Subject: hi", "ann@y.example"), None);
    assert_eq!(check("Auto-Submitted: no", "ann@y.example"), None);
    for machine in [
        "Auto-Submitted: auto-replied",
        "Auto-Submitted: auto-generated; x=y",
        "Precedence: Bulk",
        "Precedence: list",
        "List-Id: <all.y.example>",
        "List-Unsubscribe: <mailto:x@y.example>",
        "X-Autoreply: yes",
        "Return-Path: <>",
        "Content-Type: multipart/report; report-type=delivery-status",
        "x-loop: BOT@x.example",
    ] {
        assert!(check(machine, "ann@y.example").is_some(), "{machine}");
    }
    assert!(check("", "MAILER-DAEMON@y.example").is_some());
    assert!(check("", "Bot@X.example").is_some());
}

#[test]
fn only_the_own_servers_first_word_counts() {
    let check =
        |text: &str| verified(&headers(text), &email("ann@y.example"), Some("mx.x.example"));
    assert!(check(
        "Authentication-Results: mx.x.example; dmarc=pass (p=none) header.from=y.example"
    ));
    assert!(check(
        "Authentication-Results: mx.x.example 1; spf=fail; dkim=pass header.d=y.example"
    ));
    assert!(check("Authentication-Results: MX.x.example; spf=pass smtp.mailfrom=bounce@y.example"));
    for forged in [
        "",
        "Authentication-Results: evil.example; dmarc=pass header.from=y.example",
        "Authentication-Results: mx.x.example; dmarc=fail header.from=y.example",
        "Authentication-Results: mx.x.example; dkim=pass header.d=evil.example",
        "Authentication-Results: mx.x.example; spf=pass smtp.mailfrom=x@evil.example",
        "Authentication-Results: mx.x.example; dkim=pass header.d=example",
        "Authentication-Results: mx.x.example; dkim=pass header.d=notmy.example",
        "Authentication-Results: mx.x.example; spf=fail (dmarc=pass header.from=y.example)",
        "Authentication-Results: mx.x.example; spf=fail smtp.helo=\"; dmarc=pass header.from=y.example\"",
        "Authentication-Results: mx.x.example; none\nAuthentication-Results: mx.x.example; dmarc=pass header.from=y.example",
        // The address of an envelope is the sender's own words, quoted as they like.
        "Authentication-Results: mx.x.example; spf=pass smtp.mailfrom=\"a\\\" ; dmarc=pass header.from=y.example ; \\\"b\"@evil.example",
        "Authentication-Results: mx.x.example; spf=fail (a\\) ; dmarc=pass header.from=y.example",
        "Authentication-Results: mx.x.example; spf=fail (a\\\\(\\) ; b) ; dmarc=fail header.from=y.example",
    ] {
        assert!(!check(forged), "{forged}");
    }
    let no_server = "Authentication-Results: mx.x.example; dmarc=pass header.from=y.example";
    assert!(!verified(&headers(no_server), &email("ann@y.example"), None));
}

#[test]
fn whoever_has_the_domain_above_proves_nothing() {
    let check = |text: &str, from: &str| {
        let line = format!("Authentication-Results: mx; {text}");
        verified(&headers(&line), &email(from), Some("mx"))
    };
    // Servers do not agree on what an organisation is; those that know say it with DMARC.
    assert!(!check("dkim=pass header.d=co.uk", "ann@bank.co.uk"));
    assert!(!check("dkim=pass header.d=github.io", "ann@ann.github.io"));
    assert!(!check("spf=pass smtp.mailfrom=x@shop.example", "ann@mail.shop.example"));
    assert!(!check("dkim=pass header.d=mail.shop.example", "ann@shop.example"));
    assert!(check("dmarc=pass header.from=mail.shop.example", "ann@mail.shop.example"));
    assert!(!check("dmarc=pass header.from=shop.example", "ann@mail.shop.example"));
}
