//! Values from outside become a configuration or an error that names the key.

use super::*;

fn parse(pairs: &[(&str, &str)]) -> Result<Config, Error> {
    let map: BTreeMap<String, String> =
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Config::parse(&map, Path::new("/home/me/claw"), Path::new("/home/me/claw/bin/nanoclaw"))
}

#[test]
fn nothing_set_is_a_whole_configuration() {
    let config = parse(&[("TZ", "Europe/Rome")]).unwrap();
    assert_eq!(config.data, Path::new("/home/me/claw/data"));
    assert_eq!(config.groups, Path::new("/home/me/claw/groups"));
    assert_eq!(config.logs, Path::new("/home/me/claw/logs"));
    assert_eq!(config.runner, Path::new("/home/me/claw/bin/nanoclaw-runner"));
    assert_eq!(config.boxes_max, 10);
    assert_eq!(config.idle_timeout, Duration::from_secs(1800));
    assert_eq!(config.driver, None);
    assert_ne!(config.box_user.0, 0);
}

#[test]
fn another_data_folder_is_an_install_of_its_own() {
    let other = parse(&[("NANOCLAW_DATA", "/srv/claw")]).unwrap();
    assert_eq!(other.groups, Path::new("/srv/claw/groups"));
    assert_eq!(other.logs, Path::new("/srv/claw/logs"));
    assert_ne!(other.install, parse(&[]).unwrap().install);
    assert_eq!(other.install.len(), 8);
    let same = parse(&[("NANOCLAW_DATA", "data")]).unwrap();
    assert_eq!(same, parse(&[]).unwrap());
}

#[test]
fn an_unusable_value_names_its_key() {
    for (key, value) in [
        ("MAX_CONCURRENT_CONTAINERS", "0"),
        ("MAX_CONCURRENT_CONTAINERS", "many"),
        ("IDLE_TIMEOUT", "-1"),
        ("LOG_LEVEL", "loud"),
        ("NANOCLAW_BOX_ENV", "A=1 B"),
    ] {
        let error = parse(&[(key, value)]).unwrap_err();
        assert!(error.what.contains(key), "{error}");
        assert!(error.next.is_some());
    }
}

#[test]
fn a_zone_that_does_not_exist_is_not_used() {
    assert_ne!(parse(&[("TZ", "Mars/Olympus")]).unwrap().timezone, "Mars/Olympus");
    assert_eq!(parse(&[("NANOCLAW_DRIVER", "auto")]).unwrap().driver, None);
    assert_eq!(parse(&[("NANOCLAW_DRIVER", "x")]).unwrap().driver.as_deref(), Some("x"));
}

#[test]
fn dot_env_is_read_like_the_original_does() {
    let text = "# c\n\n A = 1 \nB=\"two words\"\nC='x'\nD=\nE=\"\nF=a=b # no comment\nnonsense\nexport G=1\n";
    let values = parse_env(text);
    let get = |key: &str| values.get(key).map(String::as_str);
    assert_eq!(get("A"), Some("1"));
    assert_eq!(get("B"), Some("two words"));
    assert_eq!(get("C"), Some("x"));
    assert_eq!(get("D"), None);
    assert_eq!(get("E"), Some("\""));
    assert_eq!(get("F"), Some("a=b # no comment"));
    assert_eq!(get("G"), None);
}

#[test]
fn a_missing_dot_env_is_an_empty_one_and_an_unreadable_one_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Environment::read(dir.path()).unwrap().get("NANOCLAW_TEST_NO_SUCH_KEY"), None);
    std::fs::create_dir(dir.path().join(".env")).unwrap();
    assert!(Environment::read(dir.path()).is_err());
}
