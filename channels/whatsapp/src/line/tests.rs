use super::{channel_type, picture};
use qrcode::{Color, EcLevel, QrCode};

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
    let text = format!("2@{},{},{},{}", "r".repeat(88), "n".repeat(44), "i".repeat(44), "s".repeat(44));
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
