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

type Told = Arc<Mutex<Vec<Health>>>;

async fn line(phone: Option<&'static str>) -> (Arc<Line>, Told, tempfile::TempDir) {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path()).await.unwrap();
    let told = Told::default();
    let report = told.clone();
    let line = Line::new(
        store,
        Arc::new(Nobody),
        Arc::new(move |health| lock(&report).push(health)),
        &(Arc::new(move |name: &str| phone.filter(|_| name == "WHATSAPP_PHONE").map(str::to_owned))
            as _),
    );
    (line.unwrap(), told, data)
}

/// Codes follow each other, and a new connection brings the next ones: it is one wait, and what is told last
/// is the code that holds now.
#[tokio::test]
async fn one_wait_for_a_person_is_not_told_as_many() {
    let (line, told, _data) = line(None).await;
    let wait = Duration::from_secs(20);
    for n in 0..12 {
        let code = format!("2@{n}");
        let qr = PairingQrCode::builder().code(code.clone()).timeout(wait).build();
        line.hear(&Event::PairingQrCode(qr));
        let now = lock(&told).last().cloned();
        let picture = picture(&code).unwrap();
        assert!(matches!(&now, Some(Health::Needs { what }) if what.contains(&picture)), "{now:?}");
        if n % 6 == 5 {
            line.tell(Health::Reconnecting { why: "the connection was lost".into() });
        }
    }
    line.hear(&Event::Connected(Connected::builder().build()));
    let lost = Health::Reconnecting { why: "the connection was lost".into() };
    line.tell(lost.clone());
    let told = lock(&told).clone();
    let needs = |health: &Health| matches!(health, Health::Needs { .. });
    assert!(told[..12].iter().all(needs), "{told:?}");
    assert_eq!(told[12..], [Health::Up, lost]);
}

#[tokio::test]
async fn what_happens_to_the_line_is_told_with_its_remedy() {
    let (line, told, _data) = line(Some("+49 151-1")).await;
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
