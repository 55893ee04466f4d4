//! Messages whose key did not arrive: kept until it does; and the room is told, once.

use crate::Matrix;
use matrix_sdk::deserialized_responses::TimelineEvent;
use matrix_sdk::ruma::{EventId, RoomId};
use matrix_sdk::{Room, RoomState};
use nanoclaw_channel::time::{Clock as _, SystemClock};
use nanoclaw_channel_matrix::compose;
use serde::{Deserialize, Serialize};

/// Most that are kept.
const KEPT_MAX: usize = 500;

/// How long a key is waited for before the room is told, and before the message is given up, in seconds.
const TOLD_AFTER: i64 = 20;
const GIVEN_UP_AFTER: i64 = 14 * 86_400;

const TEXT: &str = "I could not read a message here, because its key did not reach me. I will read it when \
    the key arrives; to be sure, please send it again.";

#[derive(Serialize, Deserialize)]
struct Unread {
    room: String,
    event: String,
    since: i64,
    told: bool,
}

impl Matrix {
    /// Keeps a message that cannot be read.
    pub(crate) async fn keep_unread(&self, room: &Room, event: &TimelineEvent) {
        let (Some(event), now) = (event.event_id(), SystemClock.now().as_second()) else { return };
        let mut all: Vec<Unread> = self.state.get("unread").await.unwrap_or_default();
        if all.iter().any(|kept| kept.event == event.as_str()) {
            return;
        }
        if all.len() >= KEPT_MAX {
            all.remove(0);
        }
        let (room, event) = (room.room_id().to_string(), event.to_string());
        all.push(Unread { room, event, since: now, told: false });
        self.keep(&all).await;
    }

    /// Reads what can be read by now.
    pub(crate) async fn hear_late(&self) {
        let all: Vec<Unread> = self.state.get("unread").await.unwrap_or_default();
        if all.is_empty() {
            return;
        }
        let now = SystemClock.now().as_second();
        let mut left: Vec<Unread> = Vec::new();
        for mut unread in all {
            let room = RoomId::parse(&unread.room).ok().and_then(|id| self.client.get_room(&id));
            let Some(room) = room.filter(|room| room.state() == RoomState::Joined) else {
                continue;
            };
            if self.hear_again(&room, &unread.event).await || now - unread.since > GIVEN_UP_AFTER {
                continue;
            }
            let others = left.iter().any(|other| other.room == unread.room && other.told);
            if !unread.told && now - unread.since >= TOLD_AFTER {
                unread.told = others || self.tell(&room, &unread.event).await;
            }
            left.push(unread);
        }
        self.keep(&left).await;
    }

    async fn hear_again(&self, room: &Room, event: &str) -> bool {
        let Ok(id) = EventId::parse(event) else { return true };
        match room.event(&id, None).await {
            Ok(event) if !event.kind.is_utd() => {
                self.happened(room, &event).await;
                true
            }
            _ => false,
        }
    }

    async fn tell(&self, room: &Room, event: &str) -> bool {
        for content in compose::plain(TEXT) {
            if let Err(e) =
                self.put(room, "m.room.message", content, &format!("unread-{event}")).await
            {
                tracing::warn!("{e}");
                return false;
            }
        }
        true
    }

    async fn keep(&self, all: &Vec<Unread>) {
        self.state.put("unread", all).await.inspect_err(|e| tracing::warn!("{e}")).ok();
    }
}
