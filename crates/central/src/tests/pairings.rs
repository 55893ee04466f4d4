//! Codes that connect a chat.

use super::*;

#[test]
fn a_code_is_taken_once_and_by_the_same_message_again() {
    let c = home();
    let new = Pairing {
        id: "p1".into(),
        channel: id("slack"),
        agent: id("ag-a"),
        owner: true,
        expires_at: at(100),
        outcome: None,
    };
    c.put_pairing(&new, "hash").unwrap();
    assert!(c.expects_pairing(&id("slack"), "other", at(99)).unwrap());
    assert!(!c.expects_pairing(&id("telegram"), "hash", at(99)).unwrap());
    let take = |channel, hash, message, ms| c.take_pairing(&id(channel), hash, message, at(ms));
    assert_eq!(take("telegram", "hash", "m1", 1).unwrap(), None);
    assert_eq!(take("slack", "wrong", "m1", 1).unwrap(), None);
    assert_eq!(take("slack", "hash", "m1", 100).unwrap(), None, "it is over");
    assert_eq!(take("slack", "hash", "m1", 99).unwrap(), Some(new.clone()));
    assert_eq!(take("slack", "hash", "m2", 99).unwrap(), None, "it is used");
    assert_eq!(take("slack", "hash", "m1", 500).unwrap(), Some(new));
    assert!(!c.expects_pairing(&id("slack"), "other", at(99)).unwrap());
    assert!(c.expects_pairing(&id("slack"), "hash", at(500)).unwrap(), "it was good once");
    c.finish_pairing("p1", "done").unwrap();
    assert_eq!(c.pairing("p1").unwrap().unwrap().outcome.as_deref(), Some("done"));
    assert_eq!(c.prune_pairings(at(101)).unwrap(), 1);
    assert_eq!(c.pairing("p1").unwrap(), None);
}
