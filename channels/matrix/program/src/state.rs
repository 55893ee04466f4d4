//! Small things to remember, in the client's own encrypted store.

use matrix_sdk::Client;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Values under keys.
pub(crate) struct State(pub(crate) Client);

impl State {
    /// What is under a key, if it is there and of this kind.
    pub(crate) async fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let value = self.0.state_store().get_custom_value(key.as_bytes()).await;
        let value = value.inspect_err(|e| tracing::warn!("{key} was not read: {e}")).ok()??;
        serde_json::from_slice(&value).ok()
    }

    /// Puts a value under a key.
    pub(crate) async fn put<T: Serialize>(&self, key: &str, value: &T) -> Result<(), String> {
        let bytes = serde_json::to_vec(value).map_err(|e| e.to_string())?;
        let put = self.0.state_store().set_custom_value_no_read(key.as_bytes(), bytes).await;
        put.map_err(|e| format!("the store of the Matrix account: {e}"))
    }
}
