//! Linking a device: the code that people scan, what a phone makes of it, and the first login.

#![expect(clippy::unwrap_used, reason = "helpers of a test fail as the test does")]

#[expect(dead_code, reason = "the people of the conformance suite are not needed here")]
mod peer;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use nanoclaw_channel::{
    Answer, AnswerOutcome, Change, Health, Inbound, Ingress, IngressError, Start,
};
use nanoclaw_channel_whatsapp::CHANNEL;
use peer::server::Server;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;
use whatsapp_rust::NodeBuilder;
use whatsapp_rust::buffa::Message as _;
use whatsapp_rust::wacore::companion_reg::companion_web_client_type_for_props;
use whatsapp_rust::wacore::pair::{DeviceState, PairUtils};
use whatsapp_rust::wacore::store::Device;
use whatsapp_rust::waproto::whatsapp as wa;

struct Nobody;

#[async_trait]
impl Ingress for Nobody {
    async fn push(&self, _: Inbound) -> Result<(), IngressError> {
        Ok(())
    }
    async fn change(&self, _: Change) -> Result<(), IngressError> {
        Ok(())
    }
    async fn answer(&self, _: Answer) -> Result<AnswerOutcome, IngressError> {
        Ok(AnswerOutcome::Late)
    }
}

/// The device as it is on the disk.
fn device(data: &Path) -> Result<Device> {
    let db = rusqlite::Connection::open(data.join("channels/whatsapp/device.db"))?;
    let sql = "SELECT value FROM device WHERE space = 'device'";
    let row: Vec<u8> = db.query_row(sql, [], |row| row.get(0))?;
    Ok(serde_json::from_slice(&row)?)
}

/// What a phone sends that scanned the code: the account's word for the device.
fn word(device: &Device) -> Vec<u8> {
    let account = peer::wire::key_pair();
    let details = wa::ADVDeviceIdentity {
        raw_id: Some(7),
        timestamp: Some(1_790_000_000),
        key_index: Some(1),
        ..Default::default()
    };
    let details = details.encode_to_vec();
    let identity = device.identity_key.public_key.public_key_bytes();
    let signature = account
        .private_key
        .calculate_signature(&[&[6, 0][..], &details, identity].concat(), &mut rand::rng())
        .unwrap();
    let signed = wa::ADVSignedDeviceIdentity {
        details: Some(details),
        account_signature_key: Some(account.public_key.public_key_bytes().to_vec()),
        account_signature: Some(signature.to_vec()),
        device_signature: None,
    };
    let signed = signed.encode_to_vec();
    let hmac = nanoclaw_kit::sign::hmac_sha256(&device.adv_secret_key, &[&signed]);
    let sealed = wa::ADVSignedDeviceIdentityHMAC {
        details: Some(signed),
        hmac: Some(hmac.to_vec()),
        ..Default::default()
    };
    sealed.encode_to_vec()
}

#[tokio::test]
async fn a_scanned_code_links_the_device_for_good() -> Result<()> {
    let server = Server::start().await?;
    let agent = format!("{}:1@s.whatsapp.net", peer::AGENT);
    server.world().link_reference = Some("2@reference".into());
    let data = tempfile::tempdir()?;
    let (health, bell) = (Arc::<Mutex<Vec<Health>>>::default(), Arc::new(Notify::new()));
    let start = || {
        let (base, health, bell) = (server.base.clone(), health.clone(), bell.clone());
        Start {
            ingress: Arc::new(Nobody),
            data: data.path().to_path_buf(),
            setting: Arc::new(move |name| (name == "WHATSAPP_BASE_URL").then(|| base.clone())),
            report: Arc::new(move |now| {
                health.lock().unwrap().push(now);
                bell.notify_waiters();
            }),
        }
    };
    // It waits for a person and delays nobody.
    let channel = (CHANNEL.start)(start()).await?;
    let asked = health.lock().unwrap().last().cloned();
    let Some(Health::Needs { what }) = asked else { anyhow::bail!("{asked:?}") };
    assert!(what.contains("Linked devices"), "{what}");

    // The picture is the code of this device, with the reference of the server.
    let linked = device(data.path())?;
    let state = DeviceState {
        identity_key: linked.identity_key.clone(),
        noise_key: linked.noise_key.clone(),
        adv_secret_key: linked.adv_secret_key,
    };
    let kind = companion_web_client_type_for_props(&Device::new().device_props);
    let code = PairUtils::make_qr_data(&state, "2@reference", kind);
    let code = QrCode::with_error_correction_level(&code, EcLevel::L)?;
    let mut picture = code.render::<Dense1x2>();
    let picture = picture.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    assert!(what.contains(&picture), "{what}\nis not\n{picture}");

    // A phone scans it.
    let device_node = NodeBuilder::new("device")
        .attr("jid", agent.as_str())
        .attr("lid", format!("99{}:1@lid", peer::AGENT))
        .build();
    let identity = NodeBuilder::new("device-identity").bytes(word(&linked)).build();
    let success = NodeBuilder::new("pair-success").children([identity, device_node]).build();
    let unlinked = whatsapp_rust::Jid::pn_device("", 0).to_string();
    server.hand(
        &unlinked,
        NodeBuilder::new("iq")
            .attr("from", "s.whatsapp.net")
            .attr("type", "set")
            .attr("id", "link-2")
            .children([success])
            .build(),
    );
    loop {
        let rung = server.bell.notified();
        if server.world().signed > 0 {
            break;
        }
        rung.await;
    }
    // What follows a link: the device has to log in as what it now is.
    server.hand(&unlinked, NodeBuilder::new("stream:error").attr("code", "515").build());
    loop {
        let rung = bell.notified();
        if health.lock().unwrap().last() == Some(&Health::Up) {
            break;
        }
        rung.await;
    }
    assert!(server.world().is_connected(&agent), "it is not connected as {agent}");
    drop(channel);

    // The link outlives the process.
    health.lock().unwrap().clear();
    let channel = (CHANNEL.start)(start()).await?;
    let now = health.lock().unwrap().last().cloned().context("nothing was told")?;
    assert_eq!(now, Health::Up);
    channel.stop().await;
    Ok(())
}
