//! The authority: it stays, it is renewed with an overlap, and its leaves are what a client accepts.

use super::*;
use std::time::UNIX_EPOCH;

fn day(n: u32) -> SystemTime {
    UNIX_EPOCH + DAY * 20_000 + DAY * n
}

#[test]
fn an_authority_stays_until_it_is_old_and_both_are_trusted_for_a_month() {
    let (first, record) = Ca::open(None, day(0)).unwrap();
    let record = record.unwrap();
    let (same, again) = Ca::open(Some(&record), day(500)).unwrap();
    assert!(again.is_none());
    assert_eq!(same.cert, first.cert);
    let (next, renewed) = Ca::open(Some(&record), day(549)).unwrap();
    assert_ne!(next.cert, first.cert);
    assert_eq!(next.ours().count(), 2);
    let (later, none) = Ca::open(renewed.as_deref(), day(580)).unwrap();
    assert!(none.is_none());
    assert_eq!(later.ours().count(), 1);
    assert!(Ca::open(Some(b"{}"), day(0)).is_err());
}

#[test]
fn leaves_are_kept_and_a_flood_of_names_does_not_grow() {
    let (ca, _) = Ca::open(None, day(0)).unwrap();
    let place = |name: &str| Place::parse(name, Some(443)).unwrap();
    let one = ca.config(&place("a.test"), day(0)).unwrap();
    assert!(Arc::ptr_eq(&one, &ca.config(&place("a.test:8443"), day(0)).unwrap()));
    assert!(!Arc::ptr_eq(&one, &ca.config(&place("a.test"), day(2)).unwrap()));
    ca.config(&place("127.0.0.1"), day(0)).unwrap();
    for n in 0..LEAVES_MAX + 10 {
        ca.config(&place(&format!("n{n}.test")), day(0)).unwrap();
    }
    assert!(ca.leaves.lock().unwrap().known.len() <= LEAVES_MAX);
}

#[test]
fn files_for_boxes_are_written_once() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, _) = Ca::open(None, day(0)).unwrap();
    ca.publish(dir.path(), &[]).unwrap();
    let jks = std::fs::read(dir.path().join(BUNDLE_JKS)).unwrap();
    assert_eq!(jks[..4], [0xfe, 0xed, 0xfe, 0xed]);
    let pem = std::fs::read_to_string(dir.path().join(CA_PEM)).unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----\n"), "{pem}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), FILES.len());
}
