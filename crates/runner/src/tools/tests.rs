//! Schemas and times; what the tools do is tested through the loop.

use super::*;
use jiff::tz::TimeZone;

#[test]
fn every_schema_names_what_it_requires() {
    let tools = all();
    assert_eq!(tools.len(), 16);
    for tool in tools {
        let properties = tool.schema["properties"].as_object().unwrap();
        for name in tool.schema["required"].as_array().unwrap() {
            assert!(properties.contains_key(name.as_str().unwrap()), "{}: {name}", tool.name);
        }
        assert!(!tool.description.is_empty());
    }
}

#[test]
fn times_are_read_in_the_users_zone() {
    let zone = |name| TimeZone::get(name).unwrap();
    for (text, name, wanted) in [
        ("2026-01-15T12:00:00Z", "America/New_York", "2026-01-15T12:00:00Z"),
        ("2026-01-15T12:00:00+02:00", "America/New_York", "2026-01-15T10:00:00Z"),
        ("2026-01-15T12:00:00+0200", "America/New_York", "2026-01-15T10:00:00Z"),
        ("2026-01-15T12:00:00", "America/New_York", "2026-01-15T17:00:00Z"),
        ("2026-01-15 12:00", "Asia/Tokyo", "2026-01-15T03:00:00Z"),
        ("2026-07-15T12:00:00", "America/New_York", "2026-07-15T16:00:00Z"),
        ("2026-01-15T12:00:00", "UTC", "2026-01-15T12:00:00Z"),
    ] {
        assert_eq!(tasks::after(text, &zone(name)).unwrap().to_string(), wanted, "{text}");
    }
    for text in ["", "soon", "é", "2026-13-01T00:00"] {
        assert!(tasks::after(text, &TimeZone::UTC).is_err(), "{text}");
    }
}
