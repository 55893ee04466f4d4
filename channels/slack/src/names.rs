//! What people call people, asked once in a while.

use crate::api::Api;
use crate::wire::OneUser;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};

const NAMES_MAX: usize = 5_000;
const FRESH: Duration = Duration::from_secs(8 * 3600);
/// A name is worth this wait; a message is not held up longer for one.
const PATIENCE: Duration = Duration::from_secs(3);
/// After a failure, people go by their ids for so long.
const PAUSE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct Names(Mutex<HashMap<String, (Option<String>, Instant)>>);

impl Names {
    pub(crate) async fn of(&self, api: &Api, user: &str) -> Option<String> {
        let known = |names: &HashMap<String, (Option<String>, Instant)>| {
            names
                .get(user)
                .filter(|(_, until)| *until > Instant::now())
                .map(|(name, _)| name.clone())
        };
        if let Some(name) = known(&self.0.lock().unwrap_or_else(PoisonError::into_inner)) {
            return name;
        }
        let asked = timeout(PATIENCE, api.call::<OneUser>("users.info", &[("user", user)])).await;
        let (name, fresh) = match asked {
            Ok(Ok(OneUser { user })) => {
                let all =
                    [user.profile.display_name, user.profile.real_name, user.real_name, user.name];
                (all.into_iter().flatten().find(|name| !name.trim().is_empty()), FRESH)
            }
            _ => (None, PAUSE),
        };
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= NAMES_MAX {
            names.clear();
        }
        names.insert(user.to_owned(), (name.clone(), Instant::now() + fresh));
        name
    }
}
