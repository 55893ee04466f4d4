//! Replies as agents write them.

use super::*;

fn blocks(text: &str) -> Vec<Block> {
    parse(text).blocks
}

fn block(to: &str, text: &str) -> Block {
    Block { to: to.to_owned(), reply_to: None, text: text.to_owned() }
}

#[test]
fn a_block_can_name_the_message_it_answers() {
    let answer = |n| Block { reply_to: n, ..block("a", "x") };
    for (attributes, n) in [
        (r#"to="a" reply_to="4""#, Some(4)),
        ("reply_to=' 12 ' to='a'", Some(12)),
        (r#"to="a" reply_to="the last one""#, None),
        (r#"to="a" reply_to="99999999999999999999""#, None),
    ] {
        assert_eq!(blocks(&format!("<message {attributes}>x</message>")), [answer(n)]);
    }
}

#[test]
fn blocks_are_found_in_order_and_the_rest_is_bare() {
    let reply = parse(
        "think <message to=\"a\"> one </message> more\n<message to='b' x=\"1\">two\nlines</message>",
    );
    assert_eq!(reply.blocks, [block("a", "one"), block("b", "two\nlines")]);
    assert_eq!(reply.bare, "think  more");
}

#[test]
fn what_is_internal_is_never_delivered() {
    let reply = parse(
        "<internal><message to=\"a\">no</message></internal><message to=\"a\">yes <internal>x</internal></message>",
    );
    assert_eq!(reply, Reply { blocks: vec![block("a", "yes")], ..Reply::default() });
}

#[test]
fn internal_blocks_are_stripped() {
    for (text, left) in [
        ("a <internal>x</internal> b", "a  b"),
        ("<internal>x\ny</internal>", ""),
        ("<internal>x</internal>a<internal>y</internal>", "a"),
        ("plain", "plain"),
        ("  a  ", "a"),
        ("the <internal> tag", "the <internal> tag"),
    ] {
        assert_eq!(strip_internal(text), left, "{text}");
    }
}

#[test]
fn a_closing_tag_that_is_quoted_does_not_end_a_block() {
    assert_eq!(
        blocks("<message to=\"a\">use `</message>` there</message>"),
        [block("a", "use `</message>` there")]
    );
    let fenced = "<message to=\"a\">look:\n```\n</message>\n```\ndone</message>";
    assert_eq!(blocks(fenced), [block("a", "look:\n```\n</message>\n```\ndone")]);
}

#[test]
fn a_block_that_was_cut_off_is_still_said() {
    assert_eq!(blocks("<message to=\"a\">half a sen"), [block("a", "half a sen")]);
}

#[test]
fn what_only_looks_like_a_block_is_text() {
    for text in [
        "<message>x",
        "<messages to=\"a\">x",
        "<message from=\"a\">x",
        "<message to=a>x",
        "<message to=\"a",
        "< message to=\"a\">",
    ] {
        assert_eq!(blocks(text), [], "{text}");
    }
    assert_eq!(blocks("<message to=\"a\">  </message>"), [], "an empty block says nothing");
}

#[test]
fn what_is_shown_ahead_is_less_than_what_will_be_said() {
    let whole = "<internal>do I <message to=\"a\">no no</message></internal>Well <message to=\"a\">one two</message>\n\
        <message to='b'>three <internal>not this one</internal> four\nfive</message> and more";
    let blocks = parse(whole).blocks;
    let mut seen = Vec::new();
    for end in 0..=whole.len() {
        let Some((n, shown)) = so_far(&whole[..end]) else { continue };
        assert_eq!(shown.to, blocks[n].to);
        assert!(blocks[n].text.starts_with(&shown.text), "{shown:?}");
        assert!(shown.text.len() < blocks[n].text.len(), "{shown:?} is all of it");
        seen.push(format!("{n}: {}", shown.text));
    }
    seen.dedup();
    assert_eq!(seen, ["0: one", "1: three", "1: three  four"]);
}

#[test]
fn nothing_is_shown_of_what_is_not_addressed_or_has_an_end() {
    for text in [
        "",
        "some thoughts of mine",
        "<message to=\"a b",
        "<message to=\"a\">word",
        "<message to=\"a\">all of it</message> and ",
        "<internal>perhaps <message to=\"a\">not for you",
        "<message to=\"a\"><internal>perhaps not for you",
    ] {
        assert_eq!(so_far(text), None, "{text}");
    }
}
