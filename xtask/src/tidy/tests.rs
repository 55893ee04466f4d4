//! The rules that read text, on small texts.

use super::names::says;
use super::paths::{links, tests};

#[test]
fn a_name_counts_as_a_word_in_code_only() {
    assert!(says(r#"if kind == "telegram" {"#, "telegram"));
    assert!(says("fn telegram_send() {}", "telegram"));
    assert!(says(r#"let chat = "cli:local";"#, "cli"));
    assert!(!says("let scope = row.cli_scope;", "cli"));
    assert!(!says("// like telegram", "telegram"));
    assert!(!says("let client = 1; // for telegram", "telegram"));
    assert!(!says("client.click()", "cli"));
}

#[test]
fn only_relative_links_are_paths() {
    let line = "[a](docs/flow.md#in), [b](https://example.org/x), [c](#here)";
    assert_eq!(links(line).collect::<Vec<_>>(), ["docs/flow.md"]);
}

#[test]
fn tests_are_named_by_file_and_function() {
    let line = "`a/b.rs::one`, `a/c.rs::{two, three}`, not `crate::d` or `d.rs::four`";
    assert_eq!(
        tests(line).collect::<Vec<_>>(),
        [("a/b.rs", "one"), ("a/c.rs", "two"), ("a/c.rs", "three")]
    );
}
