//! Every case, against real mail servers.

mod peer;
mod people;

use peer::Mail;

#[test]
fn a_mailbox_over_imap_and_smtp() {
    nanoclaw_conformance::run(Mail::start).unwrap();
}
