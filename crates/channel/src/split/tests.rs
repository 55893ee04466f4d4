use super::*;
use proptest::prelude::*;

fn pieces(text: &str, limit: usize) -> Vec<String> {
    split(text, limit, Unit::Chars)
}

#[test]
fn short_text_is_one_piece_and_nothing_is_none() {
    assert_eq!(pieces("hello\n", 10), ["hello"]);
    assert!(pieces("", 10).is_empty());
    assert!(pieces(" \n \n", 10).is_empty());
}

#[test]
fn a_cut_prefers_paragraph_then_line_then_sentence_then_word() {
    assert_eq!(pieces("one two\n\nthree\nfour", 14), ["one two", "three\nfour"]);
    assert_eq!(pieces("one two three\nfour", 14), ["one two three", "four"]);
    assert_eq!(pieces("It is. So are we all", 14), ["It is.", "So are we all"]);
    assert_eq!(pieces("alpha beta gamma", 12), ["alpha beta", "gamma"]);
    assert_eq!(pieces("abcdefgh", 4), ["abcd", "efgh"]);
}

#[test]
fn a_line_that_just_fits_is_not_cut_earlier() {
    assert_eq!(pieces("one two\nthree", 7), ["one two", "three"]);
    assert_eq!(pieces("one two three", 7), ["one two", "three"]);
}

#[test]
fn a_code_block_is_closed_and_opened_again_with_its_language() {
    let text = "Look:\n```rust\nfn a() {}\n    fn b() {}\nfn c() {}\n```\nDone.";
    assert_eq!(
        pieces(text, 34),
        [
            "Look:\n```rust\nfn a() {}\n```",
            "```rust\n    fn b() {}\n```",
            "```rust\nfn c() {}\n```\nDone.",
        ]
    );
}

#[test]
fn a_cut_between_blocks_repeats_no_fence() {
    assert_eq!(pieces("```\na\nb\n```\n\nafterwards", 14), ["```\na\nb\n```", "afterwards"]);
}

#[test]
fn white_space_that_is_longer_than_a_piece_makes_no_piece() {
    assert_eq!(
        pieces(&format!("one{}two", " ".repeat(50)), 10).join("").replace(' ', ""),
        "onetwo"
    );
    for text in [format!("one{}two", " ".repeat(50)), format!("{}two", "\u{2000}".repeat(50))] {
        assert!(pieces(&text, 10).iter().all(|piece| !piece.trim().is_empty()), "{text:?}");
    }
    assert_eq!(split("a\u{2000}\u{2000}漢", 4, Unit::Bytes), ["a\u{2000}", "漢"]);
}

#[test]
fn units_are_counted_as_the_platform_counts_them() {
    assert_eq!(split("😀😀😀", 4, Unit::Utf16), ["😀😀", "😀"]);
    assert_eq!(split("😀😀", 4, Unit::Bytes), ["😀", "😀"]);
    assert_eq!(split("😀😀😀😀", 4, Unit::Chars), ["😀😀😀😀"]);
}

#[test]
fn the_end_of_a_sentence_that_does_not_fit_is_no_place_to_cut() {
    assert_eq!(split("文章。次", 6, Unit::Bytes), ["文章", "。次"]);
    assert_eq!(split("次。文章。次", 4, Unit::Chars), ["次。", "文章。次"]);
}

#[test]
fn hostile_fences_do_not_stall_it() {
    let fence = "`".repeat(5000);
    let all: String = split(&format!("{fence}\n{}", "x".repeat(9000)), 100, Unit::Bytes).concat();
    assert_eq!(all.matches('x').count(), 9000);
}

/// What must survive: everything but white space and the fences, which may be repeated.
fn substance(text: &str) -> String {
    text.lines()
        .filter(|line| fence_line(line).is_none())
        .flat_map(str::chars)
        .filter(|c| !c.is_whitespace())
        .collect()
}

fn markdownish() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[a-zé😀]{1,12}",
        2 => Just(" ".to_owned()),
        2 => Just("\n".to_owned()),
        1 => Just("\n\n".to_owned()),
        1 => Just(". ".to_owned()),
        1 => Just("\n```rust\n".to_owned()),
        1 => Just("\n```\n".to_owned()),
        1 => Just("\n~~~~\n".to_owned()),
        1 => Just("    ".to_owned()),
    ];
    proptest::collection::vec(part, 0..80).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn pieces_fit_keep_everything_and_close_what_they_open(text in markdownish(), limit in 40_usize..200) {
        for unit in [Unit::Bytes, Unit::Utf16, Unit::Chars] {
            let pieces = split(&text, limit, unit);
            for piece in &pieces {
                prop_assert!(unit.len(piece) <= limit, "{piece:?} is longer than {limit}");
                prop_assert!(!piece.trim().is_empty());
            }
            for piece in pieces.iter().rev().skip(1) {
                prop_assert_eq!(open_fence(piece), None, "{:?} leaves a block open", piece);
            }
            let kept: String = pieces.iter().map(|p| substance(p)).collect();
            prop_assert_eq!(kept, substance(&text));
        }
    }

    #[test]
    fn any_text_and_limit_keeps_every_letter(text in any::<String>(), limit in 0_usize..60) {
        let pieces = split(&text, limit, Unit::Utf16);
        let letters = |t: &str| t.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
        prop_assert_eq!(letters(&pieces.concat()), letters(&text));
        for piece in &pieces {
            prop_assert!(Unit::Utf16.len(piece) <= limit.max(LIMIT_MIN));
        }
    }
}
