use super::*;
use nanoclaw_central::UnknownSenderPolicy::{Public, RequestApproval, Strict};

fn here() -> AgentId {
    "ag-here".parse().unwrap()
}

fn other() -> AgentId {
    "ag-other".parse().unwrap()
}

fn user(roles: &[(Role, Option<AgentId>)], member: bool) -> UserFacts {
    UserFacts { roles: roles.to_vec(), member }
}

#[test]
fn standing_comes_from_roles_and_membership() {
    for (user, is, admin) in [
        (None, Err("unknown_user"), false),
        (Some(user(&[], false)), Err("not_member"), false),
        (Some(user(&[], true)), Ok("member"), false),
        (Some(user(&[(Role::Owner, None)], false)), Ok("owner"), true),
        (Some(user(&[(Role::Admin, None)], false)), Ok("global_admin"), true),
        (Some(user(&[(Role::Admin, Some(here()))], false)), Ok("admin_of_group"), true),
        (Some(user(&[(Role::Admin, Some(other()))], false)), Err("not_member"), false),
        (Some(user(&[(Role::Admin, Some(other()))], true)), Ok("member"), false),
        // There is no owner of one agent; a row that says so gives nothing.
        (Some(user(&[(Role::Owner, Some(here()))], false)), Err("not_member"), false),
    ] {
        assert_eq!(standing(user.as_ref(), &here()), is, "{user:?}");
        assert_eq!(may_admin(user.as_ref(), &here()), admin, "{user:?}");
    }
}

#[test]
fn strangers_are_let_in_by_public_chats_only() {
    let (stranger, member) = (user(&[], false), user(&[], true));
    for (policy, who, is) in [
        (Public, None, Access::Allowed("public")),
        (Public, Some(&stranger), Access::Allowed("public")),
        (Strict, None, Access::Refused("unknown_sender_strict")),
        (Strict, Some(&stranger), Access::Refused("unknown_sender_strict")),
        (Strict, Some(&member), Access::Allowed("member")),
        (RequestApproval, None, Access::Refused("unknown_sender_request_approval")),
        (RequestApproval, Some(&stranger), Access::Refused("unknown_sender_request_approval")),
        (RequestApproval, Some(&member), Access::Allowed("member")),
    ] {
        assert_eq!(access(policy, who, &here()), is, "{policy} {who:?}");
    }
}

#[test]
fn scope_known_refuses_whom_the_agent_does_not_know() {
    let (stranger, member) = (user(&[], false), user(&[], true));
    for (of, who, is) in [
        (SenderScope::All, None, Access::Allowed("all")),
        (SenderScope::All, Some(&stranger), Access::Allowed("all")),
        (SenderScope::Known, None, Access::Refused("unknown_user_scope")),
        (SenderScope::Known, Some(&stranger), Access::Refused("sender_scope_not_member")),
        (SenderScope::Known, Some(&member), Access::Allowed("member")),
    ] {
        assert_eq!(scope(of, who, &here()), is, "{of} {who:?}");
    }
}
