//! What goes with an agent or a chat, and what stays.

use super::*;
use nanoclaw_contract::ids::UserId;

/// Everything that can refer to an agent and a chat, twice.
fn full() -> Central {
    let c = home();
    let eve: UserId = id("cli:eve");
    c.upsert_user(&eve, "cli", None, at(0)).unwrap();
    for name in ["a", "b"] {
        let (agent, chat) = (id(&format!("ag-{name}")), id(&format!("mg-{name}")));
        if c.chat(&chat).unwrap().is_none() {
            c.create_chat(&super::chat(name)).unwrap();
        }
        c.grant_role(&eve, Role::Admin, Some(&agent), None, at(0)).unwrap();
        c.add_member(&eve, &agent, None, at(0)).unwrap();
        let session = session(&format!("sess-{name}"), name, Some(name), None, 1);
        c.create_session(&session).unwrap();
        c.set_due(&session.id, Some(at(5))).unwrap();
        c.wake_failed(&session.id, "no", at(0)).unwrap();
        let other = DestinationTarget::Agent(id(if name == "a" { "ag-b" } else { "ag-a" }));
        c.add_destination(&agent, "other", &other, at(0)).unwrap();
    }
    c
}

#[test]
fn an_agent_goes_with_all_that_is_its_own() {
    let c = full();
    let gone = Removed::Agent(id("ag-a"));
    assert_eq!(c.retire(&gone, at(1)).unwrap(), ["s", "sess-a"].map(id::<SessionId>));
    assert!(c.quarantined(&id("sess-a")).unwrap().is_some());
    assert!(!c.session(&id("sess-a")).unwrap().unwrap().active);
    assert!(c.session(&id("sess-b")).unwrap().unwrap().active);
    assert!(c.stored_destinations().unwrap().iter().all(|d| d.target_id != "ag-a"));
    assert!(c.remove(&gone).unwrap());
    assert!(!c.remove(&gone).unwrap(), "removed twice");
    assert_eq!(c.agents().unwrap().len(), 1);
    assert_eq!(c.config(&id("ag-a")).unwrap(), None);
    assert_eq!(c.sessions(10, 0).unwrap().len(), 1);
    assert_eq!((c.roles().unwrap().len(), c.member_rows().unwrap().len()), (1, 1));
    assert_eq!(c.wake_failures().unwrap().len(), 1);
    assert_eq!(c.users().unwrap().len(), 1, "people stay");
    assert!(c.chat(&id("mg-a")).unwrap().is_some(), "chats stay");
}

#[test]
fn a_chat_goes_with_its_sessions() {
    let c = full();
    c.put_user_dm(&id("cli:eve"), &id("cli"), &id("mg-a"), at(0)).unwrap();
    assert_eq!(c.dm_rows().unwrap().len(), 1);
    let gone = Removed::Chat(id("mg-a"));
    assert_eq!(c.retire(&gone, at(1)).unwrap(), [id::<SessionId>("sess-a")]);
    assert!(c.remove(&gone).unwrap());
    assert_eq!(c.chat(&id("mg-a")).unwrap(), None);
    assert_eq!(c.dm_rows().unwrap(), []);
    assert_eq!(c.agents().unwrap().len(), 2, "agents stay");
    assert!(c.wirings().unwrap().into_iter().flatten().all(|w| w.chat != id("mg-a")));
    assert!(c.stored_destinations().unwrap().iter().all(|d| d.target_id != "mg-a"));
}
