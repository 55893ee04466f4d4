//! Published vectors, and times at the edge.

use super::{fresh, hex, hmac_sha256, same, unhex};
use nanoclaw_channel::time::Timestamp;
use proptest::prelude::*;
use std::time::Duration;

#[test]
fn the_hmac_is_that_of_rfc_4231() {
    let mac = hmac_sha256(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
    let wanted = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(hex(&mac), wanted);
    assert!(same(&mac, &unhex(&wanted.to_uppercase()).unwrap()));
    assert!(!same(&mac, &mac[..31]));
}

#[test]
fn what_is_no_hexadecimal_is_refused() {
    for bad in ["0", "0g", " 00", "é", "0x00"] {
        assert_eq!(unhex(bad), None, "{bad}");
    }
    assert_eq!(unhex(""), Some(vec![]));
}

#[test]
fn a_time_is_fresh_on_both_sides_and_nowhere_overflows() {
    let now = Timestamp::from_second(1_000_000).unwrap();
    let within = Duration::from_secs(300);
    assert!(fresh(1_000_300, now, within) && fresh(999_700, now, within));
    assert!(!fresh(1_000_301, now, within) && !fresh(999_699, now, within));
    assert!(!fresh(i64::MAX, now, within) && !fresh(i64::MIN, now, within));
}

proptest! {
    #[test]
    fn hexadecimal_comes_back(bytes: Vec<u8>) {
        prop_assert_eq!(unhex(&hex(&bytes)), Some(bytes));
    }
}
