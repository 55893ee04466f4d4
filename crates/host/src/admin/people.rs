//! `ncl users`, `roles`, `members`, `denied-senders` and `user-dms`.

use super::given::{self, Answer, No, maybe, need, page, parse, text};
use crate::Host;
use nanoclaw_admin::args::Args;
use nanoclaw_admin::table::Verb;
use nanoclaw_central::{Role, User};
use nanoclaw_contract::ids::{AgentId, ChannelType, ChatId, UserId};
use nanoclaw_contract::time::{Timestamp, iso};
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) fn act(host: &Arc<Host>, verb: &Verb, args: &Args) -> Answer {
    match (verb.resource, verb.verb) {
        ("users", "list") => {
            let users = host.central.users()?;
            Ok(page(verb, args, users.iter().map(|u| user_row(host, u)).collect()))
        }
        ("users", "create") => create(host, args),
        ("users", "update") => {
            let id = user(host, args, "id")?.id;
            let name = text(args, "display_name").map(|_| given::name(args, "display_name"));
            host.central.rename_user(&id, name.transpose()?.as_deref())?;
            Ok(user_row(host, &user(host, args, "id")?))
        }
        ("users", "link") => {
            let (id, to) = (user(host, args, "id")?.id, user(host, args, "to")?.id);
            host.central.link_users(&id, &to, host.clock.now())?;
            Ok(json!({"linked": host.central.identities_of(&id)?}))
        }
        ("users", "unlink") => {
            let id = user(host, args, "id")?.id;
            match host.central.unlink_user(&id)? {
                true => Ok(json!({"unlinked": id})),
                false => Err(No::failed(format!("{id} is linked to nobody"))),
            }
        }
        ("users", _) => Ok(user_row(host, &user(host, args, "id")?)),
        ("roles", "list") => {
            let row = |r: &nanoclaw_central::RoleRow| {
                json!({"user_id": r.user, "role": r.role.as_str(), "agent_group_id": r.agent,
                       "granted_by": r.granted_by, "granted_at": r.granted_at})
            };
            Ok(page(verb, args, host.central.roles()?.iter().map(row).collect()))
        }
        ("roles", _) => role(host, verb.verb == "grant", args),
        ("members", "list") => {
            let row = |m: &nanoclaw_central::MemberRow| {
                json!({"user_id": m.user, "agent_group_id": m.agent, "added_by": m.added_by,
                       "added_at": m.added_at})
            };
            Ok(page(verb, args, host.central.member_rows()?.iter().map(row).collect()))
        }
        ("denied-senders", "list") => {
            let row = |(chat, agent, user, until): &(ChatId, AgentId, UserId, Timestamp)| {
                json!({"user_id": user, "messaging_group_id": chat, "agent_group_id": agent,
                       "until": iso(*until)})
            };
            let now = host.clock.now();
            let denied = host.central.denied_senders()?;
            let rows = denied.iter().filter(|d| d.3 > now).map(row).collect();
            Ok(page(verb, args, rows))
        }
        ("denied-senders", _) => {
            let id: UserId = parse(args, "user")?;
            match host.central.undo_denial(&id)? {
                0 => Err(No::missing("denied sender", id.as_str(), "denied-senders")),
                n => Ok(json!({"user_id": id, "undone": n})),
            }
        }
        ("members", _) => member(host, verb.verb == "add", args),
        _ => {
            let row = |d: &nanoclaw_central::DmRow| {
                json!({"user_id": d.user, "channel_type": d.channel_type,
                       "messaging_group_id": d.chat, "resolved_at": d.resolved_at})
            };
            Ok(page(verb, args, host.central.dm_rows()?.iter().map(row).collect()))
        }
    }
}

fn user_row(host: &Host, u: &User) -> Value {
    // What cannot be read is one person less linked, no reason to show nobody.
    let person = host.central.person_of(&u.id).ok().filter(|p| p != u.id.as_str());
    json!({"id": u.id, "kind": u.kind, "display_name": u.name, "person": person,
           "created_at": u.created_at})
}

/// The person that an argument names.
fn user(host: &Host, args: &Args, name: &str) -> Result<User, No> {
    let id: UserId = parse(args, name)?;
    host.central.user(&id)?.ok_or_else(|| No::missing("user", id.as_str(), "users"))
}

/// The agent that an argument names, if there is one.
fn agent(host: &Host, args: &Args) -> Result<Option<AgentId>, No> {
    let id: Option<AgentId> = maybe(args, "group")?;
    match id {
        Some(id) if host.central.agent(&id)?.is_none() => {
            Err(No::missing("group", id.as_str(), "groups"))
        }
        id => Ok(id),
    }
}

fn create(host: &Arc<Host>, args: &Args) -> Answer {
    let id: UserId = parse(args, "id")?;
    let channel = id.as_str().split_once(':').filter(|(_, handle)| !handle.is_empty());
    let Some(channel) = channel.and_then(|(c, _)| ChannelType::parse(c).ok()) else {
        return Err(No::bad("a person is named channel:handle"));
    };
    let kind: ChannelType = maybe(args, "kind")?.unwrap_or(channel);
    if host.central.user(&id)?.is_some() {
        return Err(No::failed(format!("{id} is known already")));
    }
    let name = text(args, "display_name").map(|_| given::name(args, "display_name")).transpose()?;
    host.central.upsert_user(&id, kind.as_str(), name.as_deref(), host.clock.now())?;
    Ok(user_row(host, &user(host, args, "id")?))
}

fn role(host: &Arc<Host>, grant: bool, args: &Args) -> Answer {
    let (id, group) = (user(host, args, "user")?.id, agent(host, args)?);
    let word = need(args, "role")?;
    let Some(role) = Role::parse(word) else { return Err(No::bad("--role takes owner or admin")) };
    let row = json!({"user_id": id, "role": word, "agent_group_id": group});
    if grant {
        let by = text(args, "by").map(|_| user(host, args, "by")).transpose()?.map(|u| u.id);
        host.central.grant_role(&id, role, group.as_ref(), by.as_ref(), host.clock.now())?;
        return Ok(json!({"granted": row}));
    }
    match host.central.revoke_role(&id, role, group.as_ref())? {
        true => Ok(json!({"revoked": row})),
        false => Err(No::missing("role", &format!("{word} of {id}"), "roles")),
    }
}

fn member(host: &Arc<Host>, add: bool, args: &Args) -> Answer {
    let id = user(host, args, "user")?.id;
    let group = agent(host, args)?.ok_or_else(|| No::bad("--group is required"))?;
    let row = json!({"user_id": id, "agent_group_id": group});
    if add {
        let by = text(args, "by").map(|_| user(host, args, "by")).transpose()?.map(|u| u.id);
        host.central.add_member(&id, &group, by.as_ref(), host.clock.now())?;
        return Ok(json!({"added": row}));
    }
    match host.central.remove_member(&id, &group)? {
        true => Ok(json!({"removed": row})),
        false => Err(No::missing("member", id.as_str(), "members list")),
    }
}
