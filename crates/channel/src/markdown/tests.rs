use super::*;
use expect_test::{Expect, expect};
use proptest::prelude::*;

fn check_plain(markdown: &str, expected: &Expect) {
    expected.assert_eq(&render(markdown, &PLAIN));
}

fn check_ansi(markdown: &str, expected: &Expect) {
    expected.assert_eq(&render(markdown, &ANSI).replace('\x1b', "^"));
}

const TOUR: &str = "\
# Plan

Some **bold**, *slanted*, ~~gone~~ and `code`,
and [a link](https://example.com/x).

- one
- two
  1. inner
  2. more
- [x] done

> quoted
> twice

```rust
fn main() {
\tprintln!();
}
```

| name | age |
|------|-----|
| Ada | 36 |
| Bo | 7 |

---
end";

#[test]
fn plain_text_reads_well() {
    check_plain(
        TOUR,
        &expect![[r#"
        Plan

        Some bold, slanted, gone and code,
        and a link (https://example.com/x).

        - one
        - two
          1. inner
          2. more
        - [x] done

        > quoted
        > twice

            fn main() {
            	println!();
            }

        name | age
        -----+----
        Ada  | 36
        Bo   | 7

        ────────

        end"#]],
    );
}

#[test]
fn a_terminal_gets_marks() {
    check_ansi(
        TOUR,
        &expect![[r#"
        ^[1;4mPlan^[22;24m

        Some ^[1mbold^[22m, ^[3mslanted^[23m, ^[9mgone^[29m and ^[36mcode^[39m,
        and a link^[90m (https://example.com/x)^[39m.

        - one
        - two
          1. inner
          2. more
        - [x] done

        ^[90m> ^[39mquoted
        ^[90m> ^[39mtwice

            ^[90mrust^[39m
            ^[36mfn main() {^[39m
            ^[36m	println!();^[39m
            ^[36m}^[39m

        ^[1mname^[22m | ^[1mage^[22m
        -----+----
        Ada  | 36
        Bo   | 7

        ^[90m────────^[39m

        end"#]],
    );
}

#[test]
fn links_show_their_target_once() {
    check_plain(
        "<https://a.example> [https://b.example](https://b.example) ![cat](c.png) <me@x.example>",
        &expect!["https://a.example https://b.example cat (c.png) me@x.example"],
    );
}

#[test]
fn a_loose_list_keeps_its_air() {
    check_plain(
        "1. one\n\n   more\n\n2. two",
        &expect![[r#"
            1. one

               more

            2. two"#]],
    );
}

#[test]
fn a_wide_table_is_printed_row_by_row() {
    let long = "x".repeat(96);
    check_plain(
        &format!("|a|b|\n|-|-|\n|1|{long}|\n|2|{long}|"),
        &expect![[r#"
            a: 1
            b: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx

            a: 2
            b: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"#]],
    );
}

#[test]
fn what_the_parser_would_drop_is_kept() {
    check_plain(
        "| a |\n|---|\n| b | c | d |",
        &expect![[r#"
        a
        --+------
        b | c | d"#]],
    );
    check_plain(
        "Note\n\n[todo]: buy milk\n\nbye",
        &expect![[r#"
        Note

        [todo]: buy milk

        bye"#]],
    );
    check_plain(
        "See [it][1].\n\n[1]: https://example.com",
        &expect!["See it (https://example.com)."],
    );
    check_plain(
        "Hi\n``` please read this\nx\n```",
        &expect![[r#"
            Hi

                please read this
                x"#]],
    );
}

#[test]
fn a_definition_that_nothing_refers_to_is_text_wherever_it_stands() {
    for (source, shown) in [
        ("- one\n- [w1w]: https://w2w.example \"w3w\"\n- two", ["w1w", "w2w", "w3w"]),
        ("> [w1w]: https://w2w.example\n> w3w", ["w1w", "w2w", "w3w"]),
        ("- > [w1w]: w2w\n\n  - [w3w]: w2w", ["w1w", "w2w", "w3w"]),
        ("1. [w1w]:\n   w2w\n   'w3w'", ["w1w", "w2w", "w3w"]),
        // The first definition of a label counts; another one is text.
        ("[w4w]\n\n[w4w]: w1w\n\n- [w4w]: w2w\n- w3w", ["w1w", "w2w", "w3w"]),
        ("[w1w]: w2w\n|w3w|b|\n|-|-|\n|c|d|", ["w1w", "w2w", "w3w"]),
    ] {
        let plain = render(source, &PLAIN);
        assert!(shown.iter().all(|word| plain.contains(word)), "{source:?} became {plain:?}");
    }
    check_plain(
        "- see [it]\n- more\n\n  [it]: https://example.com",
        &expect![[r#"
            - see it (https://example.com)

            - more"#]],
    );
}

#[test]
fn html_is_text() {
    check_plain("<b>hi</b> <!-- note -->", &expect!["<b>hi</b> <!-- note -->"]);
    check_plain(
        "<div>\nhi\n</div>",
        &expect![[r#"
        <div>
        hi
        </div>"#]],
    );
}

#[test]
fn escape_sequences_become_visible() {
    check_plain(
        "a\x1b[2Jb &#27;[31mc \u{9b}5m\x07 `\x1b]0;x`",
        &expect!["a␛[2Jb ␛[31mc �5m␇ ␛]0;x"],
    );
    check_plain("abc\u{202e}def", &expect!["abcdef"]);
    assert_eq!(printable_line("a\nb\tc\x1b"), "a b c␛");
}

#[test]
fn deep_nesting_is_flattened() {
    for deep in [">".repeat(20_000), "- ".repeat(5_000), "[".repeat(20_000), "*a ".repeat(20_000)] {
        let shown = render(&format!("{deep} word"), &ANSI);
        assert!(shown.contains("word"));
    }
}

/// The text without the marks that only [`ANSI`] itself adds.
fn unmarked(shown: &str) -> String {
    let mut text = shown.to_owned();
    for (on, off) in [ANSI.strong, ANSI.emphasis, ANSI.strike, ANSI.code, ANSI.heading, ANSI.faint]
    {
        text = text.replace(on, "").replace(off, "");
    }
    text
}

fn markdownish() -> impl Strategy<Value = Vec<String>> {
    let marks = [
        "*", "**", "_", "~~", "`", "```", "# ", "> ", "- ", "1. ", "[", "](", ")", "![", "|",
        "|-|-|", "---", "\n", "\n\n", "    ", " ", "<", ">", "&", "\\", "[x] ", "\t", "\u{1b}",
        "\r\n",
    ];
    let part = prop_oneof![
        proptest::sample::select(marks.to_vec()).prop_map(str::to_owned),
        (0_u32..1000).prop_map(|n| format!("w{n}w")),
    ];
    proptest::collection::vec(part, 0..60)
}

#[test]
fn the_target_of_a_link_is_shown_however_deep_it_stands() {
    let deep = "> ".repeat(2 * DEPTH_MAX) + "[here](https://a.example/x \"why\") and `more`";
    let shown = render(&deep, &PLAIN);
    for word in ["here", "https://a.example/x", "why", "and", "more"] {
        assert!(shown.contains(word), "{word} is missing in {shown:?}");
    }
}

proptest! {
    #[test]
    fn plain_text_keeps_every_word(parts in markdownish()) {
        let shown = render(&parts.concat(), &PLAIN);
        for word in parts.iter().filter(|p| p.starts_with('w')) {
            prop_assert!(shown.contains(word.as_str()), "{word} is missing in {shown:?}");
        }
    }

    #[test]
    fn no_control_character_survives(text in any::<String>(), parts in markdownish()) {
        for source in [text, parts.concat()] {
            let plain = render(&source, &PLAIN);
            let marked = unmarked(&render(&source, &ANSI));
            for shown in [plain, marked] {
                let bad = shown.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t'));
                prop_assert_eq!(bad, None);
            }
        }
    }
}
