use super::*;

fn parsed(text: &str) -> Result<Settings, String> {
    let set: Vec<(&str, &str)> =
        text.split_whitespace().filter_map(|w| w.split_once('=')).collect();
    Settings::parse(&|key| set.iter().find(|(k, _)| *k == key).map(|(_, v)| (*v).to_owned()))
}

#[test]
fn one_setting_each_and_none_by_default() {
    assert_eq!(parsed(""), Ok(Settings::Embedded));
    assert_eq!(parsed("NANOCLAW_VAULT=embedded"), Ok(Settings::Embedded));
    assert_eq!(parsed("NANOCLAW_ONECLI_PORT=10254"), Ok(Settings::Facade(10254)));
    let external = Settings::External { url: "http://x".into(), gateway: Some("http://y".into()) };
    assert_eq!(
        parsed("NANOCLAW_VAULT=onecli ONECLI_URL=http://x ONECLI_GATEWAY_URL=http://y"),
        Ok(external)
    );
    for (wrong, names) in [
        ("NANOCLAW_ONECLI_PORT=0", "NANOCLAW_ONECLI_PORT"),
        ("NANOCLAW_ONECLI_PORT=70000", "NANOCLAW_ONECLI_PORT"),
        ("NANOCLAW_VAULT=onecli", "ONECLI_URL"),
        ("NANOCLAW_VAULT=other", "NANOCLAW_VAULT"),
        ("NANOCLAW_VAULT=onecli ONECLI_URL=http://x NANOCLAW_ONECLI_PORT=1", "remove one"),
    ] {
        let told = parsed(wrong).unwrap_err();
        assert!(told.contains(names), "{wrong}: {told}");
    }
}
