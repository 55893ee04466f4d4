//! The five stores that WhatsApp's client asks for, as rows.

use super::{FOREVER, GAP, Row, Store, json, key, unjson};
use async_trait::async_trait;
use std::sync::Arc;
use whatsapp_rust::ClientProfile;
use whatsapp_rust::bytes::Bytes;
use whatsapp_rust::wacore::appstate::hash::HashState;
use whatsapp_rust::wacore::appstate::processor::AppStateMutationMAC;
use whatsapp_rust::wacore::store::Device;
use whatsapp_rust::wacore::store::device::DEVICE_PROPS;
use whatsapp_rust::wacore::store::error::{Result, StoreError};
use whatsapp_rust::wacore::store::traits::{
    AppStateSyncKey, AppSyncStore, DeviceListRecord, DeviceStore, LidPnMappingEntry,
    MsgSecretEntry, MsgSecretStore, PendingInboundKey, PendingInboundRow, ProtocolStore,
    SignalStore, TcTokenEntry, merge_msg_secret_expiry, merge_msg_secret_message_ts,
};
use whatsapp_rust::wacore::time::now_secs;

fn rows(space: &'static str, all: &[(Arc<str>, Bytes)]) -> Vec<Row> {
    all.iter().map(|(key, value)| Row::new(space, &**key, &value[..])).collect()
}

/// A number as a key that sorts.
fn id(id: u32) -> String {
    format!("{id:010}")
}

fn hex(bytes: &[u8]) -> String {
    nanoclaw_kit::sign::hex(bytes)
}

#[async_trait]
impl SignalStore for Store {
    async fn put_identity(&self, address: &str, key: [u8; 32]) -> Result<()> {
        self.put(vec![Row::new("identity", address, key)]).await
    }

    async fn put_identities_batch(&self, all: &[(Arc<str>, [u8; 32])]) -> Result<()> {
        self.put(all.iter().map(|(a, key)| Row::new("identity", &**a, *key)).collect()).await
    }

    async fn load_identity(&self, address: &str) -> Result<Option<[u8; 32]>> {
        let found = self.get("identity", address.into()).await?;
        let whole = |v: Vec<u8>| {
            v.try_into().map_err(|_| StoreError::Validation("an identity has 32 bytes".into()))
        };
        found.map(whole).transpose()
    }

    async fn delete_identity(&self, address: &str) -> Result<()> {
        self.delete("identity", vec![address.into()]).await
    }

    async fn get_session(&self, address: &str) -> Result<Option<Bytes>> {
        Ok(self.get("session", address.into()).await?.map(Bytes::from))
    }

    async fn put_session(&self, address: &str, session: &[u8]) -> Result<()> {
        self.put(vec![Row::new("session", address, session)]).await
    }

    async fn put_sessions_batch(&self, sessions: &[(Arc<str>, Bytes)]) -> Result<()> {
        self.put(rows("session", sessions)).await
    }

    async fn delete_session(&self, address: &str) -> Result<()> {
        self.delete("session", vec![address.into()]).await
    }

    async fn store_prekey(&self, at: u32, record: &[u8], _uploaded: bool) -> Result<()> {
        self.put(vec![Row::new("prekey", id(at), record)]).await
    }

    async fn store_prekeys_batch(&self, keys: &[(u32, Bytes)], _uploaded: bool) -> Result<()> {
        self.put(keys.iter().map(|(at, record)| Row::new("prekey", id(*at), &record[..])).collect())
            .await
    }

    async fn load_prekey(&self, at: u32) -> Result<Option<Bytes>> {
        Ok(self.get("prekey", id(at)).await?.map(Bytes::from))
    }

    async fn mark_prekeys_uploaded(&self, _ids: &[u32]) -> Result<()> {
        // What was uploaded is counted in the device itself; a key that was used up must stay away.
        Ok(())
    }

    async fn remove_prekey(&self, at: u32) -> Result<()> {
        self.delete("prekey", vec![id(at)]).await
    }

    async fn get_max_prekey_id(&self) -> Result<u32> {
        let all = self.scan("prekey", String::new()).await?;
        Ok(all.last().and_then(|(key, _)| key.parse().ok()).unwrap_or(0))
    }

    async fn store_signed_prekey(&self, at: u32, record: &[u8]) -> Result<()> {
        self.put(vec![Row::new("signed-prekey", id(at), record)]).await
    }

    async fn load_signed_prekey(&self, at: u32) -> Result<Option<Vec<u8>>> {
        self.get("signed-prekey", id(at)).await
    }

    async fn load_all_signed_prekeys(&self) -> Result<Vec<(u32, Vec<u8>)>> {
        let all = self.scan("signed-prekey", String::new()).await?;
        Ok(all.into_iter().filter_map(|(key, record)| Some((key.parse().ok()?, record))).collect())
    }

    async fn remove_signed_prekey(&self, at: u32) -> Result<()> {
        self.delete("signed-prekey", vec![id(at)]).await
    }

    async fn put_sender_key(&self, address: &str, record: &[u8]) -> Result<()> {
        self.put(vec![Row::new("sender-key", address, record)]).await
    }

    async fn put_sender_keys_batch(&self, all: &[(Arc<str>, Bytes)]) -> Result<()> {
        self.put(rows("sender-key", all)).await
    }

    async fn get_sender_key(&self, address: &str) -> Result<Option<Vec<u8>>> {
        self.get("sender-key", address.into()).await
    }

    async fn delete_sender_key(&self, address: &str) -> Result<()> {
        self.delete("sender-key", vec![address.into()]).await
    }
}

#[async_trait]
impl AppSyncStore for Store {
    async fn get_sync_key(&self, key_id: &[u8]) -> Result<Option<AppStateSyncKey>> {
        unjson(self.get("sync-key", hex(key_id)).await?)
    }

    async fn set_sync_key(&self, key_id: &[u8], value: AppStateSyncKey) -> Result<()> {
        let value = Row::new("sync-key", hex(key_id), json(&value)?);
        self.put(vec![value, Row::new("latest-sync-key", "", key_id)]).await
    }

    async fn get_version(&self, name: &str) -> Result<HashState> {
        Ok(unjson(self.get("sync-version", name.into()).await?)?.unwrap_or_default())
    }

    async fn set_version(&self, name: &str, state: HashState) -> Result<()> {
        self.put(vec![Row::new("sync-version", name, json(&state)?)]).await
    }

    async fn put_mutation_macs(
        &self,
        name: &str,
        _version: u64,
        mutations: &[AppStateMutationMAC],
    ) -> Result<()> {
        let row = |m: &AppStateMutationMAC| {
            Row::new("mutation", key(&[name, &hex(&m.index_mac)]), m.value_mac.clone())
        };
        self.put(mutations.iter().map(row).collect()).await
    }

    async fn get_mutation_mac(&self, name: &str, index_mac: &[u8]) -> Result<Option<Vec<u8>>> {
        self.get("mutation", key(&[name, &hex(index_mac)])).await
    }

    async fn delete_mutation_macs(&self, name: &str, index_macs: &[Vec<u8>]) -> Result<()> {
        self.delete("mutation", index_macs.iter().map(|mac| key(&[name, &hex(mac)])).collect())
            .await
    }

    async fn clear_mutation_macs(&self, name: &str) -> Result<()> {
        self.clear("mutation", name).await
    }

    async fn get_latest_sync_key_id(&self) -> Result<Option<Vec<u8>>> {
        self.get("latest-sync-key", String::new()).await
    }
}

impl Store {
    /// Deletes the rows below a name.
    async fn clear(&self, space: &'static str, name: &str) -> Result<()> {
        let below = self.scan(space, format!("{name}{GAP}")).await?;
        self.delete(space, below.into_iter().map(|(key, _)| key).collect()).await
    }
}

#[async_trait]
impl ProtocolStore for Store {
    async fn get_sender_key_devices(&self, group: &str) -> Result<Vec<(String, bool)>> {
        let all = self.scan("key-holder", format!("{group}{GAP}")).await?;
        let device = |key: String| key.split_once(GAP).map(|(_, device)| device.to_owned());
        Ok(all.into_iter().filter_map(|(key, has)| Some((device(key)?, has == [1]))).collect())
    }

    async fn set_sender_key_status(&self, group: &str, entries: &[(&str, bool)]) -> Result<()> {
        let row = |(device, has): &(&str, bool)| {
            Row::new("key-holder", key(&[group, device]), [u8::from(*has)])
        };
        self.put(entries.iter().map(row).collect()).await
    }

    async fn clear_sender_key_devices(&self, group: &str) -> Result<()> {
        self.clear("key-holder", group).await
    }

    async fn delete_sender_key_device_rows(&self, devices: &[&str]) -> Result<()> {
        let of =
            |key: &str| key.split_once(GAP).is_some_and(|(_, device)| devices.contains(&device));
        let all = self.scan("key-holder", String::new()).await?;
        self.delete(
            "key-holder",
            all.into_iter().map(|(key, _)| key).filter(|key| of(key)).collect(),
        )
        .await
    }

    async fn clear_all_sender_key_devices(&self) -> Result<()> {
        self.run(|db| db.execute("DELETE FROM device WHERE space = 'key-holder'", []))
            .await
            .map(drop)
    }

    async fn get_lid_mapping(&self, lid: &str) -> Result<Option<LidPnMappingEntry>> {
        unjson(self.get("lid", lid.into()).await?)
    }

    async fn get_pn_mapping(&self, phone: &str) -> Result<Option<LidPnMappingEntry>> {
        unjson(self.get("phone", phone.into()).await?)
    }

    async fn put_lid_mapping(&self, entry: &LidPnMappingEntry) -> Result<()> {
        if let Some(old) = self.get_lid_mapping(&entry.lid).await?
            && old.phone_number != entry.phone_number
        {
            self.delete("phone", vec![old.phone_number]).await?;
        }
        let value = json(entry)?;
        let lid = Row::new("lid", entry.lid.clone(), value.clone());
        self.put(vec![lid, Row::new("phone", entry.phone_number.clone(), value)]).await
    }

    async fn get_all_lid_mappings(&self) -> Result<Vec<LidPnMappingEntry>> {
        let all = self.scan("lid", String::new()).await?;
        Ok(all.into_iter().filter_map(|(_, value)| serde_json::from_slice(&value).ok()).collect())
    }

    async fn save_base_key(&self, address: &str, message: &str, base_key: &[u8]) -> Result<()> {
        self.put(vec![Row::new("base-key", key(&[address, message]), base_key)]).await
    }

    async fn has_same_base_key(&self, address: &str, message: &str, now: &[u8]) -> Result<bool> {
        Ok(self.get("base-key", key(&[address, message])).await?.as_deref() == Some(now))
    }

    async fn delete_base_key(&self, address: &str, message: &str) -> Result<()> {
        self.delete("base-key", vec![key(&[address, message])]).await
    }

    async fn update_device_list(&self, record: DeviceListRecord) -> Result<()> {
        self.put(vec![Row::new("devices", record.user.clone(), json(&record)?)]).await
    }

    async fn get_devices(&self, user: &str) -> Result<Option<DeviceListRecord>> {
        unjson(self.get("devices", user.into()).await?)
    }

    async fn delete_devices(&self, user: &str) -> Result<()> {
        self.delete("devices", vec![user.into()]).await
    }

    async fn get_group_metadata(&self, group: &str) -> Result<Option<Vec<u8>>> {
        self.get("group", group.into()).await
    }

    async fn put_group_metadata(&self, group: &str, blob: &[u8]) -> Result<()> {
        self.put(vec![Row::new("group", group, blob)]).await
    }

    async fn delete_group_metadata(&self, group: &str) -> Result<()> {
        self.delete("group", vec![group.into()]).await
    }

    async fn get_tc_token(&self, jid: &str) -> Result<Option<TcTokenEntry>> {
        unjson(self.get("token", jid.into()).await?)
    }

    async fn put_tc_token(&self, jid: &str, entry: &TcTokenEntry) -> Result<()> {
        self.put(vec![Row::new("token", jid, json(entry)?)]).await
    }

    async fn delete_tc_token(&self, jid: &str) -> Result<()> {
        self.delete("token", vec![jid.into()]).await
    }

    async fn get_all_tc_token_jids(&self) -> Result<Vec<String>> {
        Ok(self.scan("token", String::new()).await?.into_iter().map(|(jid, _)| jid).collect())
    }

    async fn delete_expired_tc_tokens(&self, token_cutoff: i64, sender_cutoff: i64) -> Result<u32> {
        let mut gone = Vec::new();
        for (jid, value) in self.scan("token", String::new()).await? {
            let Some(entry) = unjson::<TcTokenEntry>(Some(value))? else { continue };
            let token = !entry.token.is_empty() && entry.token_timestamp >= token_cutoff;
            if !token && entry.sender_timestamp.is_none_or(|at| at < sender_cutoff) {
                gone.push(jid);
            }
        }
        let count = u32::try_from(gone.len()).unwrap_or(u32::MAX);
        self.delete("token", gone).await.map(|()| count)
    }

    async fn touch_tc_token_sender_timestamp(&self, jid: &str, at: i64) -> Result<()> {
        self.update("token", jid.into(), move |old| {
            let old = old.and_then(|v| serde_json::from_slice::<TcTokenEntry>(&v).ok());
            let mut entry = old.unwrap_or(TcTokenEntry {
                token: Vec::new(),
                token_timestamp: at,
                sender_timestamp: None,
            });
            entry.sender_timestamp = entry.sender_timestamp.max(Some(at));
            Some((serde_json::to_vec(&entry).ok()?, FOREVER))
        })
        .await
    }

    async fn store_received_tc_token(&self, jid: &str, token: &[u8], at: i64) -> Result<()> {
        let token = token.to_vec();
        self.update("token", jid.into(), move |old| {
            let old = old.and_then(|v| serde_json::from_slice::<TcTokenEntry>(&v).ok());
            if old.as_ref().is_some_and(|o| !o.token.is_empty() && at < o.token_timestamp) {
                return None;
            }
            let sender_timestamp = old.and_then(|o| o.sender_timestamp);
            let entry = TcTokenEntry { token, token_timestamp: at, sender_timestamp };
            Some((serde_json::to_vec(&entry).ok()?, FOREVER))
        })
        .await
    }

    async fn store_sent_message(&self, chat: &str, message: &str, payload: &[u8]) -> Result<()> {
        let row = Row::new("sent", key(&[chat, message]), payload);
        self.put(vec![Row { at: now_secs(), ..row }]).await
    }

    async fn take_sent_message(&self, chat: &str, message: &str) -> Result<Option<Vec<u8>>> {
        let key = key(&[chat, message]);
        self.run(move |db| {
            use rusqlite::OptionalExtension as _;
            db.query_row(
                "DELETE FROM device WHERE space = 'sent' AND key = ? RETURNING value",
                [key],
                |r| r.get(0),
            )
            .optional()
        })
        .await
    }

    async fn delete_expired_sent_messages(&self, cutoff: i64) -> Result<u32> {
        self.older("sent", cutoff).await
    }

    async fn store_pending_inbound(
        &self,
        chat: &str,
        by: &str,
        id: &str,
        message: &[u8],
    ) -> Result<()> {
        self.store_pending_inbound_batch(&[PendingInboundRow { chat, sender: by, id, message }])
            .await
    }

    async fn get_pending_inbound(&self, chat: &str, by: &str, id: &str) -> Result<Option<Vec<u8>>> {
        self.get("inbound", key(&[chat, by, id])).await
    }

    async fn delete_pending_inbound(&self, chat: &str, by: &str, id: &str) -> Result<()> {
        self.delete("inbound", vec![key(&[chat, by, id])]).await
    }

    async fn delete_expired_pending_inbound(&self, cutoff: i64) -> Result<u32> {
        self.older("inbound", cutoff).await
    }

    async fn store_pending_inbound_batch(&self, all: &[PendingInboundRow<'_>]) -> Result<()> {
        let at = now_secs();
        let row = |r: &PendingInboundRow<'_>| {
            let row = Row::new("inbound", key(&[r.chat, r.sender, r.id]), r.message);
            Row { at, ..row }
        };
        self.put(all.iter().map(row).collect()).await
    }

    async fn delete_pending_inbound_batch(&self, all: &[PendingInboundKey<'_>]) -> Result<()> {
        self.delete("inbound", all.iter().map(|k| key(&[k.chat, k.sender, k.id])).collect()).await
    }
}

/// A secret, when it expires (0: never), and when its message was said.
type Secret = (Vec<u8>, i64, i64);

#[async_trait]
impl MsgSecretStore for Store {
    async fn put_msg_secrets(&self, entries: Vec<MsgSecretEntry>) -> Result<usize> {
        let count = entries.len();
        for entry in entries {
            let of = key(&[&entry.chat, &entry.sender, &entry.msg_id]);
            self.update("secret", of, move |old| {
                let old = old.and_then(|v| serde_json::from_slice::<Secret>(&v).ok());
                let (mut expires, mut said) = (entry.expires_at, entry.message_ts);
                if let Some((_, old_expires, old_said)) = old {
                    expires = merge_msg_secret_expiry(old_expires, expires);
                    said = merge_msg_secret_message_ts(old_said, said);
                }
                let secret: Secret = (entry.secret.to_vec(), expires, said);
                let at = if expires == 0 { FOREVER } else { expires };
                Some((serde_json::to_vec(&secret).ok()?, at))
            })
            .await?;
        }
        Ok(count)
    }

    async fn get_msg_secret(&self, chat: &str, sender: &str, id: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.get_msg_secret_with_ts(chat, sender, id).await?.map(|(secret, _)| secret))
    }

    async fn get_msg_secret_with_ts(
        &self,
        chat: &str,
        sender: &str,
        id: &str,
    ) -> Result<Option<(Vec<u8>, i64)>> {
        let found: Option<Secret> = unjson(self.get("secret", key(&[chat, sender, id])).await?)?;
        Ok(found.map(|(secret, _, said)| (secret, said)))
    }

    async fn delete_expired_msg_secrets(&self, cutoff: i64) -> Result<u32> {
        self.older("secret", cutoff.saturating_add(1)).await
    }
}

#[async_trait]
impl DeviceStore for Store {
    async fn save(&self, device: &Device) -> Result<()> {
        self.put(vec![Row::new("device", "", json(device)?)]).await
    }

    async fn load(&self) -> Result<Option<Device>> {
        let mut device: Option<Device> = unjson(self.get("device", String::new()).await?)?;
        if let Some(device) = &mut device {
            // What the client says that it is belongs to its version and is not kept.
            device.device_props = Arc::new(DEVICE_PROPS.clone());
            device.client_profile = ClientProfile::web();
        }
        Ok(device)
    }

    async fn exists(&self) -> Result<bool> {
        Ok(self.get("device", String::new()).await?.is_some())
    }

    async fn create(&self) -> Result<i32> {
        self.save(&Device::new()).await.map(|()| 1)
    }
}
