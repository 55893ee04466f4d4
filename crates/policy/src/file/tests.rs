use super::*;
use proptest::prelude::*;

/// Everything that there is.
const ALL: &str = include_str!("all.toml");

fn agent(folder: &str) -> AgentNames {
    AgentNames { id: format!("ag-{folder}"), folder: folder.to_owned() }
}

fn refused(text: &str) -> String {
    Policy::parse(text).unwrap_err().to_string()
}

#[test]
fn a_file_with_everything_is_read() {
    let policy = Policy::parse(ALL).unwrap();
    let (dev, other) = (agent("dev"), agent("other"));
    assert_eq!((policy.mode(&dev), policy.mode(&other)), (Mode::Ask, Mode::Allowlist));
    assert_eq!((policy.auth(&dev), policy.auth(&other)), (Auth::Socket, Auth::Token));
    assert_eq!((policy.model_tools(&dev), policy.model_tools(&other)), (true, false));
    assert_eq!(policy.rules.len(), 5);
    assert_eq!(policy.rules[4].limit.as_ref().unwrap().rule, "rule 5");
    let service = policy.host_service(&dev, "ollama").unwrap();
    assert_eq!(service.to.to_string(), "127.0.0.1:11434");
    assert!(policy.host_service(&other, "ollama").is_none());
    let budgets: Vec<_> = policy.budgets(&dev).collect();
    assert_eq!((budgets[0].soft_usd, budgets[0].hard_tokens), (Some(2_500_000), Some(1_000_000)));
    assert_eq!(policy.budgets(&other).count(), 0);
}

#[test]
fn what_the_manual_shows_can_be_used() {
    let manual = include_str!("../../../../docs/policy.md");
    let blocks: Vec<&str> = manual.split("```toml\n").skip(1).collect();
    let file: String = blocks.iter().map(|block| block.split("```").next().unwrap()).collect();
    let policy = Policy::parse(&file).unwrap();
    assert_eq!((policy.mode(&agent("andy")), policy.rules.len()), (Mode::Ask, 3));
}

#[test]
fn the_presets_are_hosts() {
    let policy = Policy::parse("").unwrap();
    for preset in [Preset::Llm, Preset::Dev] {
        assert!(policy.presets[&preset].len() > 5);
    }
}

#[test]
fn nothing_said_is_an_empty_list() {
    for policy in [Policy::default(), Policy::parse("").unwrap()] {
        assert_eq!(policy.mode(&agent("x")), Mode::Allowlist);
        assert!(!policy.model_tools(&agent("x")));
    }
}

#[test]
fn s4_only_the_declared_pair() {
    let text = "[[allow_private]]\nhost = 'db.example.com'\ncidr = '192.168.1.7/24'\nport = 5432\n\
                [[allow_private]]\nhost = 'here.example.com'\ncidr = '127.0.0.1/32'\nport = 9\n";
    let policy = Policy::parse(text).unwrap();
    let may = |to: &str, ip: &str| {
        policy.private(&Authority::parse(to, None).unwrap(), ip.parse().unwrap())
    };
    assert!(may("db.example.com:5432", "192.168.1.200"));
    assert!(may("db.example.com:5432", "::ffff:192.168.1.200"));
    assert!(!may("db.example.com:5433", "192.168.1.200"), "the same host, another port");
    assert!(!may("x.example.com:5432", "192.168.1.200"), "another name, the same address");
    assert!(!may("db.example.com:5432", "192.168.2.1"));
    assert!(!may("db.example.com:5432", "127.0.0.1"));
    assert!(may("here.example.com:9", "127.0.0.1"));
    assert!(!may("here.example.com:9", "127.0.0.2"));
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_what_to_write() {
    for (text, says) in [
        ("\n\n[egres]\n", "line 3: unknown field `egres`, expected one of `egress`, `agents`"),
        ("[egress]\nmode = 'closed'", "line 2: unknown variant `closed`, expected one of `none`"),
        ("[egress]\nmod = 'ask'", "line 2: unknown field `mod`"),
        ("[egress]\nallow = [\n'ok.example.com',\n'*.com']", "line 4: \"*.com\" is no host"),
        ("[egress]\nallow = ['https://a.com/x']", "line 2:"),
        ("[egress]\nallow = ['a.com:0']", "as in \"example.com:8443\""),
        ("[egress]\nports = [0]", "line 2: a port is a number from 1 to 65535"),
        ("[egress]\npresets = ['all']", "expected one of `none`, `llm`, `dev`, `web`"),
        ("[agents.x]\negres = {}", "line 2: unknown field"),
        ("[[rule]]\nmatch = {}\n", "line 1: the rule does nothing: write action"),
        (
            "[[rule]]\nmatch = { hosts = 'a.com' }\naction = 'block'",
            "line 2: unknown field `hosts`",
        ),
        ("[[rule]]\nmatch = { path = 'x' }\naction = 'block'", "line 2: \"x\" is no path"),
        ("[[rule]]\nmatch = { method = ['delete'] }\naction = 'block'", "capital letters"),
        ("[[rule]]\nmatch = {}\nrate = { n = 0, per = 'day' }", "to let nothing pass, block"),
        ("[[rule]]\nmatch = {}\nrate = { n = 2, per = 'day', burst = 3 }", "burst from 1 to n"),
        ("[[rule]]\nmatch = {}\nrate = { n = 2, per = 'week' }", "expected one of `second`"),
        ("[[rule]]\nmatch = {}\naction = 'block'\nrate = { n = 2, per = 'day' }", "never count"),
        (
            "[[rule]]\nname = 'a'\nmatch = {}\naction = 'ask'\n[[rule]]\nname = 'a'\nmatch = {}\naction = 'ask'",
            "line 5: a second rule has the name \"a\"",
        ),
        ("[[host_service]]\nname = 'x'\nto = '8.8.8.8:80'\nagents = ['*']", "on this machine"),
        (
            "[[host_service]]\nname = 'x'\nto = '169.254.169.254:80'\nagents = ['*']",
            "on this machine",
        ),
        ("[[host_service]]\nname = 'x.y'\nto = '127.0.0.1:80'\nagents = ['*']", "one word"),
        ("[[host_service]]\nname = 'x'\nto = '127.0.0.1:80'", "missing field `agents`"),
        ("[[allow_private]]\nhost = '*'\ncidr = '10.0.0.0/8'\nport = 1", "name a host"),
        ("[[allow_private]]\nhost = 'a.b'\ncidr = '0.0.0.0/0'\nport = 1", "private network"),
        ("[[allow_private]]\nhost = 'a.b'\ncidr = '127.0.0.0/8'\nport = 1", "private network"),
        (
            "[[allow_private]]\nhost = 'a.b'\ncidr = '169.254.169.254/32'\nport = 1",
            "private network",
        ),
        ("[[budget]]\nagent = '*'\nper = 'day'", "limits nothing"),
        ("[[budget]]\nagent = '*'\nper = 'day'\nhard_usd = -1.0", "from 0 to"),
        ("[[budget]]\nagent = '*'\nper = 'day'\nhard_usd = nan", "from 0 to"),
        ("x", "line 1:"),
        ("[egress]\nmode = 'ask'\nmode = 'open'", "duplicate key"),
        (&"#".repeat((1 << 20) + 1), "1 MiB"),
    ] {
        let said = refused(text);
        assert!(said.contains(says), "{text:.90}\n  said {said}\n  not  {says}");
    }
}

proptest! {
    #[test]
    fn any_file_is_read_or_refused_with_a_line_of_it(cut in 0..ALL.len(), text in "[ -~\n]{0,40}") {
        let file = format!("{}{text}{}", &ALL[..cut], &ALL[cut..]);
        if let Err(bad) = Policy::parse(&file) {
            prop_assert!(bad.line <= 1 + file.lines().count());
        }
    }
}
