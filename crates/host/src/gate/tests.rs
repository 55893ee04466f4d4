use super::*;

/// The gate's word for a stranger and for an admin.
fn check(text: &str) -> (String, String) {
    let say = |admin| match gate(text, admin) {
        Gate::Pass => "pass".to_owned(),
        Gate::Swallow { command } => format!("swallow {command}"),
        Gate::Deny { command } => format!("deny {command}"),
        Gate::Admin { command } => format!("admin {command}"),
    };
    (say(false), say(true))
}

#[test]
fn plain_text_and_unknown_commands_pass() {
    for text in [
        "",
        "   ",
        "hi",
        "hi /clear",
        "\\/clear",
        "/",
        "/ clear",
        "/weather Berlin",
        "//clear",
        "@bot /clear",
        "/start",
    ] {
        assert_eq!(check(text), ("pass".into(), "pass".into()), "{text:?}");
    }
}

#[test]
fn commands_of_a_desk_are_swallowed_for_everybody() {
    for text in [
        "/help",
        "/login",
        "/logout now",
        "/doctor",
        "/config",
        "/remote-control",
        "  /HELP\n",
        "/Config@my_bot x",
    ] {
        let (stranger, admin) = check(text);
        assert!(stranger.starts_with("swallow /") && stranger == admin, "{text:?}: {stranger}");
        assert!(!stranger.contains('@') && stranger == stranger.to_lowercase());
    }
}

#[test]
fn admin_commands_refuse_strangers() {
    for (text, command) in [
        ("/clear", "/clear"),
        ("/compact keep the plan", "/compact"),
        ("/context", "/context"),
        ("/cost", "/cost"),
        ("/files", "/files"),
        ("/reset", "/reset"),
        ("/new", "/new"),
        ("\t/CLEAR", "/clear"),
        ("/clear@nano_bot", "/clear"),
        // Such a word clears the session of an unmodified runner.
        ("/clearly", "/clearly"),
    ] {
        assert_eq!(
            check(text),
            (format!("deny {command}"), format!("admin {command}")),
            "{text:?}"
        );
    }
    assert_eq!(denial("/clear"), "Permission denied: /clear requires admin access.");
    assert_eq!(check("/newsletter").0, "pass");
}
