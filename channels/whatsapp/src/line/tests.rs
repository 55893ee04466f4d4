use super::{Line, channel_type, lock, picture};
use crate::store::Store;
use async_trait::async_trait;
use nanoclaw_channel::{
    Answer, AnswerOutcome, Change, Health, Inbound, Ingress, IngressError, SendError,
};
use qrcode::{Color, EcLevel, QrCode};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use whatsapp_rust::prelude::Event;
use whatsapp_rust::types::events::{
    ConnectFailureReason, Connected, LoggedOut, PairingCode, PairingQrCode, StreamReplaced,
};

/// The picture, module by module: upper and lower half of each sign.
fn modules(picture: &str) -> Vec<Vec<bool>> {
    let mut rows = Vec::new();
    for line in picture.lines() {
        // Light is what is drawn: terminals are dark.
        let halves = |c: char| match c {
            '\u{2588}' => (false, false),
            '\u{2580}' => (false, true),
            '\u{2584}' => (true, false),
            _ => (true, true),
        };
        rows.push(line.chars().map(|c| halves(c).0).collect());
        rows.push(line.chars().map(|c| halves(c).1).collect());
    }
    rows
}

#[test]
fn the_picture_is_the_code_with_a_quiet_margin() {
    let text =
        format!("2@{},{},{},{}", "r".repeat(88), "n".repeat(44), "i".repeat(44), "s".repeat(44));
    let picture = picture(&text).unwrap();
    let code = QrCode::with_error_correction_level(&text, EcLevel::L).unwrap();
    let (width, shown) = (code.width(), modules(&picture));
    let margin = (shown[0].len() - width) / 2;
    assert_eq!(margin, 4);
    for (y, row) in code.to_colors().chunks(width).enumerate() {
        for (x, color) in row.iter().enumerate() {
            assert_eq!(shown[y + margin][x + margin], *color == Color::Dark, "at {x}, {y}");
        }
    }
    assert!(shown[0].iter().all(|dark| !dark), "the margin is light");
    assert!(picture.lines().all(|line| line.chars().count() <= 80), "it fits a terminal");
}

#[test]
fn the_channels_name_is_a_channel_type() {
    assert_eq!(channel_type().as_str(), "whatsapp");
}

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

#[tokio::test]
async fn what_happens_to_the_line_is_told_with_its_remedy() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path()).await.unwrap();
    let told = Arc::<Mutex<Vec<Health>>>::default();
    let report = told.clone();
    let line = Line::new(
        store,
        Arc::new(Nobody),
        Arc::new(move |health| lock(&report).push(health)),
        &(Arc::new(|name: &str| (name == "WHATSAPP_PHONE").then(|| "+49 151-1".into())) as _),
    )
    .unwrap();
    let hear = |event: Event| {
        line.hear(&event);
        format!("{:?}", lock(&told).last())
    };
    // A number is set: there is a code to type, and none to scan.
    let wait = Duration::from_secs(60);
    hear(Event::PairingQrCode(PairingQrCode::builder().code("2@x".into()).timeout(wait).build()));
    assert!(lock(&told).is_empty());
    let code = PairingCode::builder().code("ABCD1234".into()).timeout(wait).build();
    let asked = hear(Event::PairingCode(code));
    assert!(asked.contains("ABCD1234") && asked.contains("phone number"), "{asked}");
    assert!(matches!(line.client(), Err(SendError::Broken { .. })), "nothing can be sent");
    assert!(hear(Event::Connected(Connected::builder().build())).contains("Up"));
    assert!(matches!(line.client(), Err(SendError::Retry { .. })), "there is no client yet");
    let out =
        LoggedOut::builder().on_connect(false).reason(ConnectFailureReason::LoggedOut).build();
    let lost = hear(Event::LoggedOut(out));
    assert!(lost.contains("Needs") && lost.contains("Linked devices"), "{lost}");
    hear(Event::StreamReplaced(StreamReplaced::builder().build()));
    let end = lock(&line.end).take();
    assert!(format!("{end:?}").contains("Another program"), "{end:?}");
}
