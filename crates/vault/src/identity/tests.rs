//! Forms in which a token comes.

use super::*;

#[test]
fn a_token_is_found_in_the_two_forms_of_a_proxys_authorization_alone() {
    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    assert_eq!(parse(&basic("box:nv1_x")).as_deref(), Some("nv1_x"));
    assert_eq!(parse(&basic(":nv1_x")).as_deref(), Some("nv1_x"));
    assert_eq!(parse("bearer nv1_x").as_deref(), Some("nv1_x"));
    for bad in ["", "nv1_x", "Basic nv1_x", "Digest nv1_x", "Basic =", &basic("nv1_x")] {
        assert_eq!(parse(bad), None, "{bad:?}");
    }
}

#[test]
fn tokens_differ_by_session_and_by_install_and_stay() {
    assert_eq!(token(&[1; 32], "a"), token(&[1; 32], "a"));
    assert_ne!(token(&[1; 32], "a"), token(&[1; 32], "b"));
    assert_ne!(token(&[1; 32], "a"), token(&[2; 32], "a"));
    assert!(equal(&print("a"), &print("a")) && !equal(&print("a"), &print("b")));
}
