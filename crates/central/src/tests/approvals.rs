use super::*;
use nanoclaw_contract::content::Choice;
use nanoclaw_contract::ids::{ApprovalId, UserId};

fn choice(value: &str) -> Choice {
    Choice { label: value.into(), selected_label: value.into(), value: value.into() }
}

fn request(name: &str, needed: u32) -> NewApproval {
    NewApproval {
        id: id(&format!("ap-{name}")),
        key: name.into(),
        session: None,
        action: "let_in".into(),
        payload: "{}".into(),
        hash: "h".into(),
        agent: None,
        title: "A title".into(),
        options: vec![choice("approve"), choice("reject")],
        needed,
        expires_at: at(1000),
    }
}

fn card(name: &str, who: &str) -> Card {
    let to = Address { channel_type: id("x"), platform_id: id(who), thread_id: None };
    let line = |key: String| NewMail { key, to: to.clone(), body: "{}".into() };
    let lines = vec![line(format!("{name}:{who}:details")), line(format!("{name}:{who}"))];
    Card { user: id(&format!("x:{who}")), lines }
}

fn vote(central: &Central, of: &str, person: &str, value: &str, ms: i64) -> Voted {
    let vote = Vote { person, user: person, name: person, value };
    central.vote(&id::<ApprovalId>(&format!("ap-{of}")), &vote, at(ms)).unwrap()
}

fn status(central: &Central, of: &str) -> ApprovalStatus {
    central.approval(&id(&format!("ap-{of}"))).unwrap().unwrap().status
}

#[test]
fn a_request_and_its_cards_are_opened_together_and_once() {
    let central = central();
    let (new, cards) = (request("a", 1), [card("a", "boss"), card("a", "chief")]);
    assert_eq!(central.open_approval(&new, &cards, at(0)).unwrap(), Opened::New);
    let again = NewApproval { id: id("ap-b"), ..new.clone() };
    assert_eq!(central.open_approval(&again, &cards, at(0)).unwrap(), Opened::Same(id("ap-a")));
    let other = NewApproval { id: id("ap-b"), hash: "other".into(), ..new };
    assert_eq!(central.open_approval(&other, &cards, at(0)).unwrap(), Opened::Taken);
    assert_eq!(central.cards_of(&id("ap-a")).unwrap(), ["a:boss", "a:chief"]);
    assert_eq!(central.due_mail(at(0), 10).unwrap().len(), 2, "the first line of each address");
    assert_eq!(central.approvals_at(&id("x"), &id("boss"), "", 10).unwrap().len(), 1);
    assert!(central.approvals_at(&id("x"), &id("eve"), "", 10).unwrap().is_empty());
    // What is over is there for whoever says its code.
    assert_eq!(vote(&central, "a", "one", "reject", 1), Voted::Decided);
    assert!(central.approvals_at(&id("x"), &id("boss"), "", 10).unwrap().is_empty());
    assert_eq!(central.approvals_at(&id("x"), &id("boss"), "a", 10).unwrap().len(), 1);
}

#[test]
fn every_step_of_a_request_is_taken_once() {
    let central = central();
    central.open_approval(&request("a", 2), &[], at(0)).unwrap();
    assert_eq!(vote(&central, "a", "one", "approve", 1), Voted::Counted(1));
    assert_eq!(vote(&central, "a", "one", "approve", 1), Voted::Again);
    assert_eq!(vote(&central, "a", "two", "approve", 1), Voted::Decided);
    assert_eq!(vote(&central, "a", "three", "reject", 1), Voted::Late);
    assert!(central.expire_approvals(at(5000)).unwrap().is_empty());
    assert!(central.begin_applying(&id("ap-a")).unwrap());
    assert!(!central.begin_applying(&id("ap-a")).unwrap());
    central.finish_approval(&id("ap-a"), ApprovalStatus::Done, "it is done").unwrap();
    central.finish_approval(&id("ap-a"), ApprovalStatus::Failed, "too late").unwrap();
    assert_eq!(status(&central, "a"), ApprovalStatus::Done);
    assert_eq!(central.unsettled_approvals().unwrap().len(), 1);
    central.approval_told(&id("ap-a")).unwrap();
    assert!(central.unsettled_approvals().unwrap().is_empty());
    assert_eq!(central.prune_approvals(at(1)).unwrap(), 1);
}

#[test]
fn what_expired_is_not_decided_even_before_the_timer_came() {
    let central = central();
    central.open_approval(&request("a", 1), &[], at(0)).unwrap();
    assert_eq!(central.next_expiry().unwrap(), Some(at(1000)));
    assert_eq!(vote(&central, "a", "one", "approve", 1000), Voted::Late);
    assert_eq!(central.expire_approvals(at(999)).unwrap(), []);
    assert_eq!(central.expire_approvals(at(1000)).unwrap(), [id("ap-a")]);
    assert_eq!(status(&central, "a"), ApprovalStatus::Expired);
}

#[test]
fn a_request_whose_last_card_is_lost_is_given_up() {
    let central = central();
    central
        .open_approval(&request("a", 1), &[card("a", "boss"), card("a", "chief")], at(0))
        .unwrap();
    let lost = Ended::Rejected("no".into());
    central.finish_mail("a:boss", &lost, at(1)).unwrap();
    assert_eq!(central.fail_undelivered("a:boss", "lost").unwrap(), []);
    central.finish_mail("a:chief", &lost, at(1)).unwrap();
    assert_eq!(central.fail_undelivered("a:chief", "lost").unwrap(), [id("ap-a")]);
    assert_eq!(status(&central, "a"), ApprovalStatus::Failed);
}

#[test]
fn a_request_of_v2_is_left_to_v2() {
    let central = central();
    central
        .run(
            "insert",
            "INSERT INTO pending_approvals (approval_id, request_id, action, payload, created_at)
             VALUES ('appr-1', 'appr-1', 'install_packages', '{}', '2026-01-01T00:00:00.000Z')",
            [],
        )
        .unwrap();
    assert_eq!(
        central
            .vote(
                &id("appr-1"),
                &Vote { person: "a", user: "a", name: "a", value: "approve" },
                at(0)
            )
            .unwrap(),
        Voted::Late
    );
    assert!(central.expire_approvals(at(1 << 40)).unwrap().is_empty());
    assert!(central.unsettled_approvals().unwrap().is_empty());
    assert_eq!(central.approval(&id("appr-1")).unwrap().unwrap().status, ApprovalStatus::Pending);
}

#[test]
fn messages_wait_in_order_up_to_a_limit_and_only_while_it_is_open() {
    let central = central();
    central.open_approval(&request("a", 1), &[], at(0)).unwrap();
    let its = id::<ApprovalId>("ap-a");
    for n in 0..HELD_MAX {
        assert_eq!(
            central.hold_message(&its, &format!("m{n}"), &n.to_string()).unwrap(),
            Hold::Held
        );
    }
    assert_eq!(central.hold_message(&its, "m0", "0").unwrap(), Hold::Held, "again is the same");
    assert_eq!(central.hold_message(&its, "more", "x").unwrap(), Hold::Full);
    let waiting = central.held_messages(&its).unwrap();
    assert_eq!((waiting.len(), waiting[0].as_str()), (20, "0"));
    vote(&central, "a", "one", "approve", 1);
    assert_eq!(central.hold_message(&its, "late", "x").unwrap(), Hold::Closed);
    assert_eq!(central.drop_held(&its).unwrap(), 20);
}

#[test]
fn lines_go_out_in_order_per_address_and_are_tried_again() {
    let central = central();
    let line = |key: &str, who: &str| NewMail {
        key: key.into(),
        to: Address { channel_type: id("x"), platform_id: id(who), thread_id: None },
        body: key.into(),
    };
    for (key, who) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
        assert!(central.put_mail(&line(key, who), at(0)).unwrap());
    }
    assert!(!central.put_mail(&line("a1", "elsewhere"), at(0)).unwrap(), "once per key");
    let due = |ms| -> Vec<_> {
        central.due_mail(at(ms), 10).unwrap().into_iter().map(|m| m.key).collect()
    };
    assert_eq!(due(0), ["a1", "b1"]);
    assert_eq!(central.begin_mail("a1", at(1)).unwrap(), (1, at(1)));
    central.finish_mail("a1", &Ended::Retry(at(500), "down".into()), at(2)).unwrap();
    assert_eq!((due(100), central.next_mail(at(100)).unwrap()), (vec!["b1".into()], Some(at(500))));
    assert_eq!(central.begin_mail("a1", at(500)).unwrap(), (2, at(1)));
    let shown: nanoclaw_contract::ids::PlatformMessageId = id("shown-1");
    central.finish_mail("a1", &Ended::Sent(Some(shown.clone())), at(501)).unwrap();
    assert_eq!(central.mail("a1").unwrap().unwrap().platform_message_id, Some(shown));
    assert!(central.begin_mail("a1", at(502)).is_err(), "it is not sent again");
    assert_eq!(due(600), ["a2", "b1"]);
    central.finish_mail("b1", &Ended::Dead("gone".into()), at(700)).unwrap();
    assert_eq!(central.dead_mail().unwrap().len(), 1);
    assert_eq!(central.revive_mail(Some("b1"), at(800)).unwrap(), 1);
    assert_eq!(due(800), ["a2", "b1"]);
    for n in 0..998 {
        central.put_mail(&line(&format!("f{n}"), "a"), at(0)).unwrap();
    }
    central.put_mail(&line("f998", "a"), at(0)).unwrap();
    assert!(matches!(central.put_mail(&line("f999", "a"), at(0)), Err(Error::Refused(_))));
}

#[test]
fn roles_and_memberships_follow_the_person() {
    let central = central();
    let users: Vec<UserId> = ["a:1", "b:1", "c:1", "d:1"].map(id).into();
    for user in &users {
        central.upsert_user(user, "x", None, at(0)).unwrap();
    }
    let [a, b, c, d] = users.as_slice() else { panic!() };
    central.create_agent(&agent("x")).unwrap();
    central.grant_role(a, Role::Owner, None, None, at(0)).unwrap();
    central.add_member(c, &id("ag-x"), None, at(0)).unwrap();
    assert!(central.roles_of(b).unwrap().is_empty());
    central.link_users(a, b, at(0)).unwrap();
    central.link_users(c, d, at(0)).unwrap();
    assert_eq!(central.roles_of(b).unwrap(), [(Role::Owner, None)]);
    assert!(!central.is_member(b, &id("ag-x")).unwrap());
    central.link_users(d, b, at(0)).unwrap();
    assert_eq!(central.identities_of(c).unwrap(), users);
    assert!(central.is_member(a, &id("ag-x")).unwrap());
    assert_eq!(central.person_of(a).unwrap(), central.person_of(d).unwrap());
    assert!(central.unlink_user(a).unwrap());
    assert!(central.roles_of(b).unwrap().is_empty());
    assert_ne!(central.person_of(a).unwrap(), central.person_of(d).unwrap());
    // Who left does not come back with somebody else's link.
    let e: UserId = id("e:1");
    central.upsert_user(&e, "x", None, at(0)).unwrap();
    central.link_users(a, &e, at(0)).unwrap();
    assert!(central.roles_of(d).unwrap().is_empty());
    assert!(central.link_users(a, &id("nobody:1"), at(0)).is_err());
}

#[test]
fn long_messages_of_strangers_do_not_fill_the_disk() {
    let central = central();
    central.open_approval(&request("a", 1), &[], at(0)).unwrap();
    let (its, long) = (id::<ApprovalId>("ap-a"), "ü".repeat(1_600_000));
    for (name, held) in [("m1", Hold::Held), ("m2", Hold::Held), ("m3", Hold::Full)] {
        assert_eq!(central.hold_message(&its, name, &long).unwrap(), held, "{name}");
    }
    assert_eq!(central.hold_message(&its, "short", "x").unwrap(), Hold::Held);
}
