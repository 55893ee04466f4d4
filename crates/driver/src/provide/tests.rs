//! Names from outside, and what they may not be.

use super::*;

/// What would be more than a name to a shell, to apt, to npm or to an engine.
const NEVER: &[&str] = &[
    "", " ", "-y", "--option", "a;b", "a b", "a\nb", "a\0b", "$(id)", "`id`", "a|b", "a&b", "a>b",
    "../up", "./here", "/etc", "a/../b", "a'b", "a\"b", "a\\b", "a=1", "a*", "ä",
];

#[test]
fn a_debian_package_is_a_name_and_nothing_else() {
    for good in ["jq", "g++", "libstdc++6", "python3.11", "lib32z1", "0ad", "x_y"] {
        assert!(is_apt(good), "{good}");
    }
    for bad in NEVER.iter().chain(&["jq-", "Jq", "jq:amd64", "jq/stable", "a", "@a/b"]) {
        assert!(!is_apt(bad), "{bad:?}");
    }
    assert!(!is_apt(&"a".repeat(NAME_BYTES_MAX + 1)));
}

#[test]
fn an_npm_package_is_one_of_the_registry() {
    for good in ["is-odd", "@scope/pkg", "left.pad", "7zip", "a"] {
        assert!(is_npm(good), "{good}");
    }
    let more = [
        "a@1",
        "@a",
        "@/b",
        "@a/",
        "@a/b/c",
        "user/repo",
        "git+ssh://x",
        "x.tgz",
        "x.tar.gz",
        "@a/b.tgz",
        "http://x",
        "file:x",
        "Upper",
        ".hidden",
        "_x",
        "@-a/b",
    ];
    for bad in NEVER.iter().chain(&more) {
        assert!(!is_npm(bad), "{bad:?}");
    }
}

#[test]
fn an_image_is_a_name_and_no_option() {
    for good in ["debian", "nanoclaw-agent:latest", "host:5000/a/b@sha256:0ab"] {
        assert!(is_image(good), "{good}");
    }
    for bad in NEVER {
        assert!(!is_image(bad), "{bad:?}");
    }
}

#[test]
fn the_first_bad_name_is_told() {
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    assert_eq!(Wanted::judge(&names(&["jq"]), &names(&["is-odd"])), Ok(()));
    let said = Wanted::judge(&names(&["jq", "x; rm"]), &[]).unwrap_err();
    assert!(said.contains("\"x; rm\"") && said.contains("Debian"), "{said}");
    let said = Wanted::judge(&[], &names(&["a@1.2"])).unwrap_err();
    assert!(said.contains("npm"), "{said}");
    assert!(Wanted::judge(&names(&["jq"; PACKAGES_MAX + 1]), &[]).is_err());
}
