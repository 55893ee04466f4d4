use super::{Said, Store};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use whatsapp_rust::bytes::Bytes;
use whatsapp_rust::wacore::store::Device;
use whatsapp_rust::wacore::store::traits::{
    AppStateSyncKey, AppSyncStore as _, DeviceStore as _, LidPnMappingEntry, MsgSecretEntry,
    MsgSecretStore as _, PendingInboundKey, PendingInboundRow, ProtocolStore as _,
    SignalStore as _,
};

async fn open(data: &Path) -> Store {
    Store::open(data).await.unwrap()
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart_and_for_nobody_else() {
    let data = tempfile::tempdir().unwrap();
    let device = Device::new();
    {
        let store = open(data.path()).await;
        assert!(store.load().await.unwrap().is_none());
        assert!(!store.is_linked().await);
        store.save(&device).await.unwrap();
        let both = [
            (Arc::from("a"), Bytes::from_static(b"1")),
            (Arc::from("b"), Bytes::from_static(b"2")),
        ];
        store.put_sessions_batch(&both).await.unwrap();
        store.put_identity("a", [7; 32]).await.unwrap();
    }
    let folder = data.path().join("channels/whatsapp");
    for file in std::fs::read_dir(&folder).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", file.path());
    }
    let store = open(data.path()).await;
    let again = store.load().await.unwrap().unwrap();
    assert_eq!(again.registration_id, device.registration_id);
    assert_eq!(
        again.identity_key.private_key.serialize(),
        device.identity_key.private_key.serialize()
    );
    assert_eq!(store.get_session("b").await.unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(store.load_identity("a").await.unwrap(), Some([7; 32]));
    store.delete_session("b").await.unwrap();
    assert_eq!(store.get_session("b").await.unwrap(), None);
}

#[tokio::test]
async fn keys_count_up_and_are_used_once() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path()).await;
    assert_eq!(store.get_max_prekey_id().await.unwrap(), 0);
    let keys: Vec<(u32, Bytes)> = [3, 20, 100].map(|id| (id, Bytes::from(vec![id as u8]))).into();
    store.store_prekeys_batch(&keys, false).await.unwrap();
    assert_eq!(store.get_max_prekey_id().await.unwrap(), 100);
    store.remove_prekey(20).await.unwrap();
    store.mark_prekeys_uploaded(&[3, 20, 100]).await.unwrap();
    assert_eq!(
        store.load_prekeys_batch(&[3, 20, 100]).await.unwrap().len(),
        2,
        "a used key came back"
    );
    store.store_signed_prekey(9, b"nine").await.unwrap();
    assert_eq!(store.load_all_signed_prekeys().await.unwrap(), [(9, b"nine".to_vec())]);
}

#[tokio::test]
async fn groups_do_not_mix() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path()).await;
    store.set_sender_key_status("1@g.us", &[("a:1", true), ("b:2", false)]).await.unwrap();
    store.set_sender_key_status("11@g.us", &[("a:1", true)]).await.unwrap();
    let mut one = store.get_sender_key_devices("1@g.us").await.unwrap();
    one.sort();
    assert_eq!(one, [("a:1".to_owned(), true), ("b:2".to_owned(), false)]);
    store.delete_sender_key_device_rows(&["a:1"]).await.unwrap();
    assert_eq!(store.get_sender_key_devices("11@g.us").await.unwrap(), []);
    store.clear_sender_key_devices("1@g.us").await.unwrap();
    assert_eq!(store.get_sender_key_devices("1@g.us").await.unwrap(), []);
    let key = AppStateSyncKey { key_data: vec![1], fingerprint: vec![2], timestamp: 3 };
    store.set_sync_key(&[0xAB], key).await.unwrap();
    assert_eq!(store.get_latest_sync_key_id().await.unwrap(), Some(vec![0xAB]));
}

#[tokio::test]
async fn a_privacy_id_that_moves_to_another_number_leaves_the_old_one() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path()).await;
    let entry = |phone: &str| LidPnMappingEntry {
        lid: "77".into(),
        phone_number: phone.into(),
        created_at: 1,
        updated_at: 1,
        learning_source: "usync".into(),
    };
    store.put_lid_mapping(&entry("491")).await.unwrap();
    store.put_lid_mapping(&entry("492")).await.unwrap();
    assert!(store.get_pn_mapping("491").await.unwrap().is_none());
    assert_eq!(store.get_pn_mapping("492").await.unwrap().unwrap().lid, "77");
    assert_eq!(store.get_all_lid_mappings().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_waits_for_the_host_is_kept_until_it_was_taken() {
    let data = tempfile::tempdir().unwrap();
    let row = |id, message| PendingInboundRow { chat: "c", sender: "s", id, message };
    open(data.path())
        .await
        .store_pending_inbound_batch(&[row("1", b"one"), row("2", b"two")])
        .await
        .unwrap();
    let store = open(data.path()).await;
    assert_eq!(
        store.get_pending_inbound("c", "s", "2").await.unwrap().as_deref(),
        Some(&b"two"[..])
    );
    let key = PendingInboundKey { chat: "c", sender: "s", id: "1" };
    store.delete_pending_inbound_batch(&[key]).await.unwrap();
    assert_eq!(store.get_pending_inbound("c", "s", "1").await.unwrap(), None);
    assert_eq!(store.delete_expired_pending_inbound(i64::MAX).await.unwrap(), 1);
    store.store_sent_message("c", "1", b"sent").await.unwrap();
    assert_eq!(store.take_sent_message("c", "1").await.unwrap().as_deref(), Some(&b"sent"[..]));
    assert_eq!(store.take_sent_message("c", "1").await.unwrap(), None, "taken twice");
}

#[tokio::test]
async fn a_secret_lives_as_long_as_the_longest_word_about_it() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path()).await;
    let entry = |expires_at| MsgSecretEntry {
        chat: "c".into(),
        sender: "s".into(),
        msg_id: "1".into(),
        secret: [1; 32],
        expires_at,
        message_ts: 5,
    };
    store.put_msg_secrets(vec![entry(100), entry(50)]).await.unwrap();
    assert_eq!(store.delete_expired_msg_secrets(99).await.unwrap(), 0);
    assert_eq!(store.get_msg_secret_with_ts("c", "s", "1").await.unwrap(), Some((vec![1; 32], 5)));
    assert_eq!(store.delete_expired_msg_secrets(100).await.unwrap(), 1);
    store.put_msg_secrets(vec![entry(0)]).await.unwrap();
    assert_eq!(store.delete_expired_msg_secrets(i64::MAX - 1).await.unwrap(), 0, "0 is never");
}

#[tokio::test]
async fn a_device_that_was_logged_out_is_forgotten_but_not_who_said_what() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path()).await;
    store.save(&Device::new()).await.unwrap();
    let said = Said {
        me: false,
        by: "77@lid".into(),
        who: "491@s.whatsapp.net".into(),
        text: "hi".into(),
    };
    store.remember("c", "1", &said).await.unwrap();
    assert_eq!(store.name("491", Some("Ann")).await.as_deref(), Some("Ann"));
    store.forget_device().await.unwrap();
    assert!(!store.exists().await.unwrap());
    assert_eq!(store.said("c", "1").await.unwrap().by, "77@lid");
    assert_eq!(store.name("491", None).await.as_deref(), Some("Ann"));
    assert_eq!(store.parts("c", "1").await, ["1"]);
}
