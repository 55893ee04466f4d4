//! Texts that channels trip over.

pub(super) const RIGHT_TO_LEFT: &str = "שלום עולם, مرحبا بالعالم 123 abc";
pub(super) const COMBINING: &str = "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘! é ñ ḱ̲";
pub(super) const FAMILY: &str = "👨‍👩‍👧‍👦 🏳️‍🌈 🇪🇺 👍🏽 ✍️";

/// What agents write, all of it at once.
pub(super) const SAMPLER: &str = "\
# The plan

Some **bold words**, some *slanted words*, some ~~struck words~~ and `inline_code <b>`.
A [link](https://example.org/a_b?x=1&y=2), a bare one: https://example.org/c_d_e, an address: ann_b@example.org.

- first item
- second item with **weight**
  - deeper item

1. step one
2. step two

> a wise quotation

```rust
fn main() { let a = b < c && d > e; } // **not bold**
```

| name | size |
| ---- | ---- |
| snake_case_name | 5 < 6 |
| other | 7 & 8 |

Stray * and _ and ` and [ and 2 * 3 * 4 and __init__.py, and the end.
";

/// What must be readable in the sampler, in this order.
pub(super) const SAMPLED: [&str; 22] = [
    "The plan",
    "bold words",
    "slanted words",
    "struck words",
    "inline_code <b>",
    "link",
    "https://example.org/c_d_e",
    "ann_b@example.org",
    "first item",
    "second item with",
    "weight",
    "deeper item",
    "step one",
    "step two",
    "a wise quotation",
    "let a = b < c && d > e;",
    "// **not bold**",
    "snake_case_name",
    "5 < 6",
    "7 & 8",
    "Stray * and _ and",
    "and the end.",
];

/// Marks that are no marks any more once a platform showed them.
pub(super) const MARKS: [&str; 5] =
    ["**bold words", "](https", "**weight", "| ----", "~~struck words~~"];

/// What breaks out of markup, if anything does.
pub(super) const HOSTILE: &str = "</b></code></pre><script>alert(1)</script> &lt; &#0; <!-- \
    ]]> {{7*7}} @everyone <@U1> <!channel> [x](javascript:alert(2)) ![y](file:///etc/passwd) \
    \u{202e}drow\u{202c} *_~`*_~` <a href=\"x\" onclick=\"alert(3)\">z</a> **open\n\n~~~\nno end";

/// Numbered words, about `len` bytes of them.
pub(super) fn numbers(len: usize) -> String {
    let mut text = String::with_capacity(len + 16);
    for n in 0.. {
        let word = format!("{n} ");
        if text.len() + word.len() > len {
            break;
        }
        text.push_str(&word);
    }
    text.trim_end().to_owned()
}

/// Numbered lines, about `len` bytes of them, the middle third of it in a code block; and how many.
pub(super) fn lines(len: usize) -> (String, usize) {
    let mut text = String::with_capacity(len + 64);
    let mut n = 0;
    for third in 0..3 {
        if third == 1 {
            text.push_str("\n```text\n");
        }
        while text.len() < len * (third + 1) / 3 {
            text.push_str(&format!("line-{n:06} of a long story\n"));
            n += 1;
        }
        if third == 1 {
            text.push_str("```\n\n");
        }
    }
    (text, n)
}

/// Whether all lines are there, each once and in order.
pub(super) fn lines_in(text: &str, count: usize) -> Result<(), String> {
    let found = text.match_indices("line-").map(|(at, _)| text.get(at + 5..at + 11));
    let mut next = 0;
    for found in found {
        let want = format!("{next:06}");
        if found != Some(want.as_str()) {
            return Err(format!("line {found:?} where {want} should be"));
        }
        next += 1;
    }
    if next == count { Ok(()) } else { Err(format!("{next} lines of {count}")) }
}

/// White space as one space each.
pub(super) fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
