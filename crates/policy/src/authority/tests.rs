use super::*;
use proptest::prelude::*;

fn read(text: &str) -> Option<String> {
    Authority::parse(text, Some(443)).ok().map(|a| a.to_string())
}

#[test]
fn p19_a_host_has_one_spelling() {
    for (text, is) in [
        ("api.github.com", "api.github.com:443"),
        ("API.GitHub.Com", "api.github.com:443"),
        ("api.github.com.", "api.github.com:443"),
        ("api.github.com.:8443", "api.github.com:8443"),
        ("xn--bcher-kva.example:1", "xn--bcher-kva.example:1"),
        ("1.2.3.4", "1.2.3.4:443"),
        ("[::1]", "[::1]:443"),
        ("[2001:DB8::1]:80", "[2001:db8::1]:80"),
        ("[::ffff:127.0.0.1]", "127.0.0.1:443"),
        ("a_b.example", "a_b.example:443"),
        ("localhost.", "localhost:443"),
    ] {
        assert_eq!(read(text).as_deref(), Some(is), "{text}");
    }
}

#[test]
fn p19_what_can_be_read_as_another_host_is_none() {
    let long = "a".repeat(64);
    let longer = "a.".repeat(127) + "com";
    for text in [
        "",
        ".",
        ":443",
        "a..b",
        ".a",
        "a.com..",
        "api.github.com@evil",
        "evil@api.github.com",
        "api.github.com%00.evil",
        "api.github.com\0.evil",
        "api.github.com/",
        "api.github.com#x",
        "api.github.com\\.evil",
        "api.github.com evil",
        "аpi.github.com",
        "api．github．com",
        "xn--a.com",
        "xn--api-.com",
        "0x7f000001",
        "0x7f.1",
        "2130706433",
        "017700000001",
        "127.1",
        "127.0.0.1.",
        "0177.0.0.1",
        "1.2.3.0x4",
        "1.2.3.4.5",
        "256.1.1.1",
        "::1",
        "[::1",
        "[fe80::1%eth0]",
        "[fe80::1%25eth0]",
        "[::1]x",
        "[1.2.3.4]",
        "a.com:",
        "a.com:0",
        "a.com:65536",
        "a.com:+1",
        "a.com:1:2",
        "-a.com",
        "a-.com",
        &long,
        &longer,
    ] {
        assert_eq!(read(text), None, "{text}");
    }
    assert_eq!(Authority::parse("a.com", None).unwrap_err().to_string(), "the port is missing");
}

#[test]
fn a_host_header_leaves_out_the_port_that_goes_without_saying() {
    let there = Authority::parse("[::2]:443", None).unwrap();
    assert_eq!((there.header(443), there.header(80)), ("[::2]".into(), "[::2]:443".into()));
}

proptest! {
    #[test]
    fn what_is_read_is_written_and_read_as_the_same(text in "[a-zA-Z0-9.:\\[\\]x_-]{0,24}") {
        if let Ok(read) = Authority::parse(&text, Some(443)) {
            prop_assert_eq!(Authority::parse(&read.to_string(), None).unwrap(), read);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        if let Ok(read) = Authority::parse(&text, None) {
            prop_assert!(read.to_string().is_ascii());
        }
    }
}
