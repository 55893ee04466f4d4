//! People, roles, members, direct chats and dropped messages.

use super::*;
use nanoclaw_contract::ids::UserId;

fn eve(c: &Central) -> UserId {
    let eve = id("cli:eve");
    c.upsert_user(&eve, "cli", None, at(0)).unwrap();
    eve
}

#[test]
fn a_person_is_met_once_and_named_once() {
    let c = home();
    let eve = eve(&c);
    for (given, kept) in [(None, None), (Some("Eve"), Some("Eve")), (Some("Mallory"), Some("Eve"))]
    {
        c.upsert_user(&eve, "other", given, at(5)).unwrap();
        let user = c.user(&eve).unwrap().unwrap();
        assert_eq!((user.kind.as_str(), user.name.as_deref()), ("cli", kept));
        assert_eq!(user.created_at, iso(at(0)));
    }
    c.upsert_user(&id("cli:long"), "cli", Some(&"é".repeat(5000)), at(0)).unwrap();
    assert_eq!(c.user(&id("cli:long")).unwrap().unwrap().name.unwrap().len(), 2000);
    assert_eq!(c.users().unwrap().len(), 2);
    assert_eq!(c.user(&id("cli:nobody")).unwrap(), None);
}

#[test]
fn roles_are_granted_once_and_owners_are_global() {
    let c = home();
    let (eve, a, b) = (eve(&c), id("ag-a"), id("ag-b"));
    assert_eq!(c.owners().unwrap(), []);
    for (first, role, agent) in [
        (true, Role::Owner, None),
        (false, Role::Owner, None),
        (true, Role::Admin, Some(&a)),
        (false, Role::Admin, Some(&a)),
        (true, Role::Admin, None),
    ] {
        assert_eq!(c.grant_role(&eve, role, agent, None, at(0)).unwrap(), first);
    }
    assert_eq!(c.roles().unwrap().len(), 3);
    assert_eq!(c.owners().unwrap(), std::slice::from_ref(&eve));
    assert_eq!(c.holders(Role::Admin, Some(&a)).unwrap(), std::slice::from_ref(&eve));
    assert_eq!(c.holders(Role::Admin, Some(&b)).unwrap(), []);
    assert!(
        refusal(c.grant_role(&eve, Role::Owner, Some(&a), None, at(0))).contains("owns everything")
    );
    assert!(
        refusal(c.grant_role(&id("cli:x"), Role::Owner, None, None, at(0))).contains("FOREIGN KEY")
    );
    assert!(c.revoke_role(&eve, Role::Owner, None).unwrap());
    assert!(!c.revoke_role(&eve, Role::Owner, None).unwrap());
    assert_eq!(c.roles_of(&eve).unwrap(), [(Role::Admin, Some(a)), (Role::Admin, None)]);
}

#[test]
fn doubled_global_grants_of_v2_are_one_owner_and_unknown_roles_none() {
    let c = home();
    let eve = eve(&c);
    sql(
        &c,
        "INSERT INTO user_roles VALUES ('cli:eve', 'owner', NULL, NULL, '1');
             INSERT INTO user_roles VALUES ('cli:eve', 'owner', NULL, NULL, '2');
             INSERT INTO user_roles VALUES ('cli:eve', 'god', NULL, NULL, '3');",
    );
    assert_eq!(c.owners().unwrap(), std::slice::from_ref(&eve));
    assert_eq!(c.roles_of(&eve).unwrap(), [(Role::Owner, None), (Role::Owner, None)]);
    assert!(c.revoke_role(&eve, Role::Owner, None).unwrap());
    assert_eq!(c.owners().unwrap(), []);
}

#[test]
fn members_are_of_one_agent() {
    let c = home();
    let (eve, a) = (eve(&c), id("ag-a"));
    assert!(c.add_member(&eve, &a, None, at(0)).unwrap());
    assert!(!c.add_member(&eve, &a, None, at(0)).unwrap());
    assert!(c.is_member(&eve, &a).unwrap() && !c.is_member(&eve, &id("ag-b")).unwrap());
    assert_eq!(c.member_rows().unwrap().len(), 1);
    assert!(c.remove_member(&eve, &a).unwrap() && !c.remove_member(&eve, &a).unwrap());
    assert!(refusal(c.add_member(&eve, &id("ag-x"), None, at(0))).contains("FOREIGN KEY"));
}

#[test]
fn a_direct_chat_is_remembered_and_replaced() {
    let c = home();
    let (eve, cli) = (eve(&c), id("cli"));
    assert_eq!(c.user_dm(&eve, &cli).unwrap(), None);
    for chat in ["mg-one", "mg-two"] {
        c.put_user_dm(&eve, &cli, &id(chat), at(0)).unwrap();
        assert_eq!(c.user_dm(&eve, &cli).unwrap(), Some(id(chat)));
    }
}

#[test]
fn drops_are_counted_per_chat() {
    let c = home();
    let (channel_type, platform_id, eve, a) = (id("cli"), id("p"), eve(&c), id("ag-a"));
    let first = Dropped {
        channel_type: &channel_type,
        platform_id: &platform_id,
        user: Some(&eve),
        sender_name: Some("Eve"),
        reason: "no_agent_wired",
        chat: None,
        agent: Some(&a),
    };
    c.record_drop(&first, at(0)).unwrap();
    let later =
        Dropped { user: None, sender_name: None, reason: "no_agent_engaged", agent: None, ..first };
    c.record_drop(&later, at(7)).unwrap();
    let expected = DropRow {
        channel_type: id("cli"),
        platform_id: id("p"),
        user: Some("cli:eve".into()),
        sender_name: Some("Eve".into()),
        reason: "no_agent_engaged".into(),
        chat: None,
        agent: Some("ag-a".into()),
        count: 2,
        first_seen: iso(at(0)),
        last_seen: iso(at(7)),
    };
    assert_eq!(c.drops().unwrap(), [expected]);
}
