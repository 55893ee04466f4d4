//! People (`users`), what they may do (`user_roles`, `agent_group_members`) and where they are reached
//! directly (`user_dms`).
//!
//! A role without an agent counts everywhere. Owners are always global.

use crate::identities::same_person;
use crate::{Central, Error, Result};
use nanoclaw_contract::ids::{AgentId, ChannelType, ChatId, UserId};
use nanoclaw_contract::time::{Timestamp, iso};
use nanoclaw_contract::words;
use rusqlite::params;

words! {
    /// What somebody may do.
    Role {
        /// Everything.
        Owner = "owner",
        /// Run an agent, or all of them.
        Admin = "admin",
    }
}

stored! {
    /// A person.
    User = "users" {
        /// Their id.
        id: UserId,
        /// The platform they were met on.
        kind: String,
        /// What people call them.
        name: Option<String> = "display_name",
        /// When they were first met.
        created_at: String,
    }
}

stored! {
    /// A role as granted.
    RoleRow = "user_roles" {
        /// Who has it.
        user: UserId = "user_id",
        /// Which.
        role: Role,
        /// For which agent; none: all.
        agent: Option<AgentId> = "agent_group_id",
        /// Who gave it.
        granted_by: Option<UserId>,
        /// When.
        granted_at: String,
    }
}

stored! {
    /// A membership as given.
    MemberRow = "agent_group_members" {
        /// Who.
        user: UserId = "user_id",
        /// Of which agent.
        agent: AgentId = "agent_group_id",
        /// Who added them.
        added_by: Option<UserId>,
        /// When.
        added_at: String,
    }
}

stored! {
    /// Where a person is reached directly.
    DmRow = "user_dms" {
        /// Who.
        user: UserId = "user_id",
        /// On which channel.
        channel_type: ChannelType,
        /// In which chat.
        chat: ChatId = "messaging_group_id",
        /// Since when that is known.
        resolved_at: String,
    }
}

impl Central {
    /// Makes the person known. A known one only gets the name they lack.
    pub fn upsert_user(
        &self,
        id: &UserId,
        kind: &str,
        name: Option<&str>,
        now: Timestamp,
    ) -> Result<()> {
        let name = name.map(|n| crate::clip(n, crate::TEXT_BYTES_MAX));
        self.run(
            "save the person",
            "INSERT INTO users (id, kind, display_name, created_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (id) DO UPDATE SET display_name = excluded.display_name
             WHERE display_name IS NULL AND excluded.display_name IS NOT NULL",
            params![id, kind, name, iso(now)],
        )
        .map(drop)
    }

    /// The person with this id.
    pub fn user(&self, id: &UserId) -> Result<Option<User>> {
        self.get("WHERE id = ?1", [id])
    }

    /// Everybody, first met first.
    pub fn users(&self) -> Result<Vec<User>> {
        self.all("ORDER BY created_at, id", [])
    }

    /// What a person may do, under any of their identities, and for which agent. Unknown roles count for nothing.
    pub fn roles_of(&self, id: &UserId) -> Result<Vec<(Role, Option<AgentId>)>> {
        let sql = concat!(
            "SELECT role, agent_group_id FROM user_roles WHERE user_id IN ",
            same_person!(),
            " ORDER BY granted_at, rowid"
        );
        self.list("user_roles", sql, [id], |r| Ok((r.get(0)?, r.get(1)?)))
    }

    /// Every role, first granted first.
    pub fn roles(&self) -> Result<Vec<RoleRow>> {
        self.all("ORDER BY granted_at, user_id", [])
    }

    /// Who has this role for exactly this agent, or everywhere; first granted first.
    pub fn holders(&self, role: Role, agent: Option<&AgentId>) -> Result<Vec<UserId>> {
        let sql = "SELECT user_id FROM user_roles WHERE role = ?1 AND agent_group_id IS ?2
                   GROUP BY user_id ORDER BY MIN(granted_at), user_id";
        self.list("user_roles", sql, params![role, agent], |r| r.get(0))
    }

    /// Who owns this install.
    pub fn owners(&self) -> Result<Vec<UserId>> {
        self.holders(Role::Owner, None)
    }

    /// Gives a role; false if the person has it already.
    pub fn grant_role(
        &self,
        user: &UserId,
        role: Role,
        agent: Option<&AgentId>,
        by: Option<&UserId>,
        now: Timestamp,
    ) -> Result<bool> {
        if role == Role::Owner && agent.is_some() {
            return Err(Error::Refused(
                "an owner owns everything: grant owner without an agent, or grant admin".into(),
            ));
        }
        // The table's key does not stop doubles where the agent is null.
        let sql = "INSERT INTO user_roles (user_id, role, agent_group_id, granted_by, granted_at)
                   SELECT ?1, ?2, ?3, ?4, ?5 WHERE NOT EXISTS (SELECT 1 FROM user_roles
                     WHERE user_id = ?1 AND role = ?2 AND agent_group_id IS ?3)";
        Ok(self.run("grant the role", sql, params![user, role, agent, by, iso(now)])? > 0)
    }

    /// Takes a role; false if the person did not have it.
    pub fn revoke_role(&self, user: &UserId, role: Role, agent: Option<&AgentId>) -> Result<bool> {
        let sql = "DELETE FROM user_roles
                   WHERE user_id = ?1 AND role = ?2 AND agent_group_id IS ?3";
        Ok(self.run("revoke the role", sql, params![user, role, agent])? > 0)
    }

    /// Whether the person was made a member of this agent, under any of their identities. Roles are not looked at.
    pub fn is_member(&self, user: &UserId, agent: &AgentId) -> Result<bool> {
        let sql = concat!(
            "SELECT 1 FROM agent_group_members WHERE agent_group_id = ?2 AND user_id IN ",
            same_person!()
        );
        self.any("look for the member", sql, params![user, agent])
    }

    /// Makes the person a member; false if they are one already.
    pub fn add_member(
        &self,
        user: &UserId,
        agent: &AgentId,
        by: Option<&UserId>,
        now: Timestamp,
    ) -> Result<bool> {
        let sql = "INSERT INTO agent_group_members (user_id, agent_group_id, added_by, added_at)
                   VALUES (?1, ?2, ?3, ?4) ON CONFLICT (user_id, agent_group_id) DO NOTHING";
        Ok(self.run("add the member", sql, params![user, agent, by, iso(now)])? > 0)
    }

    /// Ends a membership; false if there was none.
    pub fn remove_member(&self, user: &UserId, agent: &AgentId) -> Result<bool> {
        let sql = "DELETE FROM agent_group_members WHERE user_id = ?1 AND agent_group_id = ?2";
        Ok(self.run("remove the member", sql, params![user, agent])? > 0)
    }

    /// Every membership, first added first.
    pub fn member_rows(&self) -> Result<Vec<MemberRow>> {
        self.all("ORDER BY added_at, user_id, agent_group_id", [])
    }

    /// Every direct chat that was ever found.
    pub fn dm_rows(&self) -> Result<Vec<DmRow>> {
        self.all("ORDER BY user_id, channel_type", [])
    }

    /// Says what people call somebody; false if nobody has this id.
    pub fn rename_user(&self, id: &UserId, name: Option<&str>) -> Result<bool> {
        let name = name.map(|n| crate::clip(n, crate::TEXT_BYTES_MAX));
        let sql = "UPDATE users SET display_name = ?2 WHERE id = ?1";
        Ok(self.run("rename the person", sql, params![id, name])? > 0)
    }

    /// The direct chat with a person on a platform, if it was ever found.
    pub fn user_dm(&self, user: &UserId, channel: &ChannelType) -> Result<Option<ChatId>> {
        let sql =
            "SELECT messaging_group_id FROM user_dms WHERE user_id = ?1 AND channel_type = ?2";
        self.one("read the direct chat", sql, params![user, channel], |r| r.get(0))
    }

    /// Remembers the direct chat with a person.
    pub fn put_user_dm(
        &self,
        user: &UserId,
        channel: &ChannelType,
        chat: &ChatId,
        now: Timestamp,
    ) -> Result<()> {
        self.run(
            "save the direct chat",
            "INSERT INTO user_dms (user_id, channel_type, messaging_group_id, resolved_at)
             VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (user_id, channel_type) DO UPDATE SET messaging_group_id = ?3, resolved_at = ?4",
            params![user, channel, chat, iso(now)],
        )
        .map(drop)
    }
}
