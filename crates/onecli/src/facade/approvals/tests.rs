use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

fn bus() -> (Arc<Bus>, Arc<AtomicI64>) {
    let now = Arc::new(AtomicI64::new(0));
    let clock = Arc::clone(&now);
    (Arc::new(Bus::new(Arc::new(move || clock.load(Ordering::SeqCst)))), now)
}

fn ask(bus: &Bus, id: &str) {
    bus.put(id, json!({"event": "asked", "id": id, "until": 900_000}), Some(900_000));
}

#[tokio::test(start_paused = true)]
async fn a12_an_empty_answer_comes_after_thirty_seconds() {
    let (bus, _) = bus();
    let since = Instant::now();
    assert!(pending(&bus, &[]).await.is_empty());
    assert_eq!(since.elapsed().as_secs(), 30);
    // What is told besides does not end a poll, and what is left out does not either.
    ask(&bus, "a");
    let (me, other) = (
        Arc::clone(&bus),
        tokio::spawn({
            let bus = Arc::clone(&bus);
            async move {
                tokio::time::sleep(Duration::from_secs(7)).await;
                bus.owner("k", "text");
                bus.alarm("c", "s", "a", "text");
            }
        }),
    );
    let since = Instant::now();
    assert!(pending(&me, &["a"]).await.is_empty());
    assert_eq!(since.elapsed().as_secs(), 30);
    other.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a12_what_waits_comes_at_once_unless_it_is_left_out() {
    let (bus, now) = bus();
    ask(&bus, "a");
    ask(&bus, "b");
    let since = Instant::now();
    let ids = |events: Vec<Value>| {
        events.iter().map(|e| e["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(pending(&bus, &[]).await), ["a", "b"]);
    assert_eq!(ids(pending(&bus, &["a"]).await), ["b"]);
    bus.remove("b");
    assert_eq!(ids(pending(&bus, &["x"]).await), ["a"]);
    assert_eq!(since.elapsed(), Duration::ZERO);
    now.store(900_000, Ordering::SeqCst);
    assert!(pending(&bus, &[]).await.is_empty(), "what is too late is not shown");
    assert_eq!(since.elapsed().as_secs(), 30);
}

/// Whatever the order of asking, polling and listening is, nobody waits out the poll.
#[test]
fn a12_ten_thousand_orders_lose_no_request() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    for seed in 0..10_000 {
        runtime.block_on(async {
            let mut random = fastrand::Rng::with_seed(seed);
            let (bus, _) = bus();
            let (before, between, polls) = (random.u8(..6), random.u8(..6), random.usize(1..4));
            let asking = tokio::spawn({
                let bus = Arc::clone(&bus);
                async move {
                    for _ in 0..before {
                        tokio::task::yield_now().await;
                    }
                    ask(&bus, "first");
                    for _ in 0..between {
                        tokio::task::yield_now().await;
                    }
                    ask(&bus, "second");
                }
            });
            let since = Instant::now();
            let pollers: Vec<_> = (0..polls)
                .map(|_| {
                    let (bus, wait) = (Arc::clone(&bus), random.u8(..8));
                    tokio::spawn(async move {
                        for _ in 0..wait {
                            tokio::task::yield_now().await;
                        }
                        let mut got: Vec<String> = Vec::new();
                        while got.len() < 2 {
                            let exclude: Vec<&str> = got.iter().map(String::as_str).collect();
                            let new = pending(&bus, &exclude).await;
                            assert!(!new.is_empty(), "seed {seed}: a poll ended empty");
                            got.extend(new.iter().map(|e| e["id"].as_str().unwrap().to_owned()));
                        }
                        got.sort();
                        assert_eq!(got, ["first", "second"], "seed {seed}");
                    })
                })
                .collect();
            for poller in pollers {
                poller.await.unwrap();
            }
            asking.await.unwrap();
            assert_eq!(since.elapsed(), Duration::ZERO, "seed {seed}: somebody waited");
        });
    }
}

/// The same on several threads, where the two really meet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_threads_lose_no_request() {
    for _ in 0..2_000 {
        let (bus, _) = bus();
        let asking = {
            let bus = Arc::clone(&bus);
            tokio::task::spawn_blocking(move || ask(&bus, "a"))
        };
        let found =
            tokio::time::timeout(Duration::from_secs(10), pending(&bus, &[])).await.unwrap();
        assert_eq!(found.len(), 1);
        asking.await.unwrap();
    }
}

fn told(answered: Answered) -> (u16, String) {
    match answered {
        Ok(Reply::Json(status, value)) => (status, value.to_string()),
        Ok(Reply::Text(status, _, text)) => (status, text),
        Err(No(status, text)) => (status, text),
    }
}

#[test]
fn a12_a_decision_counts_once_and_a_late_one_is_told_apart() {
    let desk = Desk::default();
    desk.show(&[json!({"id": "a", "until": 900_000})]);
    let late = |id: &str, now| told(outcome(Decided::Before, desk.is_late(id, now)));
    assert_eq!(
        told(outcome(Decided::Now { waiting: true }, false)),
        (200, "{\"success\":true}".into())
    );
    assert_eq!(late("a", 899_999), (404, "approval_not_found".into()));
    assert_eq!(late("a", 900_000), (410, "approval_expired".into()));
    assert_eq!(late("b", 900_000), (404, "approval_not_found".into()));
    for n in 0..3_000 {
        desk.show(&[json!({"id": format!("x{n}"), "until": 1_000_000 + n})]);
    }
    assert!(desk.0.lock().unwrap().len() <= SHOWN_MAX);
    assert_eq!(late("a", 2_000_000).0, 404, "it was long ago");
}

#[test]
fn a_question_about_a_host_is_a_request_too() {
    let event = json!({"id": "a", "until": 900_000, "place": "a.test:443", REQUEST: null});
    let told = request(&event, &json!({"id": "u"}));
    assert_eq!(told["url"], "https://a.test:443/");
    assert_eq!((&told["method"], &told["bodyPreview"]), (&json!("CONNECT"), &Value::Null));
    assert_eq!(told["createdAt"], "1970-01-01T00:00:00Z");
    assert_eq!(told["expiresAt"], "1970-01-01T00:15:00Z");
}
