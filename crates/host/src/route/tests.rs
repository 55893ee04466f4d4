use super::*;
use nanoclaw_central::{Role, SenderScope};

fn agent(name: &str) -> Agent {
    Agent {
        id: format!("ag-{name}").parse().unwrap(),
        name: name.to_uppercase(),
        folder: name.into(),
        provider: None,
        created_at: String::new(),
    }
}

fn wiring(agent: &str) -> Wiring {
    Wiring {
        id: format!("w-{agent}").parse().unwrap(),
        chat: "mg".parse().unwrap(),
        agent: format!("ag-{agent}").parse().unwrap(),
        session_mode: SessionMode::Shared,
        priority: 0,
        engage_mode: Some(EngageMode::Pattern),
        engage_pattern: Some(".".into()),
        sender_scope: SenderScope::All,
        ignored: IgnoredPolicy::Drop,
        previews: false,
        created_at: String::new(),
    }
}

/// A message in a chat, and how every agent there takes it.
struct Case {
    text: &'static str,
    mention: Mention,
    thread: Option<&'static str>,
    threads: Threads,
    kind: ChatKind,
    policy: UnknownSenderPolicy,
    only_for: Option<&'static str>,
    sender: Option<UserFacts>,
    addressed_before: bool,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            text: "hi",
            mention: Mention::No,
            thread: None,
            threads: Threads::No,
            kind: ChatKind::Group,
            policy: UnknownSenderPolicy::Public,
            only_for: None,
            sender: Some(UserFacts::default()),
            addressed_before: false,
        }
    }
}

fn admin() -> Option<UserFacts> {
    Some(UserFacts { roles: vec![(Role::Admin, None)], member: false })
}

fn chat(case: &Case) -> Chat {
    Chat {
        id: "mg".parse().unwrap(),
        channel_type: "cli".parse().unwrap(),
        platform_id: "p".parse().unwrap(),
        name: None,
        kind: case.kind,
        policy: case.policy,
        denied_at: None,
        created_at: String::new(),
    }
}

/// One line per wiring: who, what, where, and what follows from it.
fn route(case: &Case, wirings: &[Wiring]) -> Vec<String> {
    let agents: Vec<_> = wirings.iter().map(|w| agent(&w.agent.as_str()[3..])).collect();
    let listeners: Vec<_> = wirings
        .iter()
        .zip(&agents)
        .map(|(wiring, agent)| Listener {
            wiring,
            agent,
            sender: case.sender.clone(),
            addressed_before: case.addressed_before,
        })
        .collect();
    let thread: Option<ThreadId> = case.thread.map(|t| t.parse().unwrap());
    let chat = chat(case);
    let said = Said { text: case.text, mention: case.mention, thread: thread.as_ref() };
    let facts = Facts {
        chat: &chat,
        said,
        threads: case.threads,
        only_for: case.only_for,
        listeners: &listeners,
    };
    decide(&facts).iter().map(line).collect()
}

fn line(r: &Routed<'_>) -> String {
    assert!(!r.decision.why().is_empty(), "a decision without a reason");
    let place = match &r.place {
        Placement::AgentShared => "agent".to_owned(),
        Placement::Chat => "chat".to_owned(),
        Placement::Thread(t) => format!("thread {t}"),
    };
    let what = match &r.decision {
        Decision::Engage(_) => format!("engage in {place}"),
        Decision::Keep(_) => format!("keep in {place}"),
        Decision::Ignore(_) => "ignore".to_owned(),
        Decision::Refuse(no) if no.ask => format!("refuse {} and ask", no.record),
        Decision::Refuse(no) => format!("refuse {}", no.record),
        Decision::Filtered(f) => format!("filtered, {}", f.reply.as_deref().unwrap_or("silently")),
    };
    let stay = if r.stay { ", stay" } else { "" };
    let complaint = if r.complaint.is_some() { ", complain" } else { "" };
    format!("{}: {what}{stay}{complaint}", &r.wiring.agent.as_str()[3..])
}

fn one(case: &Case, wiring: Wiring) -> String {
    route(case, &[wiring]).remove(0)
}

#[test]
fn every_agent_decides_for_itself() {
    let wirings = [
        wiring("a"),
        Wiring { engage_pattern: Some("^!b".into()), ..wiring("b") },
        Wiring {
            engage_mode: Some(EngageMode::Mention),
            ignored: IgnoredPolicy::Accumulate,
            ..wiring("c")
        },
        Wiring { sender_scope: SenderScope::Known, ..wiring("d") },
        Wiring { engage_mode: None, ..wiring("e") },
        Wiring { engage_pattern: Some("(".into()), ..wiring("f") },
        Wiring {
            engage_pattern: Some("(".into()),
            ignored: IgnoredPolicy::Accumulate,
            ..wiring("g")
        },
    ];
    assert_eq!(
        route(&Case::default(), &wirings),
        [
            "a: engage in chat",
            "b: ignore",
            "c: keep in chat",
            "d: refuse sender_scope_not_member",
            "e: ignore",
            "f: ignore, complain",
            "g: keep in chat, complain",
        ]
    );
    assert_eq!(route(&Case::default(), &[]), [""; 0]);
}

#[test]
fn what_is_not_meant_for_the_agent_is_kept_or_ignored() {
    let mention =
        |ignored| Wiring { engage_mode: Some(EngageMode::Mention), ignored, ..wiring("a") };
    for (ignored, said, is) in [
        (IgnoredPolicy::Accumulate, Mention::No, "a: keep in chat"),
        (IgnoredPolicy::Drop, Mention::No, "a: ignore"),
        (IgnoredPolicy::Accumulate, Mention::Yes, "a: engage in chat"),
        (IgnoredPolicy::Drop, Mention::Yes, "a: engage in chat"),
    ] {
        assert_eq!(one(&Case { mention: said, ..Case::default() }, mention(ignored)), is);
    }
}

#[test]
fn a_refused_sender_is_never_kept() {
    let keeps = Wiring { ignored: IgnoredPolicy::Accumulate, ..wiring("a") };
    let knows = Wiring { sender_scope: SenderScope::Known, ..keeps.clone() };
    let member = Some(UserFacts { roles: Vec::new(), member: true });
    use UnknownSenderPolicy::{Public, RequestApproval, Strict};
    for (policy, sender, wiring, is) in [
        (Strict, Some(UserFacts::default()), &keeps, "a: refuse unknown_sender_strict"),
        (
            RequestApproval,
            Some(UserFacts::default()),
            &keeps,
            "a: refuse unknown_sender_request_approval and ask",
        ),
        // Nobody can be let in who has no id.
        (RequestApproval, None, &keeps, "a: refuse unknown_sender_request_approval"),
        (Public, None, &knows, "a: refuse unknown_user_scope"),
        (Public, Some(UserFacts::default()), &knows, "a: refuse sender_scope_not_member"),
        // The chat's own reason goes before the wiring's.
        (Strict, None, &knows, "a: refuse unknown_sender_strict"),
        (Strict, member, &knows, "a: engage in chat"),
        (RequestApproval, admin(), &knows, "a: engage in chat"),
    ] {
        let case = Case { policy, sender, ..Case::default() };
        assert_eq!(one(&case, wiring.clone()), is);
    }
    // Nor by not saying its name.
    let member = || Some(UserFacts { roles: Vec::new(), member: true });
    for (policy, sender, wiring, is) in [
        (Strict, Some(UserFacts::default()), &keeps, "a: ignore"),
        (RequestApproval, None, &keeps, "a: ignore"),
        (Public, Some(UserFacts::default()), &knows, "a: ignore"),
        (Strict, member(), &knows, "a: keep in chat"),
    ] {
        let case = Case { policy, sender, mention: Mention::No, ..Case::default() };
        let wiring = Wiring { engage_mode: Some(EngageMode::Mention), ..wiring.clone() };
        assert_eq!(one(&case, wiring), is);
    }
}

#[test]
fn commands_are_filtered_after_the_sender_was_let_in() {
    let keeps = || Wiring { ignored: IgnoredPolicy::Accumulate, ..wiring("a") };
    let deaf = || Wiring { engage_mode: Some(EngageMode::Mention), ..keeps() };
    let denied = "a: filtered, Permission denied: /clear requires admin access.";
    for (text, sender, policy, wiring, is) in [
        ("/clear", Some(UserFacts::default()), UnknownSenderPolicy::Public, keeps(), denied),
        ("/clear@bot", None, UnknownSenderPolicy::Public, keeps(), denied),
        ("/clear", admin(), UnknownSenderPolicy::Public, keeps(), "a: engage in chat"),
        ("/login", admin(), UnknownSenderPolicy::Public, keeps(), "a: filtered, silently"),
        ("/weather", None, UnknownSenderPolicy::Public, keeps(), "a: engage in chat"),
        // A refused sender learns nothing about commands.
        ("/clear", None, UnknownSenderPolicy::Strict, keeps(), "a: refuse unknown_sender_strict"),
        // A command that was not said to the agent must not wait for it in its inbox.
        ("/clear", admin(), UnknownSenderPolicy::Public, deaf(), "a: ignore"),
        ("/help", admin(), UnknownSenderPolicy::Public, deaf(), "a: ignore"),
        ("/weather", admin(), UnknownSenderPolicy::Public, deaf(), "a: keep in chat"),
    ] {
        let case = Case { text, sender, policy, ..Case::default() };
        assert_eq!(one(&case, wiring), is, "{text}");
    }
}

#[test]
fn the_session_follows_wiring_chat_and_channel() {
    use ChatKind::{Direct, Group};
    use SessionMode::{AgentShared, PerThread, Shared};
    for (mode, kind, threads, thread, is) in [
        (Shared, Group, Threads::No, Some("t"), "chat"),
        (Shared, Group, Threads::Yes, Some("t"), "thread t"),
        (Shared, Group, Threads::Yes, None, "chat"),
        (Shared, Direct, Threads::Yes, Some("t"), "chat"),
        (PerThread, Group, Threads::Yes, Some("t"), "thread t"),
        (PerThread, Direct, Threads::Yes, Some("t"), "thread t"),
        (PerThread, Group, Threads::No, Some("t"), "chat"),
        (AgentShared, Group, Threads::Yes, Some("t"), "agent"),
        (AgentShared, Direct, Threads::No, None, "agent"),
    ] {
        let case = Case { kind, threads, thread, ..Case::default() };
        let wiring = Wiring { session_mode: mode, ..wiring("a") };
        assert_eq!(one(&case, wiring), format!("a: engage in {is}"), "{mode} {kind:?} {threads:?}");
    }
}

#[test]
fn an_agent_stays_in_the_thread_where_it_was_addressed() {
    let sticky = || Wiring {
        engage_mode: Some(EngageMode::MentionSticky),
        ignored: IgnoredPolicy::Accumulate,
        ..wiring("a")
    };
    let slack = || Case { threads: Threads::Yes, thread: Some("t"), ..Case::default() };
    assert_eq!(
        one(&Case { mention: Mention::Yes, ..slack() }, sticky()),
        "a: engage in thread t, stay"
    );
    assert_eq!(one(&Case { addressed_before: true, ..slack() }, sticky()), "a: engage in thread t");
    // The first plain message is kept, and so is the second: a session is no proof.
    assert_eq!(one(&slack(), sticky()), "a: keep in thread t");
    // Refused, it does not stay; nor where threads are no conversations; nor in a direct chat.
    let strict = Case { mention: Mention::Yes, policy: UnknownSenderPolicy::Strict, ..slack() };
    assert_eq!(one(&strict, sticky()), "a: refuse unknown_sender_strict");
    let flat = Case { mention: Mention::Yes, threads: Threads::No, ..slack() };
    assert_eq!(one(&flat, sticky()), "a: engage in chat");
    let flat = Case { addressed_before: true, threads: Threads::No, ..slack() };
    assert_eq!(one(&flat, sticky()), "a: keep in chat");
    let direct = Case { mention: Mention::Yes, kind: ChatKind::Direct, ..slack() };
    assert_eq!(one(&direct, sticky()), "a: engage in chat");
}

#[test]
fn a_message_for_one_agent_asks_no_other() {
    let keeps = |name| Wiring { ignored: IgnoredPolicy::Accumulate, ..wiring(name) };
    for only_for in ["b", "B", "ag-b"] {
        let case = Case { only_for: Some(only_for), ..Case::default() };
        assert_eq!(route(&case, &[keeps("a"), keeps("b")]), ["a: ignore", "b: engage in chat"]);
    }
}
