//! Configurations as hosts write them.

use super::*;

#[test]
fn what_is_missing_has_a_default() {
    let config = read(Path::new("/nowhere/container.json")).unwrap();
    assert_eq!((config.provider.as_str(), config.batch), ("claude", 10));
    let config = parse(r#"{"provider":"Demo","maxMessagesPerPrompt":0,"model":"","packages":{"apt":[]},"unknown":1}"#).unwrap();
    assert_eq!((config.provider.as_str(), config.batch, config.model), ("demo", 10, None));
}

#[test]
fn our_own_tools_cannot_be_replaced() {
    let config =
        parse(r#"{"mcpServers":{"nanoclaw":{"command":"x"},"other":{"command":"y"}}}"#).unwrap();
    assert_eq!(config.mcp_servers.into_keys().collect::<Vec<_>>(), ["other"]);
}

#[test]
fn what_is_broken_is_refused() {
    for text in ["", "{", "[]", "{\"provider\":7}", "null"] {
        assert!(parse(text).is_err(), "{text}");
    }
}
