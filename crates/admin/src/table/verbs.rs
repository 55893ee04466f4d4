//! The entries of the table.

use super::{Access, Flag, Kind, Own, Reach, Verb};

const fn read(resource: &'static str, verb: &'static str, about: &'static str) -> Verb {
    Verb::new(Access::Read, resource, verb, about)
}

const fn write(resource: &'static str, verb: &'static str, about: &'static str) -> Verb {
    Verb::new(Access::Write, resource, verb, about)
}

const fn task(verb: &'static str, about: &'static str) -> Verb {
    Verb::new(Access::Own, "tasks", verb, about).takes("id", TASK).own(OF_OWN_GROUP)
}

const fn text(name: &'static str, about: &'static str) -> Flag {
    Flag::new(name, Kind::Text, about)
}

const fn number(name: &'static str, about: &'static str) -> Flag {
    Flag::new(name, Kind::Number, about)
}

const fn switch(name: &'static str, about: &'static str) -> Flag {
    Flag::new(name, Kind::Switch, about)
}

const fn word(name: &'static str, words: &'static [&'static str], about: &'static str) -> Flag {
    Flag::new(name, Kind::Word(words), about)
}

const ENGAGE: &[&str] = &["pattern", "mention", "mention-sticky"];
const POLICY: &[&str] = &["strict", "request_approval", "public"];
const SENDERS: &[&str] = &["all", "known"];
const IGNORED: &[&str] = &["drop", "accumulate"];
const SESSION: &[&str] = &["shared", "per-thread", "agent-shared"];
const SCOPE: &[&str] = &["disabled", "group", "global"];
const TARGET: &[&str] = &["channel", "agent"];
const ROLE: &[&str] = &["owner", "admin"];
const MISSED: &[&str] = &["skip", "once", "all"];

const LIMIT: Flag = number("limit", "rows to show").or("200");
const OFFSET: Flag = number("offset", "rows to leave out").or("0");
const GROUP_ID: Flag = text("id", "the agent's id").needed();
const OF_GROUP: Flag = text("agent_group_id", "an agent's id").also("group");
const CHAT_ID: Flag = text("id", "the chat's id").needed();
const ID: Flag = text("id", "its id").needed();
const NEW_ID: Flag = text("id", "an id of your own; made if left out");
const FORCE: Flag = switch("force", "end its sessions and put their files aside");
const PREVIEWS: Flag =
    switch("stream_previews", "show an answer while it is being said, where the channel can edit");
const USER: Flag = text("user", "the person, channel:handle").also("user_id");
const GROUP: Flag = text("group", "an agent's id").also("agent_group_id");
const BY: Flag = text("by", "the person who decided it").also("granted_by");
const OF_SESSION: Flag = text("session", "a session's id").also("session_id");
/// Task ids are made in boxes: two agents may have the same.
const TASK: &[Flag] = &[ID, OF_GROUP, OF_SESSION];
const OF_OWN_GROUP: Own = Own::Flag("agent_group_id");

/// What there is, in the order of the help.
pub const RESOURCES: &[(&str, &str)] = &[
    ("status", "how the install is"),
    ("top", "what its boxes do"),
    ("why", "the story of a message"),
    ("groups", "agents: each has a folder, a configuration, and boxes that run it"),
    ("channels", "the platforms of this install, and how they are"),
    ("chats", "connects a chat by a code that is typed there"),
    ("messaging-groups", "chats on platforms"),
    ("wirings", "which agent listens in which chat, and when it answers"),
    ("users", "people; several identities can be linked to one person"),
    ("roles", "owners, and admins of all agents or of one"),
    ("members", "who may talk to an agent"),
    ("denied-senders", "strangers who were turned away"),
    ("destinations", "whom an agent may write to, by which name"),
    ("sessions", "conversations, each with a box of its own"),
    ("tasks", "scheduled work"),
    ("approvals", "what waits for a person's yes"),
    ("user-dms", "where people are reached directly"),
    ("dropped-messages", "chats whose messages nobody answered"),
    ("dead-letters", "messages that were given up"),
    ("help", "this"),
];

/// The list.
pub const VERBS: &[Verb] = &[
    read("status", "", "channels, boxes, what waits and what is wrong"),
    read("top", "", "boxes that run: age, CPU, memory and what they do")
        .with(&[switch("watch", "go on showing it until Ctrl-C")])
        .shows(&["session", "agent", "age", "cpu", "memory", "doing"]),
    read("why", "", "the whole story of a message, in or out")
        .takes("id", &[text("id", "the message's id, or how it begins").needed()])
        .shows(&["at", "step", "session", "message", "detail"]),
    read("help", "", "what can be asked, or everything about one resource")
        .takes("resource", &[text("resource", "which")])
        .own(Own::Nothing),
    // groups
    read("groups", "list", "agents")
        .with(&[GROUP_ID_FILTER, NAME_FILTER, text("folder", "only this one"), LIMIT, OFFSET])
        .own(Own::Flag("id"))
        .shows(&["id", "name", "folder", "provider", "created_at"]),
    read("groups", "get", "one agent").takes("id", &[GROUP_ID]).own(Own::Flag("id")),
    write("groups", "create", "makes an agent that can start at once").with(&[
        text("name", "what people call it").needed(),
        text("folder", "its folder below groups/; made from the name if left out"),
        text("provider", "its harness; the install's default if left out"),
        NEW_ID,
    ]),
    write("groups", "update", "renames an agent")
        .takes("id", &[GROUP_ID, text("name", "the new name").needed()])
        .own(Own::Flag("id")),
    write("groups", "delete", "removes an agent; its folder is put aside, not deleted")
        .takes("id", &[GROUP_ID, FORCE]),
    write("groups", "restart", "stops its boxes; work starts them again")
        .takes(
            "id",
            &[
                GROUP_ID,
                switch("rebuild", "makes its packages anew first"),
                text("message", "what the new boxes are told; starts them at once"),
            ],
        )
        .own(Own::Flag("id")),
    read("groups", "config get", "how an agent's box is set up")
        .takes("id", &[GROUP_ID])
        .own(Own::Flag("id")),
    write("groups", "config update", "changes it; in force when the boxes start next")
        .takes(
            "id",
            &[
                GROUP_ID,
                text("provider", "the harness").or_none(),
                text("model", "the model").or_none(),
                text("effort", "how hard it thinks").or_none(),
                text("image_tag", "the image of its box").or_none(),
                text("assistant_name", "what it calls itself").or_none(),
                number("max_messages_per_prompt", "most messages in one prompt").or_none(),
                text("skills", "all, none, or names with commas between").or_none(),
                number("memory_mib", "memory of a box in MiB; the install's limit if cleared")
                    .or_none(),
                number("pids", "processes and threads of a box").or_none(),
                number("cpu_millis", "CPU of a box in thousandths: 1500 is one and a half")
                    .or_none(),
                word("cli_scope", SCOPE, "how far its own ncl reaches"),
            ],
        )
        .own(Own::Flag("id")),
    write(
        "groups",
        "config add-mcp-server",
        "adds a tool server, or replaces the one of that name",
    )
    .takes(
        "id",
        &[
            GROUP_ID,
            text("name", "its name").needed(),
            text("command", "the program").needed(),
            Flag::new("args", Kind::List, "its arguments, a JSON array").or("[]"),
            Flag::new("env", Kind::Map, "its variables, a JSON object").or("{}"),
        ],
    )
    .own(Own::Flag("id")),
    write("groups", "config remove-mcp-server", "removes a tool server")
        .takes("id", &[GROUP_ID, text("name", "its name").needed()])
        .own(Own::Flag("id")),
    write("groups", "config add-package", "installs a package for its boxes")
        .takes("id", &[GROUP_ID, text("apt", "a Debian package"), text("npm", "an npm package")])
        .own(Own::Flag("id")),
    write("groups", "config remove-package", "removes a package")
        .takes("id", &[GROUP_ID, text("apt", "a Debian package"), text("npm", "an npm package")])
        .own(Own::Flag("id")),
    write(
        "groups",
        "config add-mount",
        "shows a folder of this machine to its boxes, if the allow-list lets it",
    )
    .takes(
        "id",
        &[
            GROUP_ID,
            text("path", "the folder, absolute").needed(),
            text("target", "its name below /workspace/extra; the folder's own if left out"),
            switch("writable", "let the boxes change it"),
        ],
    ),
    write("groups", "config remove-mount", "hides it again")
        .takes("id", &[GROUP_ID, text("path", "the folder").needed()]),
    // channels
    read("channels", "list", "how each channel is, since when, and what it needs")
        .with(&[LIMIT, OFFSET])
        .shows(&["name", "state", "since", "why"]),
    write("channels", "restart", "starts a channel anew")
        .takes("name", &[text("name", "which").needed()])
        .reach(Reach::Operator),
    write("chats", "pair", "hands out a code that connects the chat where it is typed")
        .with(&[
            text("channel", "where it is going to be typed").needed(),
            text("agent", "who answers there: a name, folder or id; the only agent if left out"),
            switch("owner", "whoever types it is the operator"),
            switch("no_wait", "do not wait until it was used"),
        ])
        .reach(Reach::Operator),
    read("chats", "pairing", "waits until a code was used, and says what came of it")
        .takes("id", &[ID, switch("no_wait", "do not wait")])
        .reach(Reach::Operator),
    // messaging-groups
    read("messaging-groups", "list", "chats")
        .with(&[
            text("channel_type", "only of this channel"),
            text("platform_id", "only this one"),
            NAME_FILTER,
            word("unknown_sender_policy", POLICY, "only with this policy"),
            LIMIT,
            OFFSET,
        ])
        .shows(&[
            "id",
            "channel_type",
            "platform_id",
            "name",
            "is_group",
            "unknown_sender_policy",
            "denied_at",
        ]),
    read("messaging-groups", "get", "one chat").takes("id", &[CHAT_ID]),
    write("messaging-groups", "create", "makes a chat known").with(&[
        text("channel_type", "the channel").needed(),
        text("platform_id", "what the channel calls it").needed(),
        text("name", "what people call it").or_none(),
        switch("is_group", "whether several people are in it").or("true"),
        word("unknown_sender_policy", POLICY, "what happens to strangers").or("strict"),
        NEW_ID,
    ]),
    write("messaging-groups", "update", "changes a chat").takes(
        "id",
        &[
            CHAT_ID,
            text("name", "what people call it").or_none(),
            switch("is_group", "whether several people are in it"),
            word("unknown_sender_policy", POLICY, "what happens to strangers"),
            text("denied_at", "when it was rejected; clear it to be asked again").or_none(),
        ],
    ),
    write("messaging-groups", "delete", "forgets a chat with its wirings")
        .takes("id", &[CHAT_ID, FORCE]),
    // wirings
    read("wirings", "list", "who listens where")
        .with(&[text("messaging_group_id", "only of this chat"), OF_GROUP, LIMIT, OFFSET])
        .shows(&[
            "id",
            "messaging_group_id",
            "agent_group_id",
            "engage_mode",
            "engage_pattern",
            "session_mode",
            "sender_scope",
            "ignored_message_policy",
            "broken",
        ]),
    read("wirings", "get", "one wiring").takes("id", &[ID]),
    write("wirings", "create", "makes an agent listen in a chat, and lets it write there").with(&[
        text("messaging_group_id", "the chat").needed(),
        text("agent_group_id", "the agent").needed(),
        word("engage_mode", ENGAGE, "when it answers").or("mention"),
        text("engage_pattern", "the regular expression of mode pattern; . is everything").or_none(),
        word("sender_scope", SENDERS, "whom it answers").or("all"),
        word("ignored_message_policy", IGNORED, "what becomes of other messages").or("drop"),
        word("session_mode", SESSION, "how the chat is cut into sessions").or("shared"),
        PREVIEWS,
        number("priority", "higher is asked first").or("0"),
        NEW_ID,
    ]),
    write("wirings", "update", "changes when it answers").takes(
        "id",
        &[
            ID,
            word("engage_mode", ENGAGE, "when it answers"),
            text("engage_pattern", "the regular expression of mode pattern").or_none(),
            word("sender_scope", SENDERS, "whom it answers"),
            word("ignored_message_policy", IGNORED, "what becomes of other messages"),
            word("session_mode", SESSION, "how the chat is cut into sessions"),
            PREVIEWS,
            number("priority", "higher is asked first"),
        ],
    ),
    write("wirings", "delete", "makes it stop listening; the name it writes by stays")
        .takes("id", &[ID]),
    // people
    read("users", "list", "everybody")
        .with(&[text("kind", "only of this channel"), LIMIT, OFFSET])
        .shows(&["id", "kind", "display_name", "person", "created_at"]),
    read("users", "get", "one person").takes("id", &[ID]),
    write("users", "create", "makes a person known before they write").takes(
        "id",
        &[
            text("id", "channel:handle").needed(),
            text("kind", "the channel; taken from the id if left out"),
            text("display_name", "what people call them").or_none(),
        ],
    ),
    write("users", "update", "renames a person")
        .takes("id", &[ID, text("display_name", "the new name").needed().or_none()]),
    write("users", "link", "says that two identities are one person")
        .takes("id", &[ID, text("to", "the other identity").needed()])
        .reach(Reach::Operator),
    write("users", "unlink", "says that an identity is a person of its own")
        .takes("id", &[ID])
        .reach(Reach::Operator),
    read("roles", "list", "who may do what")
        .with(&[USER, word("role", ROLE, "only this role"), GROUP, LIMIT, OFFSET])
        .shows(&["user_id", "role", "agent_group_id", "granted_by", "granted_at"]),
    write("roles", "grant", "gives a role: for one agent, or everywhere").with(&[
        USER.needed(),
        word("role", ROLE, "which").needed(),
        GROUP,
        BY,
    ]),
    write("roles", "revoke", "takes a role").with(&[
        USER.needed(),
        word("role", ROLE, "which").needed(),
        GROUP,
    ]),
    read("members", "list", "who may talk to which agent")
        .with(&[USER, GROUP, LIMIT, OFFSET])
        .own(Own::Flag("group"))
        .shows(&["user_id", "agent_group_id", "added_by", "added_at"]),
    write("members", "add", "lets a person talk to an agent")
        .with(&[USER.needed(), GROUP.needed(), BY.also("added_by")])
        .own(Own::Flag("group")),
    write("members", "remove", "ends it")
        .with(&[USER.needed(), GROUP.needed()])
        .own(Own::Flag("group")),
    read("denied-senders", "list", "strangers who were turned away, and until when")
        .with(&[USER, OF_GROUP, LIMIT, OFFSET])
        .shows(&["user_id", "messaging_group_id", "agent_group_id", "until"]),
    write("denied-senders", "undo", "lets people be asked about a stranger again")
        .takes("user", &[USER.needed()]),
    read("user-dms", "list", "direct chats with people").with(&[USER, LIMIT, OFFSET]).shows(&[
        "user_id",
        "channel_type",
        "messaging_group_id",
        "resolved_at",
    ]),
    // destinations
    read("destinations", "list", "names that agents write to")
        .with(&[OF_GROUP.also("id"), LIMIT, OFFSET])
        .own(OF_OWN_GROUP)
        .shows(&["agent_group_id", "local_name", "target_type", "target_id", "created_at"]),
    write("destinations", "add", "lets an agent write to a chat or to another agent")
        .with(&[
            OF_GROUP.needed(),
            text("local_name", "the name it uses").needed(),
            word("target_type", TARGET, "what it stands for").needed(),
            text("target_id", "the chat's or the agent's id").needed(),
        ])
        .own(OF_OWN_GROUP),
    write("destinations", "remove", "takes a name away")
        .with(&[OF_GROUP.needed(), text("local_name", "the name").needed()])
        .own(OF_OWN_GROUP),
    // sessions
    read("sessions", "list", "sessions, newest first; a quarantined one shows its reason")
        .with(&[
            OF_GROUP,
            text("messaging_group_id", "only of this chat"),
            word("status", &["active", "closed"], "only those"),
            LIMIT,
            OFFSET,
        ])
        .own(OF_OWN_GROUP)
        .shows(&[
            "id",
            "agent_group_id",
            "messaging_group_id",
            "thread_id",
            "state",
            "last_active",
            "reason",
        ]),
    read("sessions", "get", "one session").takes("id", &[ID]).own(Own::Session),
    write(
        "sessions",
        "clear",
        "ends a quarantine: puts the damaged outbox aside and starts a fresh one",
    )
    .takes("id", &[ID]),
    write("sessions", "stop", "stops its box; work starts it again")
        .takes("id", &[ID])
        .own(Own::Session),
    // tasks
    read("tasks", "list", "scheduled work of all sessions")
        .with(&[OF_GROUP, OF_SESSION, LIMIT, OFFSET])
        .own(OF_OWN_GROUP)
        .shows(&[
            "id",
            "agent_group_id",
            "session_id",
            "status",
            "next_at",
            "recurrence",
            "prompt",
        ]),
    read("tasks", "get", "one task").takes("id", TASK).own(OF_OWN_GROUP),
    task("run", "runs it now, once, beside its schedule"),
    task("pause", "puts it on hold"),
    task("resume", "lets it run again"),
    task("cancel", "ends it for good"),
    Verb::new(Access::Own, "tasks", "update", "changes it; what is left out stays")
        .takes(
            "id",
            &[
                ID,
                OF_GROUP,
                OF_SESSION,
                text("prompt", "what to do"),
                text("process_after", "when to run next, as 2026-02-04T13:30:00Z"),
                text("recurrence", "cron expression; cleared, it runs only once").or_none(),
                text("timezone", "IANA zone of the expression").or_none(),
                text("script", "Bash that decides whether to wake the agent").or_none(),
                word("missed", MISSED, "what becomes of runs that were missed"),
            ],
        )
        .own(OF_OWN_GROUP),
    // approvals
    read("approvals", "list", "requests, newest first")
        .with(&[
            word(
                "status",
                &["pending", "approved", "applying", "rejected", "expired", "done", "failed"],
                "only those",
            ),
            LIMIT,
            OFFSET,
        ])
        .shows(&["approval_id", "action", "title", "status", "created_at", "expires_at"]),
    read("approvals", "get", "one request, with everything that will happen")
        .takes("id", &[text("id", "its id").needed().also("approval_id")])
        .reach(Reach::Operator),
    write("approvals", "approve", "says yes")
        .takes("id", &[ID, text("option", "which one, where there are several kinds of yes")])
        .reach(Reach::Operator),
    write("approvals", "reject", "says no").takes("id", &[ID]).reach(Reach::Operator),
    write("approvals", "require", "how many people must approve what an agent asks for")
        .takes("people", &[number("people", "how many").needed()])
        .reach(Reach::Operator),
    // messages
    read("dropped-messages", "list", "chats whose messages nobody answered, and why")
        .with(&[text("channel_type", "only of this channel"), LIMIT, OFFSET])
        .shows(&[
            "channel_type",
            "platform_id",
            "sender_name",
            "reason",
            "message_count",
            "last_seen",
        ]),
    read("dead-letters", "list", "messages that were given up, and why")
        .with(&[LIMIT, OFFSET])
        .shows(&["id", "session", "to", "attempts", "last_error", "last_at"]),
    write("dead-letters", "replay", "tries one again, or all of them")
        .takes("id", &[text("id", "the message's id, or all").needed()]),
];

const GROUP_ID_FILTER: Flag = text("id", "only this one");
const NAME_FILTER: Flag = text("name", "only of this name");
