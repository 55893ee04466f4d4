//! Both forms of time, and texts that are none.

use super::at;
use crate::time::{iso, parse, sqlite};
use proptest::prelude::*;

#[test]
fn both_forms_come_back_as_they_went() {
    let time = at(3_661);
    assert_eq!(iso(time), "2026-11-22T01:01:01.000Z");
    assert_eq!(sqlite(time), "2026-11-22 01:01:01");
    assert_eq!(parse(&iso(time)), Some(time));
    assert_eq!(parse(&sqlite(time)), Some(time), "a text without a zone is UTC");
}

#[test]
fn offsets_count_and_space_around_does_not() {
    assert_eq!(parse("2026-11-22T02:01:01+01:00"), Some(at(3_661)));
    assert_eq!(parse("  2026-11-22 01:01:01\n"), Some(at(3_661)));
}

#[test]
fn what_is_no_time_is_none() {
    for text in ["", "tomorrow", "2026-13-01 00:00:00", "1795305600", "2026-11-22T25:00:00Z"] {
        assert_eq!(parse(text), None, "{text:?}");
    }
}

proptest! {
    #[test]
    fn every_second_survives_both_forms(seconds in -2_000_000_000i64..4_000_000_000) {
        let time = at(seconds);
        prop_assert_eq!(parse(&iso(time)), Some(time));
        prop_assert_eq!(parse(&sqlite(time)), Some(time));
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        parse(&text);
    }
}
