//! What is read, and ten years in many zones against a walk through every quarter of an hour.

use super::*;
use jiff::civil::{Weekday, date};
use jiff::{Span, ToSpan as _};
use proptest::prelude::*;

/// Both hemispheres, half-hour and two-hour shifts, politics, and none at all.
const ZONES: [&str; 24] = [
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "Europe/Dublin",
    "Europe/Lisbon",
    "Atlantic/Azores",
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "America/St_Johns",
    "America/Havana",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/Asuncion",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Asia/Jerusalem",
    "Asia/Kolkata",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "Antarctica/Troll",
];

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The next few runs, in local time with the offset.
fn runs(cron: &str, zone: &str, from: &str, n: usize) -> Vec<String> {
    let schedule = Schedule::parse(cron, zone).unwrap();
    let tz = TimeZone::get(zone).unwrap();
    let mut now = at(from);
    (0..n)
        .map(|_| {
            now = schedule.next(now).unwrap();
            now.to_zoned(tz.clone()).strftime("%m-%d %H:%M:%S%:z").to_string()
        })
        .collect()
}

#[test]
fn what_is_no_schedule_is_refused_with_the_reason() {
    for (text, why) in [
        ("", "five fields"),
        ("every day", "five fields"),
        ("0 9 * *", "five fields"),
        ("0 0 9 * * * 2026", "five fields"),
        ("* * * * * *", "once a minute"),
        ("*/5 * * * * *", "once a minute"),
        ("0,30 * * * * *", "once a minute"),
        ("@secondly", "five fields"),
        ("61 * * * *", "no schedule"),
        ("0 24 * * *", "no schedule"),
        ("0 9 * * FOO", "no schedule"),
        ("H 9 * * *", "no schedule"),
        ("0 0 30 2 *", "no such day"),
        ("5-1 * * * *", "no schedule"),
        ("*/0 * * * *", "no schedule"),
        ("\0 * * * *", "no schedule"),
    ] {
        let refused = Schedule::parse(text, "UTC").unwrap_err();
        assert!(refused.contains(why), "{text:?}: {refused}");
    }
    assert!(Schedule::parse(&"1,".repeat(500), "UTC").is_err());
    for zone in ["", "XYZ+3", "IST-2", "Europe/Nowhere", "../etc/passwd"] {
        assert!(Schedule::parse("0 9 * * *", zone).unwrap_err().contains("time zone"), "{zone}");
    }
}

#[test]
fn the_usual_forms_are_read() {
    for (cron, wanted) in [
        ("0 9 * * *", "03-01 09:00:00"),
        ("30 15 9 * * *", "03-01 09:15:30"),
        ("0 9 * * MON-FRI", "03-02 09:00:00"),
        ("0 9 * * 7", "03-01 09:00:00"),
        ("0 9 1 * *", "03-01 09:00:00"),
        ("0 9 L * *", "03-31 09:00:00"),
        ("0 9 * * 5#2", "03-13 09:00:00"),
        ("0 9 ? * 2", "03-03 09:00:00"),
        ("0 0 29 FEB *", "02-29 00:00:00"),
        ("0 9 13 * 5", "03-06 09:00:00"),
        ("@hourly", "03-01 01:00:00"),
        ("@Daily", "03-02 00:00:00"),
        ("@weekly", "03-08 00:00:00"),
        ("@monthly", "04-01 00:00:00"),
        ("@yearly", "01-01 00:00:00"),
        ("@weekdays", "03-02 00:00:00"),
        ("@weekends", "03-07 00:00:00"),
        ("@minutely", "03-01 00:01:00"),
        (" */20  *  * * * ", "03-01 00:20:00"),
    ] {
        assert_eq!(
            runs(cron, "UTC", "2026-03-01T00:00:00Z", 1),
            [format!("{wanted}+00:00")],
            "{cron}"
        );
    }
}

#[test]
fn a_skipped_time_runs_after_the_gap_and_a_repeated_one_once() {
    let berlin = |cron, from, n| runs(cron, "Europe/Berlin", from, n);
    assert_eq!(
        berlin("30 2 * * *", "2026-03-28T00:00:00Z", 3),
        ["03-28 02:30:00+01:00", "03-29 03:00:00+02:00", "03-30 02:30:00+02:00"]
    );
    assert_eq!(
        berlin("30 2 * * *", "2026-10-24T00:00:00Z", 3),
        ["10-24 02:30:00+02:00", "10-25 02:30:00+02:00", "10-26 02:30:00+01:00"]
    );
    // Several that are skipped together, and the one that was due anyway, are one.
    assert_eq!(
        berlin("0,30 1-3 * * *", "2026-03-29T00:00:00Z", 4),
        [
            "03-29 01:30:00+01:00",
            "03-29 03:00:00+02:00",
            "03-29 03:30:00+02:00",
            "03-30 01:00:00+02:00"
        ]
    );
    // Every hour means every hour.
    assert_eq!(
        berlin("@hourly", "2026-10-24T23:30:00Z", 3),
        ["10-25 02:00:00+02:00", "10-25 02:00:00+01:00", "10-25 03:00:00+01:00"]
    );
    // From within the repeated hour.
    assert_eq!(berlin("30 2 * * *", "2026-10-25T01:10:00Z", 1), ["10-26 02:30:00+01:00"]);
}

#[test]
fn a_day_that_a_zone_skipped_is_no_stumbling_block() {
    assert_eq!(
        runs("0 9 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", 3),
        ["12-29 09:00:00-10:00", "12-31 00:00:00+14:00", "12-31 09:00:00+14:00"]
    );
}

type Matches = fn(DateTime) -> bool;

/// A schedule, the same once more without croner, and whether it is for every hour.
const CASES: [(&str, Matches, bool); 9] = [
    ("30 2 * * *", |t| (t.hour(), t.minute()) == (2, 30), false),
    ("0 0 * * *", |t| (t.hour(), t.minute()) == (0, 0), false),
    (
        "15 1,3 * * 0",
        |t| matches!(t.hour(), 1 | 3) && t.minute() == 15 && t.weekday() == Weekday::Sunday,
        false,
    ),
    (
        "45 23 L * *",
        |t| (t.hour(), t.minute()) == (23, 45) && t.day() == t.date().last_of_month().day(),
        false,
    ),
    (
        "0 2 13 * 5",
        |t| (t.hour(), t.minute()) == (2, 0) && (t.day() == 13 || t.weekday() == Weekday::Friday),
        false,
    ),
    (
        "0 3 * 3,10 1-5",
        |t| {
            let weekday = !matches!(t.weekday(), Weekday::Saturday | Weekday::Sunday);
            (t.hour(), t.minute()) == (3, 0) && matches!(t.month(), 3 | 10) && weekday
        },
        false,
    ),
    ("0 */2 * * *", |t| t.hour() % 2 == 0 && t.minute() == 0, false),
    ("@hourly", |t| t.minute() == 0, true),
    ("*/15 * * * *", |_| true, true),
];

/// Walks through time and asks at every quarter of an hour what local time it is, and has been.
fn oracle(zone: &TimeZone, from: Timestamp, to: Timestamp) -> Vec<Vec<Timestamp>> {
    let quarter = 15.minutes();
    let local = |at: Timestamp| zone.to_datetime(at);
    let mut out = vec![Vec::new(); CASES.len()];
    let (mut now, mut before) = (from, local(from));
    let mut latest = before;
    while now < to {
        now += quarter;
        let here = local(now);
        let mut skipped = Vec::new();
        let mut t = before + quarter;
        while t < here {
            skipped.push(t);
            t += quarter;
        }
        let again = here <= latest;
        for (runs, (_, matches, every_hour)) in out.iter_mut().zip(CASES) {
            if skipped.iter().any(|t| matches(*t)) || (matches(here) && (!again || every_hour)) {
                runs.push(now);
            }
        }
        (before, latest) = (here, latest.max(here));
    }
    out
}

#[test]
fn ten_years_in_every_zone_lose_and_double_nothing() {
    let (from, to) = (at("2024-01-05T00:00:00Z"), at("2034-01-05T00:00:00Z"));
    std::thread::scope(|s| {
        for name in ZONES {
            s.spawn(move || {
                let zone = TimeZone::get(name).unwrap();
                let wanted = oracle(&zone, from, to);
                let near = SignedDuration::from_hours(30);
                let changes: Vec<_> =
                    zone.following(from).map(|t| t.timestamp()).take(200).collect();
                let changes_near = |at: Timestamp| {
                    let first = changes.partition_point(|t| *t < at - near);
                    changes.get(first).is_some_and(|t| *t < at + near)
                };
                for ((cron, _, _), wanted) in CASES.iter().zip(wanted) {
                    let schedule = Schedule::parse(cron, name).unwrap();
                    // The dense ones are followed around every change of the clock only.
                    let dense = wanted.len() > 10_000;
                    let mut now = from;
                    for at in wanted {
                        if dense && !changes_near(at) {
                            now = at;
                            continue;
                        }
                        assert_eq!(schedule.next(now), Some(at), "{cron} in {name} after {now}");
                        now = at;
                    }
                }
            });
        }
    });
}

fn cron() -> impl Strategy<Value = String> {
    let field = |low: u32, high: u32| {
        prop_oneof![
            3 => Just("*".to_owned()),
            2 => (low..=high).prop_map(|n| n.to_string()),
            1 => (1..=high.max(2)).prop_map(|n| format!("*/{n}")),
            1 => (low..=high, low..=high).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
            1 => (low..=high, low..=high).prop_map(|(a, b)| format!("{a},{b}")),
        ]
    };
    (field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6))
        .prop_map(|(a, b, c, d, e)| format!("{a} {b} {c} {d} {e}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// From anywhere: later, on time, and from just before it the same again.
    #[test]
    fn next_is_later_and_the_same_from_in_between(
        text in cron(), zone in 0..ZONES.len(), second in 1_700_000_000_i64..2_000_000_000,
    ) {
        let Ok(schedule) = Schedule::parse(&text, ZONES[zone]) else { return Ok(()) };
        let mut now = Timestamp::from_second(second).unwrap();
        for _ in 0..20 {
            let next = schedule.next(now).unwrap();
            prop_assert!(next > now);
            prop_assert_eq!(next.as_second() % 60, 0);
            let between = now + (next - now).total(jiff::Unit::Second).map(|s| Span::new().seconds((s / 2.0) as i64)).unwrap();
            if between < next {
                prop_assert_eq!(schedule.next(between), Some(next));
            }
            now = next;
        }
    }

    #[test]
    fn nothing_that_is_written_brings_it_down(text in "\\PC{0,40}", zone in "\\PC{0,12}") {
        let parsed = Schedule::parse(&text, &zone);
        if let Ok(schedule) = parsed {
            let from = date(2026, 3, 1).to_zoned(TimeZone::UTC).unwrap().timestamp();
            prop_assert!(schedule.next(from).is_none_or(|at| at > from));
        }
    }
}
