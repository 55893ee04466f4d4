//! First bytes of a tunnel.

use super::*;

#[test]
fn what_is_no_tls_is_told_from_its_first_byte() {
    assert_eq!(peek(b""), Ok(None));
    assert_eq!(peek(b"GET / HTTP/1.1\r\n"), Err(NoHello::NotTls));
    assert_eq!(peek(b"SSH-2.0-x\r\n"), Err(NoHello::NotTls));
    assert_eq!(peek(&[22, 3, 1, 0]), Ok(None));
}

#[test]
fn the_name_in_a_hello_is_the_host_or_nothing_for_an_address() {
    let name = Host::parse("a.test").unwrap();
    for (expected, given) in
        [(true, Some("a.test")), (true, Some("A.TEST.")), (false, Some("b.test")), (false, None)]
    {
        assert_eq!(named(&name, given), expected, "{given:?}");
    }
    let ip = Host::parse("192.0.2.1").unwrap();
    assert!(named(&ip, None) && !named(&ip, Some("a.test")));
}
