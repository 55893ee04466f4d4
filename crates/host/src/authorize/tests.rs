use super::*;
use nanoclaw_central::{
    Agent, Chat, ChatKind, ContainerStatus, DestinationTarget, UnknownSenderPolicy,
};
use nanoclaw_contract::ids::ChatId;
use nanoclaw_contract::time::Timestamp;

fn address(channel: &str, place: &str, thread: Option<&str>) -> Address {
    Address {
        channel_type: channel.parse().unwrap(),
        platform_id: place.parse().unwrap(),
        thread_id: thread.map(|t| t.parse().unwrap()),
    }
}

fn agent(name: &str) -> Agent {
    Agent {
        id: AgentId::parse(name).unwrap(),
        name: name.into(),
        folder: name.into(),
        provider: None,
        created_at: String::new(),
    }
}

fn chat(name: &str) -> Chat {
    Chat {
        id: ChatId::parse(name).unwrap(),
        channel_type: "cli".parse().unwrap(),
        platform_id: name.parse().unwrap(),
        name: None,
        kind: ChatKind::Group,
        policy: UnknownSenderPolicy::Public,
        denied_at: None,
        created_at: String::new(),
    }
}

/// Agent `me` with its session in `home`, a name for `friend` and `den`; `foe` and `elsewhere` exist too.
fn world() -> (Central, Session) {
    let central = Central::open_in_memory(Timestamp::UNIX_EPOCH).unwrap();
    ["me", "friend", "foe"].iter().for_each(|a| central.create_agent(&agent(a)).unwrap());
    ["home", "den", "elsewhere"].iter().for_each(|c| central.create_chat(&chat(c)).unwrap());
    let me = agent("me").id;
    for (name, target) in [
        ("friend", DestinationTarget::Agent(agent("friend").id)),
        ("den", DestinationTarget::Chat(chat("den").id)),
    ] {
        central.add_destination(&me, name, &target, Timestamp::UNIX_EPOCH).unwrap();
    }
    let session = Session {
        id: "s".parse().unwrap(),
        agent: me,
        chat: Some(chat("home").id),
        thread: None,
        provider: None,
        active: true,
        container: ContainerStatus::Stopped,
        last_active: None,
        created_at: String::new(),
    };
    (central, session)
}

fn judge(to: Option<&Address>) -> Verdict {
    let (central, session) = world();
    authorize(to, &Destinations::of(&central, &session, to).unwrap())
}

#[test]
fn an_agent_writes_home_to_itself_and_where_it_has_a_name_for() {
    for (to, why) in [
        (address("cli", "home", None), "it is the session's own chat"),
        (address("cli", "home", Some("any thread")), "it is the session's own chat"),
        (address("cli", "den", None), "it is one of the agent's destinations"),
        (address("agent", "me", None), "it is the agent itself"),
        (address("agent", "friend", None), "it is one of the agent's destinations"),
    ] {
        assert_eq!(judge(Some(&to)), Verdict::Allowed(why), "{to:?}");
    }
}

#[test]
fn everywhere_else_refuses() {
    for (to, why) in [
        (
            address("cli", "elsewhere", None),
            "the chat elsewhere on cli is not one of your destinations",
        ),
        (address("cli", "nowhere", None), "there is no chat nowhere on cli"),
        (address("other", "home", None), "there is no chat home on other"),
        (address("agent", "foe", None), "the agent foe is not one of your destinations"),
        (address("agent", "ghost", None), "there is no agent ghost"),
        // The ids of agents and chats are no addresses of each other.
        (address("cli", "me", None), "there is no chat me on cli"),
        (address("agent", "home", None), "there is no agent home"),
    ] {
        assert_eq!(judge(Some(&to)), Verdict::Refused(why.into()), "{to:?}");
    }
    assert_eq!(judge(None), Verdict::Refused("it has no address".into()));
}
