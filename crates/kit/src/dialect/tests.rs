//! What is printed, and that any input is printed as something that the platform accepts, without loss.

use super::oracle::{accept, whole};
use super::{Dialect, pieces};
use expect_test::{Expect, expect};
use nanoclaw_channel::split::Unit;
use proptest::prelude::*;

const ALL: [Dialect; 7] = [
    Dialect::TelegramHtml,
    Dialect::Discord,
    Dialect::Slack,
    Dialect::WhatsApp,
    Dialect::Html,
    Dialect::GitHub,
    Dialect::Plain,
];

const SAMPLE: &str = "\
# Results of `make`

It **works**, *mostly*; see ~~this~~ [the page](https://x.example/a_(b)?c=1&d=2 \"why\") or <me@x.example>.
snake_case_name, 2*3*4 < 5 & \"so\", https://x.example/a_b_c, pre**fix**ed, [bad](javascript:alert(1)).

1. one
   - inner **bold *both***
2. two

> quoted
> > twice

```rust
if a < b { println!(\"``` {}\", x); }

  indented
```

| name | n |
|------|--:|
| é    | 1 |
| two  | 22 |

- [x] done

---
# at @everyone and <@&123> and <@5>
**two
lines**
";

fn check(dialect: Dialect, wanted: &Expect) {
    let pieces = pieces(SAMPLE, dialect, 4096, Unit::Utf16);
    assert_eq!(pieces.len(), 1);
    // A space of no width is to be seen here.
    wanted.assert_eq(&pieces[0].replace('\u{200b}', "¦"));
}

#[test]
fn telegram() {
    check(
        Dialect::TelegramHtml,
        &expect![[r#"
        <b>Results of make</b>

        It <b>works</b>, <i>mostly</i>; see <s>this</s> <a href="https://x.example/a_(b)?c=1&amp;d=2">the page</a> (why) or me@x.example.
        snake_case_name, 2<i>3</i>4 &lt; 5 &amp; &quot;so&quot;, https://x.example/a_b_c, pre<b>fix</b>ed, bad (javascript:alert(1)).

        1. one
           • inner <b>bold <i>both</i></b>
        2. two

        <blockquote>quoted

        &gt; twice</blockquote>

        <pre><code class="language-rust">if a &lt; b { println!(&quot;``` {}&quot;, x); }

          indented</code></pre>

        <pre><code>name | n
        -----+---
        é    | 1
        two  | 22</code></pre>

        • [x] done

        ──────────

        <b>at @everyone and &lt;@&amp;123&gt; and &lt;@5&gt;</b>

        <b>two
        lines</b>"#]],
    );
}

#[test]
fn discord() {
    check(
        Dialect::Discord,
        &expect![[r##"
        # Results of `make`

        It **works**, *mostly*; see ~~this~~ [the page](https://x.example/a_%28b%29?c=1&d=2) (why) or me@x.example.
        snake\_case\_name, 2*3*4 < 5 & "so", https://x.example/a_b_c, pre**fix**ed, bad (javascript:alert(1)).

        1. one
           - inner **bold *both***
        2. two

        > quoted
        >
        > > twice

        ```rust
        if a < b { println!("`¦`` {}", x); }

          indented
        ```

        ```
        name | n
        -----+---
        é    | 1
        two  | 22
        ```

        - \[x\] done

        ──────────

        # at ＠everyone and <＠&123> and <@5>

        **two
        lines**"##]],
    );
}

#[test]
fn slack() {
    check(
        Dialect::Slack,
        &expect![[r#"
            *Results of `make`*

            It *works*, _mostly_; see ~this~ <https://x.example/a_(b)?c=1&amp;d=2|the page> (why) or me@x.example.
            snake_case_name, 234 &lt; 5 &amp; "so", https://x.example/a_b_c, prefixed, bad (javascript:alert(1)).

            1. one
               - inner *bold _both_*
            2. two

            &gt; quoted
            &gt;
            &gt; &gt; twice

            ```
            if a &lt; b { println!("`¦¦`¦`¦ {}", x); }

              indented
            ```

            ```
            name | n
            -----+---
            é    | 1
            two  | 22
            ```

            - [x] done

            ──────────

            *at @everyone and &lt;@&amp;123&gt; and &lt;@5&gt;*

            *two*
            *lines*"#]],
    );
}

#[test]
fn whatsapp() {
    check(
        Dialect::WhatsApp,
        &expect![[r#"
            *Results of `make`*

            It *works*, _mostly_; see ~this~ the page (https://x.example/a_(b)?c=1&d=2) (why) or me@x.example.
            snake_case_name, 234 < 5 & "so", https://x.example/a_b_c, prefixed, bad (javascript:alert(1)).

            1. one
               - inner *bold _both_*
            2. two

            > quoted
            >
            > > twice

            ```
            if a < b { println!("`¦¦`¦`¦ {}", x); }

              indented
            ```

            ```
            name | n
            -----+---
            é    | 1
            two  | 22
            ```

            - [x] done

            ──────────

            *at @everyone and <@&123> and <@5>*

            *two*
            *lines*"#]],
    );
}

#[test]
fn html() {
    check(
        Dialect::Html,
        &expect![[r#"
            <h1>Results of <code>make</code></h1>
            <p>It <strong>works</strong>, <em>mostly</em>; see <del>this</del> <a href="https://x.example/a_(b)?c=1&amp;d=2">the page</a> (why) or me@x.example.<br>snake_case_name, 2<em>3</em>4 &lt; 5 &amp; &quot;so&quot;, https://x.example/a_b_c, pre<strong>fix</strong>ed, bad (javascript:alert(1)).</p>
            <ol><li>one
            <ul><li>inner <strong>bold <em>both</em></strong></li></ul></li>
            <li>two</li></ol>
            <blockquote><p>quoted</p>
            <blockquote><p>twice</p></blockquote></blockquote>
            <pre><code class="language-rust">if a &lt; b { println!(&quot;``` {}&quot;, x); }

              indented</code></pre>
            <table>
            <tr> <th>name</th> <th>n</th></tr>
            <tr> <td>é</td> <td>1</td></tr>
            <tr> <td>two</td> <td>22</td></tr></table>
            <ul><li>[x] done</li></ul>
            <hr>
            <h1>at @everyone and &lt;@&amp;123&gt; and &lt;@5&gt;</h1>
            <p><strong>two<br>lines</strong></p>"#]],
    );
}

#[test]
fn github_is_the_agents_own() {
    assert_eq!(pieces(SAMPLE, Dialect::GitHub, 65_536, Unit::Chars), [SAMPLE.trim_end()]);
}

#[test]
fn code_that_is_cut_is_opened_again_with_its_language() {
    let code: String = (0..8).map(|n| format!("    let line_{n} = {n};\n")).collect();
    let markdown =
        format!("> before\n>\n> ```rust\n{}> ```\n\nafter", code.replace("    let", ">   let"));
    let cut = |dialect| pieces(&markdown, dialect, 160, Unit::Utf16).join("\n=====\n");
    expect![[r#"
        > before
        >
        > ```rust
        >   let line_0 = 0;
        >   let line_1 = 1;
        >   let line_2 = 2;
        >   let line_3 = 3;
        >   let line_4 = 4;
        >   let line_5 = 5;
        > ```
        =====
        > ```rust
        >   let line_6 = 6;
        >   let line_7 = 7;
        > ```

        after"#]]
    .assert_eq(&cut(Dialect::Discord));
    expect![[r#"
        <blockquote>before

        <pre><code class="language-rust">  let line_0 = 0;
          let line_1 = 1;
          let line_2 = 2;
          let line_3 = 3;</code></pre></blockquote>
        =====
        <blockquote><pre><code class="language-rust">  let line_4 = 4;
          let line_5 = 5;
          let line_6 = 6;
          let line_7 = 7;</code></pre></blockquote>

        after"#]]
    .assert_eq(&cut(Dialect::TelegramHtml));
}

#[test]
fn lists_and_marks_that_are_cut_go_on() {
    let markdown = "3. **one two three four five six seven eight nine ten eleven**\n4. twelve thirteen fourteen\n   - fifteen sixteen seventeen eighteen nineteen twenty";
    let cut = |dialect| pieces(markdown, dialect, 64, Unit::Utf16).join("\n=====\n");
    expect![[r#"
        3. *one two three four five six seven eight nine ten eleven*
        =====
        4. twelve thirteen fourteen
        =====
           - fifteen sixteen seventeen eighteen nineteen twenty"#]]
    .assert_eq(&cut(Dialect::Slack));
    expect![[r#"
        <ol start="3"><li>one two three four five six seven</li></ol>
        =====
        <ol start="3"><li>eight nine ten eleven</li></ol>
        =====
        <ol start="4"><li>twelve thirteen fourteen</li></ol>
        =====
        <ol start="4"><li>fifteen sixteen seventeen eighteen</li></ol>
        =====
        <ol start="4"><li>nineteen twenty</li></ol>"#]]
    .assert_eq(&cut(Dialect::Html));
}

#[test]
fn people_and_flags_are_not_cut_in_two() {
    let family = "👩‍👩‍👧‍👦".repeat(40) + &"🇩🇪".repeat(40) + &"👍🏽".repeat(40) + &"e\u{301}".repeat(90);
    for piece in pieces(&family, Dialect::Discord, 70, Unit::Utf16) {
        assert!(!piece.starts_with(['\u{200d}', '\u{301}', '🏽']), "{piece}");
        assert!(!piece.ends_with('\u{200d}'), "{piece}");
        let flags = piece.chars().filter(|c| ('🇦'..='🇿').contains(c)).count();
        assert_eq!(flags % 2, 0, "{piece}");
    }
}

#[test]
fn what_is_empty_has_no_pieces() {
    for dialect in ALL {
        for empty in ["", " \n\n ", "\n"] {
            assert!(pieces(empty, dialect, 100, Unit::Bytes).is_empty(), "{dialect:?}");
        }
    }
}

#[test]
fn nobody_is_called_by_everybodys_name_however_it_is_written() {
    for text in
        ["@everyone", "@&#101;veryone", "`@here`", "x@e\\veryone@everyone", "<@&77>", "@<b>@here"]
    {
        for piece in pieces(text, Dialect::Discord, 2000, Unit::Utf16) {
            accept::accept(Dialect::Discord, &piece).unwrap();
        }
    }
    assert_eq!(pieces("<@77> hi", Dialect::Discord, 2000, Unit::Utf16), ["<@77> hi"]);
}

#[test]
fn hostile_input_is_printed_whole_and_in_time() {
    let nested = format!("{}deep", "> ".repeat(3000));
    let lists: String = (0..200).map(|n| format!("{}- item{n}\n", "  ".repeat(n))).collect();
    let cells = format!("|{}\n|{}\n{}", "a|".repeat(300), "-|".repeat(300), "|b".repeat(3000));
    let marks = "**a _b ~~c `d` [e](http://f) ".repeat(500);
    let control: String = (0..0x120u32).filter_map(char::from_u32).collect();
    let zalgo = format!("z{}", "\u{301}".repeat(5000));
    let fences = "```\n````x\n``` a ```` b\n".repeat(300);
    let url = format!("[label](https://x.example/{})", "u".repeat(5000));
    let bidi = "\u{202e}\u{2066}שלום\u{200f} عالم ".repeat(300);
    let hostile = [nested, lists, cells, marks, control, zalgo, fences, url, bidi];
    for markdown in &hostile {
        for dialect in ALL {
            for max in [64, 2000] {
                whole(markdown, dialect, max, Unit::Utf16);
            }
        }
    }
}

#[test]
fn a_megabyte_is_printed_whole() {
    let long = "wörd **bold** `x` & <b> ".repeat(44_000);
    let glued = "x".repeat(1_000_000);
    for dialect in ALL {
        whole(&long, dialect, 4096, Unit::Utf16);
        whole(&glued, dialect, 4096, Unit::Bytes);
    }
}

/// Markdown-like text: pieces of syntax between words, so that constructs meet.
fn markdown() -> impl Strategy<Value = String> {
    let syntax = prop::sample::select(vec![
        "**",
        "*",
        "_",
        "~~",
        "`",
        "``",
        "```",
        "\n",
        "\n\n",
        "> ",
        "- ",
        "1. ",
        "12) ",
        "# ",
        "#### ",
        "[",
        "](",
        ")",
        "](http://x.example/a|b)",
        "](<a b>)",
        "!",
        "<",
        ">",
        "&",
        "&amp;",
        "&lt;",
        "<b>",
        "</pre>",
        "<br>",
        "|",
        "\n|-|-|\n",
        "    ",
        "\t",
        "\\",
        "@everyone",
        "<@&1>",
        "<!here>",
        "---\n",
        "http://x.example/?a=1&b=_c_",
        "~~~rust\n",
        "mailto:a@x.example",
        "<https://x.example>",
        "\u{1b}[2J",
        "\u{202e}",
        "🎉",
        "👩‍👧",
        "e\u{301}",
        "javascript:",
        "\"",
        "'",
        "  \n",
        "[x] ",
        "﷽",
        "\u{0}",
    ]);
    let word = "[a-zé0-9]{1,12}";
    let part = prop_oneof![3 => syntax.prop_map(str::to_owned), 2 => word.prop_map(|w| w), 1 => "\\PC{0,8}", 1 => Just(" ".to_owned())];
    prop::collection::vec(part, 0..60).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn anything_is_accepted_whole_and_short_enough(
        markdown in markdown(),
        dialect in prop::sample::select(ALL.to_vec()),
        max in 64usize..400,
        unit in prop::sample::select(vec![Unit::Bytes, Unit::Utf16, Unit::Chars]),
    ) {
        whole(&markdown, dialect, max, unit);
    }
}
