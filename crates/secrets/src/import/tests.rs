//! Files that people have.

use super::*;

fn read(text: &str) -> Vec<(String, String)> {
    parse(text).into_iter().map(|e| (e.name.clone(), e.value.to_string())).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[test]
fn v6_a_file_is_read_as_people_write_it() {
    let text = "\u{feff}# comment\r\nA=plain\r\nexport B=\"with \\\"quotes\\\" and # no comment\"\r\n\
                C='single $X \\n'\nD= spaced # comment\nE=\nF=\"-----BEGIN\nmore\n-----END\"\n\
                not a line\n1 2=3\nG=\"never closed\nH=a=b=c\nA=last\n  I = x\n";
    let expected = [
        ("A", "plain"),
        ("B", "with \"quotes\" and # no comment"),
        ("C", "single $X \\n"),
        ("D", "spaced"),
        ("E", ""),
        ("F", "-----BEGIN\nmore\n-----END"),
        ("G", "\"never closed"),
        ("H", "a=b=c"),
        ("A", "last"),
        ("I", "x"),
    ];
    assert_eq!(read(text), pairs(&expected));
}

fn found(text: &str) -> Vec<(String, Kind, String, String, bool)> {
    let tokens = BTreeSet::from(["TELEGRAM_BOT_TOKEN"]);
    let of = |f: Found| (f.secret, f.kind, f.host, f.value.to_string(), f.note.is_some());
    secrets(&parse(text), &tokens).into_iter().map(of).collect()
}

#[test]
fn v6_variables_become_secrets_and_wrong_names_are_put_right() {
    let key = "sk-ant-oat01-0123456789";
    let one = |secret: &str, kind, host: &str, value: &str, note| {
        (secret.to_owned(), kind, host.to_owned(), value.to_owned(), note)
    };
    let anthropic = "api.anthropic.com";
    assert_eq!(
        found(&format!("ANTHROPIC_API_KEY={key}\n")),
        [one("anthropic", Kind::Anthropic, anthropic, key, true)]
    );
    assert_eq!(
        found("OPENAI_API_KEY=sk-ant-api03-0123456789"),
        [one("anthropic", Kind::Anthropic, anthropic, "sk-ant-api03-0123456789", true)]
    );
    assert_eq!(
        found("GH_TOKEN=first\nGH_TOKEN=ghp_second\nGITHUB_TOKEN=ghp_third\nTZ=UTC\nEMPTY="),
        [one("github", Kind::Bearer, "api.github.com", "ghp_second", false)]
    );
    assert_eq!(
        found("OPENAI_API_KEY=sk-old\nOPENAI_API_KEY=sk-ant-api03-0123456789"),
        [one("anthropic", Kind::Anthropic, anthropic, "sk-ant-api03-0123456789", true)],
        "a value that was replaced is no secret"
    );
    assert_eq!(
        found(
            "TELEGRAM_BOT_TOKEN='1:a'\nANTHROPIC_AUTH_TOKEN=0123456789\nANTHROPIC_BASE_URL=https://m.example"
        ),
        [
            one("TELEGRAM_BOT_TOKEN", Kind::HostOnly, "", "1:a", false),
            one("anthropic", Kind::Anthropic, "https://m.example", "0123456789", false)
        ]
    );
}

#[test]
fn v6_what_was_imported_is_commented_out_with_every_line_of_it() {
    let text = "TZ=UTC\r\nA=\"one\ntwo\"\nB=keep\nexport A=again\n";
    let names = BTreeSet::from(["A"]);
    let line = "# A is in the vault: nanoclaw vault list\n";
    let out = comment_out(text, &names);
    assert_eq!(out, format!("TZ=UTC\r\n{line}B=keep\n{line}"));
    assert_eq!(comment_out(&out, &names), out);
}
