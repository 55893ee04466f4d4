use super::*;
use crate::PathPattern;
use crate::fuzz::step;
use proptest::prelude::*;

fn blocks(pattern: &str, raw: &str) -> bool {
    let pattern: PathPattern = pattern.parse().unwrap();
    let Ok(target) = Target::parse(raw) else { return true };
    !target.plain() || pattern.any_reading(&target)
}

#[test]
fn p14_no_spelling_of_admin_passes() {
    for raw in [
        "/admin",
        "/admin/",
        "/admin/x",
        "/admin?x",
        "/admin/?x",
        "/ADMIN/x",
        "/Admin",
        "/%61dmin/x",
        "/%61%64%6d%69%6e",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/x/%2e%2e%2fadmin",
        "/x/..%2fadmin",
        "/x/..%5cadmin",
        "/x\\..\\admin",
        "/%252e%252e/admin",
        "/x/%252e%252e%252fadmin",
        "/%2561dmin",
        "/%25252561dmin/x",
        "/%25%36%31dmin",
        "/admin%00",
        "/admin%00.png",
        "/%c0%ae%c0%ae/admin",
        "/x/%c0%ae%c0%ae/admin",
        "/x/%ef%bc%8e%ef%bc%8e/admin",
        "/%ef%bd%81dmin/x",
        "/x%ef%bc%8f..%ef%bc%8fadmin",
        "//admin//x",
        "///admin",
        "/./admin",
        "/admin/.",
        "/admin/..",
        "/admin/x/..",
        "/a/..;/admin",
        "/a/..;x=y/admin",
        "/admin;x=y/z",
        "/admin;/z",
        "/;/admin",
        "/;x/admin/y",
        "/admin%3bx/z",
        "/admin%2fx",
        "/admin%5cx",
        "/admin\\x",
        "/%2fadmin/x",
        "/admin%20/x",
        "/admin./x",
        "/admin%3fx",
        "/admin%23x",
        "/a%3f/..;/admin",
        "/ad%0amin/x",
        "/ad%09min",
        "/ad%c2%admin",
        "/\u{ff0e}\u{ff0e}/admin",
        "/adm\u{131}n",
        "/admin%",
        "/admin%2",
        "/admin%zz",
        "admin",
        "*",
        "http://x/admin",
    ] {
        assert!(blocks("/admin/**", raw), "{raw}");
    }
    for raw in ["/", "/public", "/administrator", "/x/admin", "/x?y=/admin", "/adm%C3%ADn"] {
        assert!(!blocks("/admin/**", raw), "{raw}");
    }
}

#[test]
fn p16_what_is_legal_goes_out_as_it_came() {
    let long = format!("/{}", "a".repeat(8191));
    for raw in [
        "/projects/group%2Fproj",
        "/@scope%2Fname",
        "/a+b",
        "/a%20b",
        "/~user",
        "/a:b/c:d",
        "/x?",
        "/x?a=%2F&b=100%&c[]=1&d=a|b",
        "/caf%C3%A9",
        "/repos/o/r/contents/a.tar.gz",
        "/v1.2/.well-known/x",
        "/a!$&'()*+,=@",
        &long,
    ] {
        let target = Target::parse(raw).unwrap();
        assert_eq!(target.wire(), raw);
        assert!(target.plain(), "{raw}");
    }
    for (raw, wire) in [
        ("/projects/group%2fproj", "/projects/group%2Fproj"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/%7euser/%41", "/~user/A"),
    ] {
        assert_eq!(Target::parse(raw).unwrap().wire(), wire);
    }
    let target = Target::parse("/x?").unwrap();
    assert_eq!((target.path(), target.query()), ("/x", Some("")));
    assert_eq!(Target::parse("/x").unwrap().query(), None);
}

#[test]
fn p16_allowed_below_a_glob_even_if_a_slash_is_escaped() {
    let every = |pattern: &str, raw: &str| {
        pattern.parse::<PathPattern>().unwrap().every_reading(&Target::parse(raw).unwrap())
    };
    assert!(every("/projects/**", "/projects/group%2Fproj/issues"));
    assert!(every("/**", "/@scope%2Fname"));
    assert!(!every("/projects/*/issues", "/projects/group%2Fproj/issues"));
    assert!(!every("/public/**", "/public%2F..%2Fadmin"));
    assert!(!every("/v1/*", "/V1/x"));
}

#[test]
fn p17_what_no_path_is_has_a_reason() {
    let long = format!("/{}", "a".repeat(8192));
    let edge = format!("/{}é", "a".repeat(2046));
    let huge = "/".repeat(16 << 20);
    for (raw, is) in [
        (long.as_str(), BadTarget::TooLong),
        (&huge, BadTarget::TooLong),
        (&edge, BadTarget::Raw),
        ("/é", BadTarget::Raw),
        ("/a b", BadTarget::Raw),
        ("/a\tb", BadTarget::Raw),
        ("/a\r\nb", BadTarget::Raw),
        ("/a#b", BadTarget::Raw),
        ("/?é", BadTarget::Raw),
        ("/%", BadTarget::Escape),
        ("/%é", BadTarget::Raw),
        ("/%+1", BadTarget::Escape),
        ("/%00", BadTarget::Nul),
        ("", BadTarget::NoPath),
        ("?", BadTarget::NoPath),
    ] {
        assert_eq!(Target::parse(raw), Err(is));
    }
}

#[test]
fn p18_the_query_can_name_another_method() {
    let of = |raw: &str| Target::parse(raw).unwrap().method().collect::<Vec<_>>();
    assert_eq!(of("/x?_method=DELETE"), ["DELETE"]);
    assert_eq!(of("/x?a=b&%5fmethod=d%45lete&_METHOD=PUT"), ["dElete", "PUT"]);
    assert!(of("/x?method=DELETE").is_empty());
}

fn spelled() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "/",
        "//",
        "admin",
        "ADMIN",
        "%61dmin",
        "%2561dmin",
        "a",
        ".",
        "..",
        "%2e",
        "%2E%2e",
        "%252e",
        "%2f",
        "%252f",
        "%5c",
        "\\",
        ";",
        ";x=y",
        "%3b",
        "%253b",
        "%25",
        "%35",
        "%c0%ae",
        "%20",
        "%3f",
        "dm",
        "in",
        "x",
    ]);
    prop::collection::vec(part, 0..9).prop_map(|parts| format!("/{}", parts.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn p14_what_passes_a_block_has_no_way_to_be_read_as_admin(
        raw in spelled(),
        steps in prop::collection::vec(any::<u8>(), 0..7),
    ) {
        if !blocks("/admin/**", &raw) {
            let mut path = Target::parse(&raw).unwrap().path().to_owned();
            for which in steps {
                path = step(&path, which);
                prop_assert!(path != "/admin" && !path.starts_with("/admin/"), "{raw} is {path}");
            }
        }
    }

    #[test]
    fn the_wire_means_itself(raw in spelled(), query in "[ -~]{0,12}") {
        for raw in [raw.clone(), format!("{raw}?{query}")] {
            if let Ok(target) = Target::parse(&raw) {
                prop_assert_eq!(&Target::parse(target.wire()).unwrap(), &target);
                prop_assert!(target.readings().len() <= 8);
                prop_assert_eq!(&target.readings()[0], target.path());
            }
        }
    }

    #[test]
    fn any_text_is_read_or_refused(raw in any::<String>()) {
        drop(Target::parse(&raw));
        drop(Target::parse(&format!("/{raw}")));
    }
}
