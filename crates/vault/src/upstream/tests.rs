//! Which addresses a credential may be sent to.

use super::*;

#[test]
fn addresses_are_checked_and_normalised() {
    let cases = [
        ("https://api.anthropic.com", Some("https://api.anthropic.com")),
        ("https://API.anthropic.com:443/", Some("https://api.anthropic.com")),
        ("https://gw.example:8443/anthropic/", Some("https://gw.example:8443/anthropic")),
        ("http://127.0.0.1:8080", Some("http://127.0.0.1:8080")),
        ("http://[::1]:8080", Some("http://[::1]:8080")),
        ("http://localhost", Some("http://localhost")),
        ("http://example.com", None),
        ("http://127.0.0.1.example.com", None),
        ("http://10.0.0.1", None),
        ("https://user:pw@example.com", None),
        ("https://example.com/?a=b", None),
        ("ftp://example.com", None),
        ("example.com", None),
        ("", None),
    ];
    for (given, expected) in cases {
        let parsed = BaseUrl::parse(given).ok().map(|url| url.to_string());
        assert_eq!(parsed.as_deref(), expected, "{given:?}");
    }
}

#[test]
fn a_prefix_comes_before_the_path() {
    let url = BaseUrl::parse("https://gw.example/anthropic").unwrap();
    assert_eq!(url.route().unwrap().prefix, "/anthropic");
    assert_eq!(BaseUrl::default().route().unwrap().prefix, "");
}
