//! Deliveries: the way from the first attempt to an end.

use super::*;
use nanoclaw_contract::ids::OutId;

fn attempt(c: &Central, out: &str, seq: i64, ms: i64) -> Result<u32> {
    c.begin_attempt(&id("s"), &id(out), seq, &address(Some("t")), at(ms))
}

fn of(c: &Central, out: &str) -> Delivery {
    c.delivery(&id("s"), &id(out)).unwrap().unwrap()
}

#[test]
fn an_attempt_is_on_record_before_it_is_made() {
    let c = home();
    assert_eq!(c.delivery(&id("s"), &id("o")).unwrap(), None);
    assert_eq!(attempt(&c, "o", 3, 1).unwrap(), 1);
    let d = of(&c, "o");
    assert_eq!((d.state, d.attempts, d.seq), (DeliveryState::Pending, 1, 3));
    assert_eq!((d.to, d.next_at, d.first_at), (Some(address(Some("t"))), None, at(1)));
    // Cut short by a crash, it is made again.
    assert_eq!(attempt(&c, "o", 3, 2).unwrap(), 2);
    assert_eq!((of(&c, "o").first_at, of(&c, "o").last_at), (at(1), at(2)));
    // A request to the host has no address.
    assert_eq!(c.begin_attempt(&id("s"), &id("request"), 5, None, at(1)).unwrap(), 1);
    assert_eq!(of(&c, "request").to, None);
}

#[test]
fn what_was_sent_is_never_sent_again() {
    let c = home();
    attempt(&c, "o", 1, 1).unwrap();
    c.finish_attempt(&id("s"), &id("o"), &Ended::Retry(at(50), "later".into()), at(2)).unwrap();
    attempt(&c, "o", 1, 50).unwrap();
    c.finish_attempt(&id("s"), &id("o"), &Ended::Sent(Some(id("p-1"))), at(51)).unwrap();
    let d = of(&c, "o");
    assert_eq!(
        (d.state, d.platform_message_id, d.last_error),
        (DeliveryState::Sent, Some(id("p-1")), None)
    );
    assert!(refusal(attempt(&c, "o", 1, 60)).contains("not sent again"));
    // A late failure of an earlier attempt does not undo it.
    refusal(c.finish_attempt(&id("s"), &id("o"), &Ended::Dead("timeout".into()), at(61)));
    refusal(c.finish_attempt(&id("s"), &id("o"), &Ended::Retry(at(99), "timeout".into()), at(61)));
    assert_eq!(of(&c, "o").state, DeliveryState::Sent);
    assert_eq!(c.pending_deliveries(&id("s")).unwrap(), []);
    assert!(!c.revive(&id("s"), &id("o")).unwrap());
}

#[test]
fn an_outcome_without_attempt_refuses() {
    let c = home();
    assert!(
        refusal(c.finish_attempt(&id("s"), &id("o"), &Ended::Sent(None), at(0)))
            .contains("no attempt")
    );
    assert!(
        refusal(c.finish_attempt(&id("s"), &id("o"), &Ended::Rejected("x".into()), at(0)))
            .contains("no attempt")
    );
    let of_nobody = c.begin_attempt(&id("nobody"), &id("o"), 1, &address(None), at(0));
    assert!(refusal(of_nobody).contains("FOREIGN KEY"));
}

#[test]
fn retries_wait_in_order_and_come_when_the_channel_is_back() {
    let c = home();
    for (out, seq, next) in [("c", 5, 700), ("a", 1, 900), ("b", 3, 800)] {
        attempt(&c, out, seq, 0).unwrap();
        c.finish_attempt(&id("s"), &id(out), &Ended::Retry(at(next), "e".repeat(9000)), at(1))
            .unwrap();
    }
    let order: Vec<_> =
        c.pending_deliveries(&id("s")).unwrap().into_iter().map(|d| d.out_id).collect();
    assert_eq!(order, [id::<OutId>("a"), id("b"), id("c")]);
    assert_eq!(of(&c, "a").last_error.unwrap().len(), 2000);
    assert_eq!(c.retry_now(&id("other"), at(2)).unwrap(), []);
    assert_eq!(c.retry_now(&id("cli"), at(2)).unwrap(), [id("s")]);
    assert_eq!(["a", "b", "c"].map(|out| of(&c, out).next_at), [Some(at(2)); 3]);
}

#[test]
fn dead_letters_are_listed_and_revived() {
    let c = home();
    for (n, out) in ["a", "b", "c"].into_iter().enumerate() {
        attempt(&c, out, 1, n as i64).unwrap();
    }
    c.finish_attempt(&id("s"), &id("b"), &Ended::Dead("a day passed".into()), at(9)).unwrap();
    c.finish_attempt(&id("s"), &id("a"), &Ended::Dead("a day passed".into()), at(10)).unwrap();
    c.finish_attempt(&id("s"), &id("c"), &Ended::Rejected("too long".into()), at(11)).unwrap();
    let dead: Vec<_> = c.dead_letters().unwrap().into_iter().map(|d| d.out_id).collect();
    assert_eq!(dead, [id::<OutId>("b"), id("a")]);
    assert!(refusal(attempt(&c, "a", 1, 20)).contains("settled"));
    assert!(c.revive(&id("s"), &id("a")).unwrap() && !c.revive(&id("s"), &id("c")).unwrap());
    assert_eq!(of(&c, "a").attempts, 0);
    assert_eq!(attempt(&c, "a", 1, 20).unwrap(), 1);
    // Its day begins anew, or the first failure would end it again.
    assert_eq!(of(&c, "a").first_at, at(20));
    assert_eq!(c.revive_all().unwrap(), [id("s")]);
    assert_eq!((c.dead_letters().unwrap(), c.revive_all().unwrap()), (vec![], vec![]));
    // Only what is over is forgotten.
    assert_eq!(c.prune_deliveries(at(1000)).unwrap(), 1);
    assert_eq!(c.pending_deliveries(&id("s")).unwrap().len(), 2);
}

#[test]
fn a_wait_for_the_channel_is_not_counted_against_a_message() {
    let c = home();
    attempt(&c, "o", 1, 1).unwrap();
    c.finish_attempt(
        &id("s"),
        &id("o"),
        &Ended::Wait(at(90), "the channel is broken".into()),
        at(30),
    )
    .unwrap();
    let d = of(&c, "o");
    assert_eq!((d.state, d.next_at, d.first_at), (DeliveryState::Pending, Some(at(90)), at(30)));
    attempt(&c, "o", 1, 90).unwrap();
    assert_eq!(of(&c, "o").first_at, at(30));
    c.finish_attempt(&id("s"), &id("o"), &Ended::Sent(Some(id("p-1"))), at(91)).unwrap();
    let said = c.sessions_that_said(&address(None), &id("p-1")).unwrap();
    assert_eq!(said, [(id("s"), 1)]);
    assert_eq!(c.sessions_that_said(&address(None), &id("p-2")).unwrap(), []);
}
