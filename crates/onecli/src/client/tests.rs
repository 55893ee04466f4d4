use super::api::{identifier, plain};
use super::*;

#[test]
fn agents_get_names_that_onecli_takes() {
    assert_eq!(identifier("ag-notes"), "ag-notes");
    let long = "ag-".to_owned() + &"x".repeat(60);
    let all = [
        "Ag-Notes",
        "ag_notes",
        "1abc",
        "",
        "ä",
        "0b1c8f8e-1111-4222-8333-444455556666",
        &long,
        "a-notes!",
    ];
    let mut made: Vec<String> = all.iter().map(|agent| identifier(agent)).collect();
    for name in &made {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        assert!(name.len() <= 50 && name.starts_with("a-") && name.bytes().all(fits), "{name}");
    }
    made.sort();
    made.dedup();
    assert_eq!(made.len(), all.len(), "two agents are never one there");
}

#[test]
fn ids_that_could_lead_elsewhere_are_refused() {
    for bad in ["", "a/b", "..", "a?b", "a b", "a%2f", &"x".repeat(65)] {
        assert!(plain(bad).is_err(), "{bad}");
    }
    assert_eq!(plain("475b1fb8-0000-4000-8000-000000000000").unwrap().len(), 36);
}

#[test]
fn what_onecli_calls_itself_is_where_its_rest_is() {
    let base = Url::parse("http://127.0.0.1:10254/").unwrap();
    for told in [
        "http://0.0.0.0:10255",
        "http://host.docker.internal:10255/",
        "http://localhost:10255",
        "http://[::]:10255",
    ] {
        assert_eq!(base.told(told), Url::parse("http://127.0.0.1:10255"), "{told}");
    }
    assert_eq!(base.told("https://gw.test"), Url::parse("https://gw.test:443"));
    for bad in ["ftp://a", "a.test", "http://u:p@a.test", "http://"] {
        assert!(base.told(bad).is_err(), "{bad}");
    }
}

fn config(env: &[(&str, &str)]) -> Config {
    let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Config { env, ca_certificate: String::new(), credential_stubs: vec![], warnings: vec![] }
}

#[test]
fn a_box_is_told_placeholders_alone() {
    let told = placeholders(&config(&[
        ("ANTHROPIC_API_KEY", "placeholder"),
        ("CLAUDE_CODE_OAUTH_TOKEN", "placeholder"),
        ("HTTPS_PROXY", "http://x:aoc_1@h:1"),
        ("SOME_TOKEN", "aoc_1"),
        ("LD_PRELOAD", "/x"),
        ("PATH", "/x"),
        ("a_KEY", "x"),
        ("B_KEY", "x\0y"),
    ]));
    assert_eq!(
        told.into_keys().collect::<Vec<_>>(),
        ["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"]
    );
}

#[test]
fn a_configuration_without_a_token_is_none() {
    let gateway = Url::parse("http://127.0.0.1:1").unwrap();
    for env in [&[][..], &[("HTTPS_PROXY", "http://h:1")], &[("HTTPS_PROXY", "x")]] {
        assert!(Pass::new(&gateway, &config(env)).is_err());
    }
}

#[tokio::test]
async fn a_head_that_never_ends_is_not_kept() {
    let (ours, mut theirs) = tokio::io::duplex(64 << 10);
    tokio::spawn(async move { theirs.write_all(&vec![b'x'; 60 << 10]).await });
    let mut ours: Box<dyn Stream> = Box::new(ours);
    assert!(status(&mut ours).await.unwrap_err().to_string().contains("too long"));
    for (answer, want) in [
        ("HTTP/1.1 407 No\r\n\r\nrest", Some(407)),
        ("nonsense\r\n\r\n", None),
        ("HTTP/1.1 200", None),
    ] {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        theirs.write_all(answer.as_bytes()).await.unwrap();
        drop(theirs);
        let mut ours: Box<dyn Stream> = Box::new(ours);
        assert_eq!(status(&mut ours).await.ok(), want, "{answer:?}");
    }
}
