use super::{Results, describe, row, section};

fn results() -> Results {
    let text = r#"{
        "channel": "pigeon", "title": "Pigeon", "verified": "a real pigeon",
        "results": [
            { "case": "direct", "group": "Messages", "what": "a note", "outcome": "works" },
            { "case": "quote", "group": "Messages", "what": "a reply", "outcome": "works" },
            { "case": "edit in", "group": "Changes", "what": "an edit",
              "outcome": { "not_offered": "it has flown" } },
            { "case": "delete in", "group": "Changes", "what": "taken back",
              "outcome": { "not_offered": "it has flown" } }
        ]
    }"#;
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_channel_is_described_by_its_results() {
    let row = row("pigeon", &results(), "100 lines, 1k tokens");
    assert_eq!(row, "| `pigeon` | 2 | 2 | a real pigeon | 100 lines, 1k tokens |");
    let text = describe("pigeon", &results());
    assert!(text.contains("- **Messages**: direct, quote\n"), "{text}");
    assert!(text.contains("- edit in, delete in: it has flown\n"), "{text}");
}

#[test]
fn a_section_ends_at_the_next() {
    let page = "# Channels\n\n## `a`: A\n\none\n\n## `b`: B\n\ntwo\n";
    assert_eq!(section(page, "## `a`"), Some("\n## `a`: A\n\none\n"));
    assert_eq!(section(page, "## `b`"), Some("\n## `b`: B\n\ntwo\n"));
    assert_eq!(section(page, "## `c`"), None);
}
