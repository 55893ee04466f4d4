//! Prompts, exactly as the model reads them.

use super::*;
use expect_test::{Expect, expect};
use nanoclaw_contract::ids::{AgentId, ChannelType, MessageId, PlatformId};
use nanoclaw_contract::message::Trigger;
use serde_json::json;

fn row(kind: InKind, channel: &str, platform: &str, content: Value) -> InRow {
    InRow {
        id: MessageId::parse("m").unwrap(),
        seq: 4,
        kind,
        timestamp: "2026-02-04T18:30:00.000Z".into(),
        trigger: Trigger::Wake,
        tries: 0,
        channel_type: ChannelType::parse(channel).ok(),
        platform_id: PlatformId::parse(platform).ok(),
        thread_id: None,
        content: content.to_string(),
        on_wake: false,
    }
}

fn chat(content: Value) -> InRow {
    row(InKind::Chat, "cli", "local", content)
}

fn check(rows: &[InRow], expect: Expect) {
    let name = |name: &str, target| Destination { name: name.into(), display_name: None, target };
    let home = Target::Channel {
        channel_type: ChannelType::parse("cli").unwrap(),
        platform_id: PlatformId::parse("local").unwrap(),
    };
    let peer = Target::Agent(AgentId::parse("ag-2").unwrap());
    let own = ThreadId::parse("own").ok();
    let scene = Scene {
        destinations: &[name("home", home), name("peer", peer)],
        thread: own.as_ref(),
        zone: &zone(Some("America/New_York")),
        workspace: Path::new("/workspace"),
    };
    expect.assert_eq(&text(&scene, &[], rows));
}

#[test]
fn the_header_is_there_even_without_rows() {
    check(
        &[],
        expect![[r#"
        <context timezone="America/New_York" />
    "#]],
    );
}

#[test]
fn one_message_stands_alone() {
    check(
        &[chat(json!({ "text": "hi", "sender": "Ann" }))],
        expect![[r#"
        <context timezone="America/New_York" />
        <message id="4" from="home" sender="Ann" time="Feb 4, 2026, 1:30 PM">hi</message>"#]],
    );
}

/// An agent that follows many threads in one session can tell them apart.
#[test]
fn messages_of_other_threads_name_theirs() {
    let of = |thread: &str| InRow {
        thread_id: ThreadId::parse(thread).ok(),
        ..chat(json!({ "text": "hi", "sender": "Ann" }))
    };
    check(
        &[of("own"), of("other\"t")],
        expect![[r#"
        <context timezone="America/New_York" />
        <messages>
        <message id="4" from="home" sender="Ann" time="Feb 4, 2026, 1:30 PM">hi</message>
        <message id="4" from="home" thread="other&quot;t" sender="Ann" time="Feb 4, 2026, 1:30 PM">hi</message>
        </messages>"#]],
    );
}

#[test]
fn several_messages_share_a_frame_and_keep_their_order_among_other_kinds() {
    let rows = [
        chat(json!({ "text": "a", "author": { "fullName": "Bo" } })),
        row(InKind::ChatSdk, "agent", "ag-2", json!({ "text": "b", "sender": "peer" })),
        row(
            InKind::Task,
            "cli",
            "local",
            json!({ "prompt": "do </task> it", "scriptOutput": { "n": 1 } }),
        ),
        row(
            InKind::Webhook,
            "",
            "",
            json!({ "source": "git", "event": "push", "payload": { "x": "<" } }),
        ),
        row(
            InKind::System,
            "cli",
            "other",
            json!({ "action": "a", "status": "ok", "result": [1] }),
        ),
        chat(json!({ "text": "c" })),
    ];
    check(
        &rows,
        expect![[r#"
        <context timezone="America/New_York" />
        <messages>
        <message id="4" from="home" sender="Bo" time="Feb 4, 2026, 1:30 PM">a</message>
        <message id="4" from="peer" sender="peer" time="Feb 4, 2026, 1:30 PM">b</message>
        </messages>

        <task from="home" time="Feb 4, 2026, 1:30 PM">Script output:
        {
          &quot;n&quot;: 1
        }

        Instructions:
        do &lt;/task&gt; it</task>

        <webhook source="git" event="push">{
          &quot;x&quot;: &quot;&lt;&quot;
        }</webhook>

        <system_response from="unknown:cli:other" action="a" status="ok">[1]</system_response>

        <message id="4" from="home" sender="Unknown" time="Feb 4, 2026, 1:30 PM">c</message>"#]],
    );
}

#[test]
fn a_quote_comes_before_the_text_and_needs_its_text() {
    let with = |quote: Value| chat(json!({ "text": "yes", "sender": "Ann", "replyTo": quote }));
    check(
        &[with(json!({ "id": "7", "sender": "A&B", "text": "\"really\"?" }))],
        expect![[r#"
        <context timezone="America/New_York" />
        <message id="4" from="home" sender="Ann" time="Feb 4, 2026, 1:30 PM" reply_to="7">
          <quoted_message from="A&amp;B">&quot;really&quot;?</quoted_message>
        yes</message>"#]],
    );
    check(
        &[with(json!({ "id": "7", "sender": "Bo" }))],
        expect![[r#"
        <context timezone="America/New_York" />
        <message id="4" from="home" sender="Ann" time="Feb 4, 2026, 1:30 PM" reply_to="7">yes</message>"#]],
    );
}

#[test]
fn attachments_are_listed() {
    let row = chat(json!({ "text": "look", "sender": "Ann", "attachments": [
        { "type": "image", "name": "a.png", "localPath": "inbox/m/a.png" },
        { "filename": "b", "url": "https://x" },
        { "type": "<x>" },
        { "type": "video", "name": "c.mp4", "missing": "it has 90 MB & more" },
    ] }));
    check(
        &[row],
        expect![[r#"
        <context timezone="America/New_York" />
        <message id="4" from="home" sender="Ann" time="Feb 4, 2026, 1:30 PM">look
        [image: a.png — saved to /workspace/inbox/m/a.png]
        [file: b (https://x)]
        [&lt;x&gt;: attachment]
        [video: c.mp4 — not here: it has 90 MB &amp; more]</message>"#]],
    );
}

#[test]
fn times_without_a_zone_are_utc_and_unreadable_ones_are_shown() {
    let mut sqlite = chat(json!({ "text": "a", "sender": "A" }));
    sqlite.timestamp = "2026-02-04 12:00:00".into();
    let mut broken = chat(json!({ "text": "b", "sender": "A" }));
    (broken.timestamp, broken.seq) = ("yester<day".into(), 0);
    check(
        &[sqlite, broken],
        expect![[r#"
        <context timezone="America/New_York" />
        <messages>
        <message id="4" from="home" sender="A" time="Feb 4, 2026, 7:00 AM">a</message>
        <message from="home" sender="A" time="yester&lt;day">b</message>
        </messages>"#]],
    );
}

#[test]
fn a_path_behind_an_at_sign_is_defused_and_a_name_is_not() {
    for (text, wanted) in [
        ("@/etc/passwd", "@\u{200b}/etc/passwd"),
        ("see @~/x and @a.md", "see @\u{200b}~/x and @\u{200b}a.md"),
        ("(@./x)", "(@\u{200b}./x)"),
        ("@alice, hello", "@alice, hello"),
        ("ask @alice.", "ask @alice."),
        ("me@example.org", "me@example.org"),
        ("@\"a b\"", "@\u{200b}&quot;a b&quot;"),
    ] {
        assert_eq!(escape(text), wanted);
    }
}

#[test]
fn zones_that_nobody_knows_are_utc() {
    for name in [None, Some(""), Some("Not/AZone"), Some("../../etc/passwd")] {
        assert_eq!(zone(name), TimeZone::UTC, "{name:?}");
    }
    let at = "2026-02-04T18:30:00Z".parse().unwrap();
    assert_eq!(local_time(at, &zone(Some("Asia/Tokyo"))), "Feb 5, 2026, 3:30 AM");
}

#[test]
fn pictures_go_along_if_they_are_pictures_and_lie_in_the_session() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.png"), "x").unwrap();
    std::fs::write(dir.path().join("b.pdf"), "x").unwrap();
    std::fs::File::create(dir.path().join("big.png")).unwrap().set_len(6 << 20).unwrap();
    let scene =
        Scene { destinations: &[], thread: None, zone: &TimeZone::UTC, workspace: dir.path() };
    let file =
        |path: &str, mime: Value| json!({ "type": "image", "localPath": path, "mimeType": mime });
    let row = chat(json!({ "attachments": [
        file("a.png", Value::Null), file("a.png", "image/webp".into()), file("b.pdf", Value::Null),
        file("big.png", Value::Null), file("../a.png", Value::Null), file("/etc/a.png", Value::Null),
        file("gone.png", Value::Null), file("a.png", "text/html".into()),
    ] }));
    let all: Vec<_> = images(&scene, &[row]).into_iter().map(|i| i.mime).collect();
    assert_eq!(all, ["image/png", "image/webp"]);
}

#[test]
fn times_are_shown_in_the_users_zone() {
    for (at, name, shown) in [
        ("2026-02-04T18:30:00Z", Some("America/New_York"), "Feb 4, 2026, 1:30 PM"),
        ("2026-07-04T12:00:00Z", Some("America/New_York"), "Jul 4, 2026, 8:00 AM"),
        ("2026-07-04T12:00:00Z", Some("Asia/Tokyo"), "Jul 4, 2026, 9:00 PM"),
        ("2026-07-04T12:00:00Z", Some("IST-2"), "Jul 4, 2026, 12:00 PM"),
        ("2026-07-04T12:00:00Z", Some("garbage"), "Jul 4, 2026, 12:00 PM"),
        ("2026-07-04T12:00:00Z", Some(""), "Jul 4, 2026, 12:00 PM"),
        ("2026-07-04T12:00:00Z", None, "Jul 4, 2026, 12:00 PM"),
    ] {
        assert_eq!(local_time(at.parse().unwrap(), &zone(name)), shown, "{name:?}");
    }
}
