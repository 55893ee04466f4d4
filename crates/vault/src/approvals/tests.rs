use super::*;
use http_body_util::Full;
use hyper::body::Frame;
use std::convert::Infallible;
use std::sync::atomic::{AtomicI64, Ordering};

/// A vault's part in a folder of its own, with a clock that tests turn.
struct World {
    dir: tempfile::TempDir,
    now: Arc<AtomicI64>,
    bus: Arc<Bus>,
    approvals: Arc<Approvals>,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicI64::new(1_000_000));
    let (bus, approvals) = open(dir.path(), &now);
    World { dir, now, bus, approvals }
}

fn open(dir: &Path, now: &Arc<AtomicI64>) -> (Arc<Bus>, Arc<Approvals>) {
    let now = Arc::clone(now);
    let clock: Clock = Arc::new(move || now.load(Ordering::Relaxed));
    let bus = Arc::new(Bus::new(Arc::clone(&clock)));
    let approvals = Approvals::open(dir, [7; 32], Arc::clone(&bus), clock).unwrap();
    (bus, approvals)
}

impl World {
    /// The vault is killed and starts again.
    fn restart(&mut self) {
        (self.bus, self.approvals) = open(self.dir.path(), &self.now);
    }

    fn holds(&self, asked: Asked) -> tokio::task::JoinHandle<Result<(), No>> {
        let approvals = Arc::clone(&self.approvals);
        tokio::spawn(async move { approvals.hold(asked).await })
    }

    /// The ids of what waits, once there are so many.
    async fn cards(&self, n: usize) -> Vec<String> {
        let mut last = self.bus.last();
        while self.bus.pending().len() < n {
            last.changed().await.unwrap();
        }
        self.ids()
    }

    fn ids(&self) -> Vec<String> {
        self.bus.pending().iter().map(|e| e["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until so many connections wait for a row.
    async fn waiters(&self, id: &str, n: usize) {
        while lock(&self.approvals.waiting).get(id).copied().unwrap_or(0) < n {
            tokio::task::yield_now().await;
        }
    }

    fn decides(&self, id: &str, answer: &str) -> Decided {
        let (id, answer, by) = (id.to_owned(), answer.to_owned(), "boss".to_owned());
        self.approvals.decide(&Decision { id, answer, by, why: None }).unwrap()
    }
}

fn post(body: &str) -> Asked {
    Asked {
        session: "s1".into(),
        agent: "ag-a".into(),
        rule: Some("writes".into()),
        place: "api.example.com:443".into(),
        request: Some(Request {
            epoch: 1,
            secrets: vec![("example".into(), 1)],
            method: "POST".into(),
            scheme: "https".into(),
            path: "/v1/items".into(),
            query: Some("a=1&api_key=hunter2".into()),
            content_type: Some("application/json".into()),
            body: body.to_owned().into(),
        }),
    }
}

fn with(change: impl FnOnce(&mut Asked, &mut Request)) -> Asked {
    let mut asked = post("{}");
    let mut request = asked.request.take().unwrap();
    change(&mut asked, &mut request);
    Asked { request: Some(request), ..asked }
}

fn card_of(asked: &Asked) -> String {
    let event = card::event("hr-1", asked, 5);
    let lines = event["lines"].as_array().unwrap();
    lines.iter().map(|l| l.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

/// A1: the card comes after the whole body, and says the hash of what is sent.
#[tokio::test]
async fn a1_nobody_is_asked_before_the_last_byte() {
    let w = world();
    let (send, receive) = tokio::sync::mpsc::unbounded_channel::<&'static str>();
    let approvals = Arc::clone(&w.approvals);
    let held = tokio::spawn(async move {
        let body = approvals.collect("ag-a", Chunks(receive)).await?;
        let asked = with(|_, r| r.body = body.bytes.clone());
        approvals.hold(asked).await.map(|()| body.bytes)
    });
    send.send("harmless, ").unwrap();
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert!(w.bus.pending().is_empty(), "a card before the end of the body");
    send.send("and the rest").unwrap();
    drop(send);
    let id = w.cards(1).await.remove(0);
    let card = w.bus.pending()[0]["lines"].to_string();
    let sum = hex(&Sha256::digest(b"harmless, and the rest")[..6]);
    assert!(card.contains(&sum) && card.contains("22 bytes"), "{card}");
    w.waiters(&id, 1).await;
    assert_eq!(w.decides(&id, "approve"), Decided::Now { waiting: true });
    assert_eq!(held.await.unwrap().unwrap(), "harmless, and the rest");
}

struct Chunks(tokio::sync::mpsc::UnboundedReceiver<&'static str>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|next| next.map(|text| Ok(Frame::data(Bytes::from(text)))))
    }
}

/// A2: what people cannot look at is refused, said beforehand or not, and memory is bounded.
#[tokio::test]
async fn a2_a_body_beyond_8_mib_is_refused() {
    let w = world();
    let body = |n: usize| Full::new(Bytes::from(vec![b'x'; n]));
    let no = w.approvals.collect("ag-a", body(BODY_MAX + 1)).await.err();
    assert_eq!(no.map(|n| n.told().0.as_u16()), Some(413));
    // In chunks, nobody says beforehand how long it is.
    let (send, receive) = tokio::sync::mpsc::unbounded_channel();
    let chunk: &'static str = "x".repeat(1 << 20).leak();
    (0..9).for_each(|_| send.send(chunk).unwrap());
    assert_eq!(w.approvals.collect("ag-a", Chunks(receive)).await.err(), Some(No::TooLarge));
    let mut kept = Vec::new();
    for _ in 0..4 {
        kept.push(w.approvals.collect("ag-a", body(BODY_MAX)).await.ok().unwrap());
    }
    assert_eq!(w.approvals.collect("ag-a", body(1)).await.err(), Some(No::Busy));
    assert!(w.approvals.collect("ag-b", body(1)).await.is_ok(), "another agent has its own room");
    kept.pop();
    assert!(w.approvals.collect("ag-a", body(BODY_MAX)).await.is_ok());
}

/// A3: a hundred retries are one card, and one yes lets one through.
#[tokio::test]
async fn a3_identical_requests_share_one_card_and_one_yes() {
    let w = world();
    let held: Vec<_> = (0..100).map(|_| w.holds(post("{}"))).collect();
    let id = w.cards(1).await.remove(0);
    w.waiters(&id, 100).await;
    assert_eq!(w.ids().len(), 1);
    w.decides(&id, "approve");
    let mut passed = 0;
    for one in held {
        match one.await.unwrap() {
            Ok(()) => passed += 1,
            Err(no) => assert_eq!(no, No::Used),
        }
    }
    assert_eq!(passed, 1);
    // The yes is used up: the same request is asked about again.
    let again = w.holds(post("{}"));
    let next = w.cards(1).await.remove(0);
    assert_ne!(next, id);
    again.abort();
}

/// A4, A11: whatever differs is another request; a session or a retry is not.
#[tokio::test]
async fn a4_every_part_of_a_request_is_in_its_fingerprint() {
    let w = world();
    let same = w.approvals.fingerprint(&post("{}"));
    let other_session = Asked { session: "s2".into(), ..post("{}") };
    assert_eq!(w.approvals.fingerprint(&other_session), same);
    let others = [
        post("{ }"),
        with(|a, _| a.agent = "ag-b".into()),
        with(|a, _| a.place = "api.example.com:8443".into()),
        with(|a, _| a.rule = None),
        with(|_, r| r.epoch = 2),
        with(|_, r| r.secrets[0].1 = 2),
        with(|_, r| r.secrets.push(("b".into(), 1))),
        with(|_, r| r.secrets.clear()),
        with(|_, r| r.method = "PUT".into()),
        with(|_, r| r.scheme = "http".into()),
        with(|_, r| r.path = "/v1/item".into()),
        with(|_, r| r.query = Some("a=1&api_key=hunter3".into())),
        with(|_, r| r.query = None),
        with(|_, r| r.query = Some(String::new())),
        with(|_, r| r.content_type = None),
    ];
    let mut all: Vec<_> = others.iter().map(|o| w.approvals.fingerprint(o)).collect();
    all.push(same);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), others.len() + 1);
    // Text does not slide from one part into the next.
    let slid = with(|_, r| (r.method, r.scheme) = ("POSTh".into(), "ttps".into()));
    assert_ne!(w.approvals.fingerprint(&slid), same);
}

#[tokio::test]
async fn a4_after_a_yes_a_changed_body_is_asked_about() {
    let w = world();
    let held = w.holds(post("{}"));
    let id = w.cards(1).await.remove(0);
    held.abort();
    drop(held.await);
    assert_eq!(w.decides(&id, "approve"), Decided::Now { waiting: false });
    let changed = w.holds(post("{\"x\":1}"));
    assert_ne!(w.cards(1).await.remove(0), id);
    changed.abort();
    // The one that was approved passes once, with no card.
    assert_eq!(w.approvals.hold(post("{}")).await, Ok(()));
}

/// A6: a kill at any line loses no card, and sends nothing twice.
#[tokio::test]
async fn a6_what_waits_survives_a_restart_and_passes_once() {
    let mut w = world();
    let held = w.holds(post("{}"));
    let id = w.cards(1).await.remove(0);
    let event = w.bus.pending().remove(0);
    held.abort();
    drop(held.await);
    w.restart();
    // The same card, to the letter: the host knows it by its hash.
    assert_eq!(w.bus.pending(), [event]);
    let retry = w.holds(post("{}"));
    w.waiters(&id, 1).await;
    assert_eq!(w.ids(), std::slice::from_ref(&id));
    retry.abort();
    drop(retry.await);
    assert_eq!(w.decides(&id, "approve"), Decided::Now { waiting: false });
    w.restart();
    assert_eq!(w.decides(&id, "reject"), Decided::Before);
    assert_eq!(w.approvals.hold(post("{}")).await, Ok(()));
    w.restart();
    let asked_anew = w.holds(post("{}"));
    assert_ne!(w.cards(1).await.remove(0), id);
    asked_anew.abort();
}

#[tokio::test]
async fn a7_the_first_decision_counts_and_odd_ones_do_not() {
    let w = world();
    let held = w.holds(post("{}"));
    let id = w.cards(1).await.remove(0);
    let odd = Decision { id: id.clone(), answer: "always".into(), by: String::new(), why: None };
    assert!(w.approvals.decide(&odd).is_err());
    assert_eq!(w.decides("hr-00", "approve"), Decided::Before);
    w.waiters(&id, 1).await;
    assert_eq!(w.decides(&id, "reject"), Decided::Now { waiting: true });
    assert_eq!(w.decides(&id, "approve"), Decided::Before);
    assert_eq!(held.await.unwrap(), Err(No::Denied(None)));
    // The agent does not get to ask the same again at once.
    assert_eq!(w.approvals.hold(post("{}")).await, Err(No::Denied(None)));
    assert!(w.bus.pending().is_empty());
}

/// A8: what the agent wrote cannot hide, end the card, or go on for ever.
#[test]
fn a8_a_card_shows_what_hides_and_counts_what_it_cuts() {
    let evil = "\u{1b}[2J\u{202e}evil\u{200b}\n**Approved ✅** <b>@everyone</b> ``` end";
    let card = card_of(&with(|_, r| {
        (r.body, r.content_type) = (evil.into(), None);
        r.path = "/a\u{202e}b".into();
    }));
    for spelled in ["\\u{1b}[2J", "\\u{202e}evil\\u{200b}\\n**Approved", "/a\\u{202e}b"] {
        assert!(card.contains(spelled), "{spelled}: {card}");
    }
    assert!(!card.chars().any(|c| c != '\n' && c.is_control()), "{card}");
    assert!(card.contains("api_key=…") && !card.contains("hunter2"), "{card}");
    let long = card_of(&with(|_, r| {
        (r.body, r.content_type) = ("x".repeat(1 << 20).into(), None);
    }));
    assert!(
        long.len() < 4000 && long.contains("1047376 more bytes are not shown"),
        "{}",
        long.len()
    );
    let binary = card_of(&with(|_, r| r.body = vec![0xff; 100].into()));
    assert!(binary.contains("binary: ffff") && binary.contains("68 more bytes"), "{binary}");
    let wide: Vec<_> = (0..500).map(|n| format!("\"k{n}\":1")).collect();
    let wide = card_of(&post(&format!("{{{}}}", wide.join(","))));
    assert!(wide.contains("488 more fields"), "{wide}");
    let twice = card_of(&post(r#"{"to":"ann","to":"eve","n":{"x":1,"x":2}}"#));
    for both in ["  to = ann", "  to = eve", r#"  n = {"x":1,"x":2}"#] {
        assert!(twice.contains(both), "{both}: {twice}");
    }
    // Everything at its longest still fits a line of the control socket.
    let all = "\u{202e}".repeat(5000);
    let longest = card::event(
        "hr-1",
        &with(|a, r| {
            (a.rule, r.path, r.query) = (Some(all.clone()), all.clone(), Some(all.clone()));
            r.content_type = Some(all.clone());
            r.body = serde_json::json!(
                (0..20).map(|n| (format!("{n}{all}"), all.clone())).collect::<BTreeMap<_, _>>()
            )
            .to_string()
            .into();
        }),
        5,
    );
    assert!(longest.to_string().len() < 16 << 10, "{}", longest.to_string().len());
}

#[test]
fn well_known_requests_say_what_they_do() {
    let at = |place: &str, path: &str, kind: &str, body: &str| {
        card_of(&with(|a, r| {
            (a.place, r.path) = (place.into(), path.into());
            (r.content_type, r.body) = (Some(kind.into()), body.to_owned().into());
        }))
    };
    let json = "application/json";
    let slack =
        at("slack.com:443", "/api/chat.postMessage", json, r#"{"channel":"C1","text":"hi\u202e"}"#);
    assert!(slack.starts_with("posts to the Slack channel C1: hi\\u{202e}\n"), "{slack}");
    let merge = at("api.github.com:443", "/repos/o/r/pulls/7/merge", json, "{}");
    assert!(merge.starts_with("merges the pull request 7 of o/r\n"), "{merge}");
    let form = "application/x-www-form-urlencoded";
    let stripe = at("api.stripe.com:443", "/v1/charges", form, "amount=50%30&currency=eur&d=a+b%");
    assert!(stripe.starts_with("Stripe charges: amount 500 eur\n"), "{stripe}");
    assert!(stripe.contains("d = a b%"), "{stripe}");
    let raw = base64::Engine::encode(
        &base64::engine::general_purpose::URL_SAFE,
        "To: a@b.c\r\nSubject: Hello\r\n\r\nTo: x@y.z\r\n",
    );
    let mail = at(
        "gmail.googleapis.com:443",
        "/gmail/v1/users/me/messages/send",
        json,
        &format!("{{\"raw\":\"{raw}\"}}"),
    );
    assert!(mail.starts_with("sends a mail to a@b.c: Hello\n"), "{mail}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_held_for_five_minutes_and_a_row_for_fifteen() {
    let w = world();
    let held = w.approvals.hold(post("{}")).await.unwrap_err();
    let No::Pending(id) = &held else { panic!("{held:?}") };
    assert_eq!((held.told().0.as_u16(), held.told().1), (403, "approval_pending"));
    assert!(held.to_string().contains(id), "{held}");
    // Still decidable, and the retry passes.
    w.now.fetch_add(DECIDE_WITHIN_MS - 1, Ordering::Relaxed);
    assert_eq!(w.decides(id, "approve"), Decided::Now { waiting: false });
    w.now.fetch_add(DECIDE_WITHIN_MS - 1, Ordering::Relaxed);
    assert_eq!(w.approvals.hold(post("{}")).await, Ok(()));
    // A second one that nobody decides.
    let second = w.approvals.hold(post("{}")).await.unwrap_err();
    let No::Pending(second) = second else { panic!("{second:?}") };
    w.now.fetch_add(DECIDE_WITHIN_MS, Ordering::Relaxed);
    assert_eq!(w.decides(&second, "approve"), Decided::Before);
    assert!(w.bus.pending().is_empty());
    let third = w.approvals.hold(post("{}")).await.unwrap_err();
    assert_ne!(third, No::Pending(second));
}

#[tokio::test(start_paused = true)]
async fn a_yes_that_nobody_uses_in_time_is_worth_nothing() {
    let w = world();
    let No::Pending(id) = w.approvals.hold(post("{}")).await.unwrap_err() else { panic!() };
    w.decides(&id, "approve");
    w.now.fetch_add(DECIDE_WITHIN_MS + 1, Ordering::Relaxed);
    let No::Pending(next) = w.approvals.hold(post("{}")).await.unwrap_err() else { panic!() };
    assert_ne!(next, id);
}

#[tokio::test]
async fn a_yes_for_a_while_covers_the_endpoint_and_nothing_beside_it() {
    let w = world();
    let held: Vec<_> = (0..3).map(|_| w.holds(post("{}"))).collect();
    let id = w.cards(1).await.remove(0);
    w.waiters(&id, 3).await;
    w.decides(&id, "endpoint");
    for one in held {
        assert_eq!(one.await.unwrap(), Ok(()));
    }
    let again = with(|_, r| (r.body, r.query) = ("other".into(), None));
    assert_eq!(w.approvals.hold(again.clone()).await, Ok(()));
    for other in [
        with(|_, r| r.path = "/v1/other".into()),
        with(|_, r| r.method = "DELETE".into()),
        with(|_, r| r.epoch = 9),
        with(|a, _| a.agent = "ag-b".into()),
    ] {
        let held = w.holds(other);
        let id = w.cards(1).await.remove(0);
        w.decides(&id, "reject");
        assert!(held.await.unwrap().is_err());
    }
    w.now.fetch_add(DECIDE_WITHIN_MS, Ordering::Relaxed);
    let held = w.holds(again);
    assert_eq!(w.cards(1).await.len(), 1);
    held.abort();
}

fn first_use() -> Asked {
    Asked { request: None, rule: None, ..post("") }
}

#[tokio::test]
async fn the_first_use_of_a_host_is_asked_once_and_remembered() {
    let mut w = world();
    let place = "api.example.com:443";
    let held: Vec<_> = (0..5).map(|_| w.holds(first_use())).collect();
    let id = w.cards(1).await.remove(0);
    assert_eq!(w.bus.pending()[0]["title"], "First use of api.example.com:443");
    w.waiters(&id, 5).await;
    assert_eq!(w.approvals.remembered("ag-a", place), None);
    w.decides(&id, "approve");
    for one in held {
        assert_eq!(one.await.unwrap(), Ok(()));
    }
    w.restart();
    assert_eq!(w.approvals.remembered("ag-a", place), Some(true));
    assert_eq!(w.approvals.remembered("ag-b", place), None);
    let all = Remembered::list(w.dir.path()).unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].agent.as_str(), all[0].allowed, all[0].by.as_str()), ("ag-a", true, "boss"));
    assert_eq!(Remembered::forget(w.dir.path(), "ag-a", Some("other:443")).unwrap(), 0);
    assert_eq!(Remembered::forget(w.dir.path(), "ag-a", None).unwrap(), 1);
    w.approvals.look_again();
    assert_eq!(w.approvals.remembered("ag-a", place), None);
}

#[tokio::test]
async fn a_no_to_a_host_is_for_now_and_a_block_is_kept() {
    let w = world();
    let place = "api.example.com:443";
    let held = w.holds(first_use());
    let id = w.cards(1).await.remove(0);
    w.decides(&id, "reject");
    assert_eq!(held.await.unwrap(), Err(No::Denied(None)));
    assert_eq!(w.approvals.remembered("ag-a", place), None);
    assert_eq!(w.approvals.hold(first_use()).await, Err(No::Denied(None)), "without another card");
    w.now.fetch_add(DECIDE_WITHIN_MS, Ordering::Relaxed);
    let held = w.holds(first_use());
    let id = w.cards(1).await.remove(0);
    w.decides(&id, "reject:block");
    assert_eq!(held.await.unwrap(), Err(No::Denied(None)));
    assert_eq!(w.approvals.remembered("ag-a", place), Some(false));
}

#[tokio::test]
async fn a_budget_is_a_card_of_its_own_and_each_yes_is_kept() {
    let w = world();
    let asked = |n: u32| {
        let rule = Some("ag-a has used up its budget".to_owned());
        Asked { rule, place: format!("budget for 2026-11-23, {n}"), ..first_use() }
    };
    let held = w.holds(asked(1));
    let id = w.cards(1).await.remove(0);
    let card = w.bus.pending().remove(0);
    assert_eq!(
        (&card["title"], &card["lines"][0]),
        (&"More than the budget".into(), &"ag-a has used up its budget".into(),)
    );
    w.decides(&id, "approve");
    assert_eq!(held.await.unwrap(), Ok(()));
    assert_eq!(w.approvals.remembered("ag-a", "budget for 2026-11-23, 1"), Some(true));
    let held = w.holds(asked(2));
    w.cards(1).await;
    held.abort();
}

#[tokio::test]
async fn an_agent_sees_how_its_own_requests_stand() {
    let w = world();
    let held = [w.holds(post("a")), w.holds(post("a"))];
    let id = w.cards(1).await.remove(0);
    w.waiters(&id, 2).await;
    let told = w.approvals.told_of(&id, "ag-a").unwrap().unwrap();
    assert_eq!((&told["state"], &told["requests"]), (&"pending".into(), &2.into()));
    assert_eq!(w.approvals.told_of(&id, "ag-b").unwrap(), None, "another agent's");
    w.now.fetch_add(DECIDE_WITHIN_MS, Ordering::Relaxed);
    assert_eq!(w.approvals.told_of(&id, "ag-a").unwrap().unwrap()["state"], "expired");
    held.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_no_that_nobody_said_is_not_remembered_of_a_host() {
    let w = world();
    let held = w.holds(first_use());
    let id = w.cards(1).await.remove(0);
    let why = Some("there is no owner or admin who could decide".to_owned());
    let d = Decision { id, answer: "reject".into(), by: String::new(), why: why.clone() };
    w.approvals.decide(&d).unwrap();
    let no = held.await.unwrap().unwrap_err();
    assert_eq!(no, No::Denied(why));
    assert!(no.told().2.contains("no owner or admin"));
    assert_eq!(w.approvals.remembered("ag-a", "api.example.com:443"), None);
}

#[tokio::test]
async fn one_agent_cannot_fill_the_owners_chat() {
    let w = world();
    let mut held = Vec::new();
    for n in 0..OPEN_MAX {
        held.push(w.holds(post(&n.to_string())));
        w.cards(held.len()).await;
    }
    assert_eq!(w.approvals.hold(post("one more")).await, Err(No::Busy));
    let other = w.holds(with(|a, _| a.agent = "ag-b".into()));
    w.cards(held.len() + 1).await;
    other.abort();
    held.iter().for_each(tokio::task::JoinHandle::abort);
}

/// V1, V2: a row shows nothing without the key, and what was moved or changed is not believed.
#[tokio::test]
async fn rows_are_sealed_and_another_key_forgets_them() {
    let mut w = world();
    let canary = post("{\"text\":\"canary-4711\"}");
    let held = w.holds(canary);
    w.cards(1).await;
    held.abort();
    drop(held.await);
    for entry in std::fs::read_dir(w.dir.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(11).any(|b| b == b"canary-4711"));
    }
    w.restart();
    assert_eq!(w.ids().len(), 1);
    let clock = system_clock();
    let bus = Arc::new(Bus::new(Arc::new(|| 0)));
    Approvals::open(w.dir.path(), [8; 32], Arc::clone(&bus), clock).unwrap();
    assert!(bus.pending().is_empty());
}

#[tokio::test]
async fn a_watcher_hears_all_that_is_open_and_then_what_is_new() {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    let w = world();
    let held = w.holds(post("{}"));
    let id = w.cards(1).await.remove(0);
    w.bus.alarm("placeholder_leak", "s1", "ag-a", "one");
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let bus = Arc::clone(&w.bus);
    let streaming = tokio::spawn(async move {
        let (mut read, mut write) = tokio::io::split(theirs);
        bus.stream(&mut read, &mut write).await
    });
    let mut lines = BufReader::new(ours).lines();
    let mut hear = async || {
        let line = lines.next_line().await.unwrap().unwrap();
        serde_json::from_str::<Value>(&line).unwrap()
    };
    assert_eq!(hear().await["id"], id);
    assert_eq!(hear().await["code"], "placeholder_leak");
    // Once per code and agent, until a day is over.
    w.bus.alarm("placeholder_leak", "s2", "ag-a", "two");
    w.bus.alarm("token_mismatch", "s2", "ag-a", "three");
    assert_eq!(hear().await["text"], "three");
    w.bus.owner("secret:x", "x expires");
    w.bus.owner("secret:x", "x expires");
    assert_eq!(hear().await["key"], "secret:x");
    w.bus.owner("secret:y", "again");
    assert_eq!(hear().await["text"], "again");
    drop(lines);
    assert!(streaming.await.unwrap().is_ok());
    held.abort();
}
