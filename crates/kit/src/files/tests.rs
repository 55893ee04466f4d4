//! Hostile and missing names.

use super::{kind_of, safe_name, size};
use nanoclaw_channel::ids::is_safe_name;
use proptest::prelude::*;

#[test]
fn a_name_is_one_component_and_keeps_its_ending() {
    let check = |name: &str, wanted: &str| assert_eq!(safe_name(name, "file", None), wanted);
    check("report.pdf", "report.pdf");
    check("../../etc/passwd", "passwd");
    check("C:\\Users\\eve\\x.exe", "x.exe");
    check("a\u{202e}fdp.exe", "afdp.exe");
    check("a\0b\n.txt", "a_b .txt");
    check("Grüße 🎉.txt", "Grüße 🎉.txt");
    check(".bashrc", "bashrc");
    check("x\u{200b}y:z", "x_y_z");
}

#[test]
fn without_a_name_the_kind_and_the_media_type_make_one() {
    assert_eq!(safe_name("", "image", Some("image/PNG; x=y")), "image.png");
    assert_eq!(safe_name("..", "audio", None), "audio.ogg");
    assert_eq!(safe_name(". .. ...", "file", None), "file.bin", "dots and blanks by turns");
    assert_eq!(safe_name("  ", "../", Some("no/such")), "file.bin");
}

#[test]
fn the_media_type_says_the_kind_and_else_the_name_does() {
    assert_eq!(kind_of(Some("image/heic"), "x"), "image");
    assert_eq!(kind_of(Some("application/octet-stream"), "x.JPEG"), "image");
    assert_eq!(kind_of(None, "voice.ogg"), "audio");
    assert_eq!(kind_of(Some("text/html"), "x.mp4"), "file");
    assert_eq!(kind_of(None, "x"), "file");
}

#[test]
fn sizes_read_well() {
    assert_eq!(size(20 * 1024 * 1024), "20 MB");
    assert_eq!(size(1_600_000), "1.5 MB");
    assert_eq!(size(2048), "2 KB");
    assert_eq!(size(5), "5 bytes");
}

proptest! {
    #[test]
    fn any_name_becomes_a_safe_one(name in "\\PC{0,300}|(?s).{0,300}", kind in "(?s).{0,9}") {
        let name = safe_name(&name, &kind, None);
        prop_assert!(is_safe_name(&name) && name.len() <= 255, "{name:?}");
    }
}
