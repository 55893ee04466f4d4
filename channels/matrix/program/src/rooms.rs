//! Which room is which chat.
//!
//! A room is the direct chat with somebody when the account says so (`m.direct`, set when an invitation was
//! meant so), or when it has no name and never had more than two people. If somebody has several, the agent
//! answers in the one they used last.

use crate::Matrix;
use crate::send::sort;
use matrix_sdk::ruma::events::room::member::MembershipState;
use matrix_sdk::ruma::{RoomId, UserId};
use matrix_sdk::{Room, RoomMemberships, RoomState};
use nanoclaw_channel::{PlatformId, SendError};
use nanoclaw_channel_matrix::ids::Chat;
use std::sync::atomic::Ordering;

impl Matrix {
    /// What chat a room is.
    pub(crate) async fn chat_of(&self, room: &Room) -> Chat {
        let id = room.room_id().as_str();
        match self.person_of(room).await {
            Some(person) => {
                let key = format!("dm:{person}");
                if self.state.get::<String>(&key).await.as_deref() != Some(id)
                    && let Err(e) = self.state.put(&key, &id).await
                {
                    tracing::warn!("{e}");
                }
                Chat::Person(person)
            }
            None => Chat::Room(id.to_owned()),
        }
    }

    /// With whom a room is the direct chat.
    async fn person_of(&self, room: &Room) -> Option<String> {
        let group = format!("group:{}", room.room_id());
        if room.active_members_count() > 2 {
            // It stays a group when people leave.
            if self.state.get::<bool>(&group).await.is_none() {
                self.state.put(&group, &true).await.inspect_err(|e| tracing::warn!("{e}")).ok();
            }
            return None;
        }
        let targets = room.direct_targets();
        if let (1, Some(target)) = (targets.len(), targets.iter().next())
            && let Ok(target) = UserId::parse(target.as_str())
            && !has_left(room, &target).await
        {
            return Some(target.to_string());
        }
        let named = room.name().is_some() || room.canonical_alias().is_some();
        if named || self.state.get::<bool>(&group).await.is_some() {
            return None;
        }
        let members = match room.members(RoomMemberships::ACTIVE).await {
            Ok(members) => members,
            // The homeserver is away: what is known of the room already.
            Err(_) => room.members_no_sync(RoomMemberships::ACTIVE).await.ok()?,
        };
        let mut others = members.iter().filter(|member| member.user_id() != self.me);
        match (others.next(), others.next()) {
            (Some(one), None) => Some(one.user_id().to_string()),
            _ => None,
        }
    }

    /// The room of a chat; a direct chat is opened if need be.
    pub(crate) async fn room_of(&self, chat: &PlatformId) -> Result<Room, SendError> {
        let reject = |why: String| SendError::Reject { why };
        match Chat::parse(chat) {
            None => Err(reject(format!("{chat} is no Matrix chat"))),
            Some(Chat::Room(id)) => {
                let id = RoomId::parse(&id).map_err(|e| reject(format!("{id}: {e}")))?;
                self.joined(&id).ok_or_else(|| self.unknown(&format!("the room {id}")))
            }
            Some(Chat::Person(user)) => {
                let user = UserId::parse(&user).map_err(|e| reject(format!("{user}: {e}")))?;
                self.direct(&user).await
            }
        }
    }

    fn joined(&self, id: &RoomId) -> Option<Room> {
        self.client.get_room(id).filter(|room| room.state() == RoomState::Joined)
    }

    fn unknown(&self, what: &str) -> SendError {
        if self.synced.load(Ordering::Relaxed) {
            let why = format!("the agent is not in {what}; invite it there again");
            SendError::Reject { why }
        } else {
            SendError::Retry { after: None, why: "the rooms are still being read".to_owned() }
        }
    }

    async fn direct(&self, user: &UserId) -> Result<Room, SendError> {
        let last: Option<String> = self.state.get(&format!("dm:{user}")).await;
        let last = last.and_then(|id| self.joined(&RoomId::parse(id).ok()?));
        let joined = |room: &Room| room.state() == RoomState::Joined;
        for room in last.into_iter().chain(self.client.get_dm_rooms(user).filter(joined)) {
            // Others may have come, and the person may have left: what is for one is for nobody else.
            if self.person_of(&room).await.as_deref() == Some(user.as_str()) {
                return Ok(room);
            }
        }
        if !self.synced.load(Ordering::Relaxed) {
            return Err(self.unknown(""));
        }
        if user == self.me {
            return Err(SendError::Reject { why: "the agent cannot write to itself".to_owned() });
        }
        let room = self.client.create_dm(user).await.map_err(|e| sort(&e))?;
        let kept = self.state.put(&format!("dm:{user}"), &room.room_id()).await;
        kept.map_err(|why| SendError::Retry { after: None, why })?;
        Ok(room)
    }

    /// What people call a chat.
    pub(crate) async fn name_of(&self, chat: &PlatformId) -> Option<String> {
        let room = match Chat::parse(chat)? {
            Chat::Room(id) => self.joined(&RoomId::parse(id).ok()?)?,
            Chat::Person(user) => {
                let id: String = self.state.get(&format!("dm:{user}")).await?;
                self.joined(&RoomId::parse(id).ok()?)?
            }
        };
        Some(room.display_name().await.ok()?.to_string())
    }
}

/// Whether somebody was in a room and is not any more.
async fn has_left(room: &Room, user: &UserId) -> bool {
    let member = room.get_member_no_sync(user).await.ok().flatten();
    member
        .is_some_and(|m| !matches!(m.membership(), MembershipState::Join | MembershipState::Invite))
}
