use super::*;
use proptest::prelude::*;

fn host(pattern: &str, host: &str) -> bool {
    pattern.parse::<HostPattern>().unwrap().matches(&Host::parse(host).unwrap())
}

#[test]
fn p19_only_the_host_itself_or_a_whole_label_below_it() {
    for (pattern, name) in [
        ("api.github.com", "API.github.com."),
        ("API.GitHub.com.", "api.github.com"),
        ("*.example.com", "a.example.com"),
        ("*.example.com", "a.b.example.com"),
        ("*", "anything.example"),
        ("1.2.3.4", "1.2.3.4"),
        ("bücher.example", "xn--bcher-kva.example"),
    ] {
        assert!(host(pattern, name), "{pattern} {name}");
    }
    for (pattern, name) in [
        ("api.github.com", "api.github.com.evil.com"),
        ("api.github.com", "evil-api.github.com"),
        ("api.github.com", "x.api.github.com"),
        ("api.github.com", "github.com"),
        ("api.github.com", "xn--pi-7kc.github.com"),
        ("*.example.com", "example.com"),
        ("*.example.com", "evilexample.com"),
        ("*.example.com", "example.com.evil.org"),
        ("1.2.3.4", "1.2.3.40"),
    ] {
        assert!(!host(pattern, name), "{pattern} {name}");
    }
}

#[test]
fn a_pattern_for_everybodys_names_is_none() {
    for pattern in [
        "",
        "*.com",
        "*.co.uk",
        "*.github.io",
        "*.test",
        "*.*.com",
        "a.*.com",
        "a*.com",
        "**",
        "*.",
        "*.1.2.3.4",
        "a.com:443",
        "https://a.com",
        "a.com/x",
        "u@a.com",
        "0x7f.1",
        "[::1",
        "a..b",
    ] {
        assert!(pattern.parse::<HostPattern>().is_err(), "{pattern}");
    }
}

fn path(pattern: &str, path: &str) -> bool {
    pattern.parse::<PathPattern>().unwrap().every_reading(&Target::parse(path).unwrap())
}

#[test]
fn globs_for_paths() {
    for (pattern, it) in [
        ("/", "/"),
        ("/**", "/"),
        ("/**", "/a/b"),
        ("/a/**", "/a"),
        ("/a/**", "/a/"),
        ("/a/**", "/a/b/c"),
        ("/a", "/a/"),
        ("/a/", "/a"),
        ("/a/*", "/a/b"),
        ("/a/*/c", "/a/b/c"),
        ("/a/b*d", "/a/bcd"),
        ("/a/*.json", "/a/b.json"),
        ("/a/*b*c*", "/a/xbycz"),
        ("/**/x", "/x"),
        ("/**/x", "/a/b/x"),
        ("/a/**/b/**/c", "/a/b/x/b/y/c"),
        ("/caf%C3%A9", "/caf%c3%a9"),
        ("/%7Ea", "/~a"),
    ] {
        assert!(path(pattern, it), "{pattern} {it}");
    }
    for (pattern, it) in [
        ("/", "/a"),
        ("/a", "/ab"),
        ("/a", "/a/b"),
        ("/a/**", "/ab"),
        ("/a/*", "/a/b/c"),
        ("/a/*", "/a"),
        ("/a/b*d", "/a/b/d"),
        ("/a/*.json", "/a/b.jso"),
        ("/**/x", "/a/xx"),
        ("/a/**/b/**/c", "/a/c/b"),
        ("/A", "/a"),
    ] {
        assert!(!path(pattern, it), "{pattern} {it}");
    }
}

#[test]
fn what_no_path_is_says_why() {
    for (pattern, why) in [
        ("a", "does not begin with /"),
        ("/a?b", "leave out the ?"),
        ("/a//b", "empty segments"),
        ("/a/../b", "no . or .."),
        ("/a/**b", "** stands alone"),
        ("/a\\b", "no \\"),
        ("/a b", "escaped"),
        (&"/a".repeat(64), "63 segments"),
        (&format!("/{}", "a".repeat(1024)), "1,024"),
    ] {
        let said = pattern.parse::<PathPattern>().unwrap_err().to_string();
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn agents_by_id_and_folder() {
    let agent = AgentNames { id: "ag-1".into(), folder: "dev-web".into() };
    for (pattern, is) in [
        ("ag-1", true),
        ("dev-web", true),
        ("dev-*", true),
        ("*", true),
        ("dev", false),
        ("ag-*", false),
    ] {
        assert_eq!(pattern.parse::<AgentPattern>().unwrap().matches(&agent), is, "{pattern}");
    }
    assert!("a b".parse::<AgentPattern>().is_err());
}

#[test]
fn the_longest_of_all_takes_no_time() {
    let pattern: PathPattern = format!("/{}x", "**/".repeat(60)).parse().unwrap();
    let stars: PathPattern = format!("/{}b", "*a".repeat(500)).parse().unwrap();
    let target = Target::parse(&format!("/{}", "a/".repeat(4000))).unwrap();
    let word = Target::parse(&format!("/{}", "a".repeat(8000))).unwrap();
    assert!(!pattern.any_reading(&target));
    assert!(!stars.any_reading(&word));
}

/// Tries every way, which takes for ever and is easy to read.
fn slowly(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        (["**", rest @ ..], _) => {
            slowly(rest, path) || path.split_first().is_some_and(|(_, path)| slowly(pattern, path))
        }
        ([part, pattern @ ..], [segment, path @ ..]) => {
            let (part, segment): (Vec<char>, Vec<char>) =
                (part.chars().collect(), segment.chars().collect());
            letters(&part, &segment) && slowly(pattern, path)
        }
        _ => false,
    }
}

fn letters(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        (['*', rest @ ..], _) => {
            letters(rest, text)
                || text.split_first().is_some_and(|(_, text)| letters(pattern, text))
        }
        ([a, pattern @ ..], [b, text @ ..]) => a == b && letters(pattern, text),
        _ => false,
    }
}

proptest! {
    #[test]
    fn the_quick_way_is_the_slow_way(
        pattern in prop::collection::vec(prop::sample::select(vec!["**", "*", "a", "b", "a*", "*b", "a*b*a"]), 1..6),
        path in prop::collection::vec("[ab]{1,4}", 1..6),
    ) {
        let read: PathPattern = format!("/{}", pattern.join("/")).parse().unwrap();
        let target = Target::parse(&format!("/{}", path.join("/"))).unwrap();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        prop_assert_eq!(read.every_reading(&target), slowly(&pattern, &path));
        let again: PathPattern = read.to_string().parse().unwrap();
        prop_assert_eq!(again, read);
    }

    #[test]
    fn a_host_pattern_is_written_as_it_is_read(text in "(\\*\\.)?[a-z0-9.-]{1,12}\\.[a-z]{2,3}") {
        if let Ok(read) = text.parse::<HostPattern>() {
            prop_assert_eq!(read.to_string().parse::<HostPattern>().unwrap(), read);
        }
    }
}
