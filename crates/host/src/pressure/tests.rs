use super::*;

const MS: Duration = Duration::from_millis(1);

#[test]
fn much_gives_way_and_calm_comes_back() {
    let look = 100 * MS;
    assert_eq!(judge(Manner::Normal, 24 * MS, look), Manner::Normal);
    let greedy = judge(Manner::Normal, 25 * MS, look);
    assert_eq!(greedy, Manner::GivesWay { calm: Duration::ZERO });
    let mut manner = greedy;
    for _ in 0..39 {
        manner = judge(manner, 5 * MS, look);
        assert_ne!(manner, Manner::Normal);
    }
    // A little more than calm starts the time anew.
    assert_eq!(judge(manner, 6 * MS, look), greedy);
    assert_eq!(judge(manner, 5 * MS, look), Manner::Normal);
}

#[test]
fn what_is_long_ago_says_nothing_about_now() {
    let minute = Duration::from_secs(60);
    assert_eq!(judge(Manner::Normal, minute, minute), Manner::Normal);
    assert_eq!(judge(Manner::Normal, FRESH, FRESH), Manner::GivesWay { calm: Duration::ZERO });
}

/// The first kill may be an accident, the second is none; calm or five seconds of work without one end it.
#[test]
fn who_is_killed_again_and_again_is_held_back() {
    let dir = tempfile::tempdir().unwrap();
    let kills = |n: u32| {
        std::fs::write(dir.path().join("memory.events"), format!("oom_kill {n}\n")).unwrap();
    };
    std::fs::write(dir.path().join("cpu.max"), "200000 100000").unwrap();
    std::fs::write(dir.path().join("cpu.stat"), "usage_usec 0\n").unwrap();
    kills(3);
    let cpu = Cpu::new(vec![dir.path().to_owned()], 2000);
    let mut known = Known::new(cpu.clone()).unwrap();
    let greedy = Manner::GivesWay { calm: Duration::ZERO };
    let mut look = |used: u64, manner| {
        (known.used, known.manner) = (Duration::from_secs(used), manner);
        known.atone().unwrap();
        assert_eq!(known.held, cpu.held_back());
        known.held
    };
    assert!(!look(1, greedy), "of before");
    kills(4);
    assert!(!look(2, greedy), "the first");
    assert!(!look(8, greedy));
    kills(5);
    assert!(!look(9, greedy), "long after the first");
    kills(6);
    assert!(look(10, greedy));
    assert!(look(14, greedy));
    assert!(!look(15, greedy), "it proved itself");
    kills(7);
    assert!(!look(16, greedy));
    kills(8);
    assert!(look(17, greedy));
    assert!(!look(17, Manner::Normal), "it is calm");
}

#[test]
fn the_kernels_text() {
    let text = "some avg10=1.89 avg60=1.39 avg300=6.14 total=4467563379\nfull avg10=0.00 total=0\n";
    assert_eq!(total(text), Some(Duration::from_micros(4_467_563_379)));
    for odd in ["", "some avg10=0.00", "full total=3", "some total=-1"] {
        assert_eq!(total(odd), None, "{odd}");
    }
}

/// The notice comes where the kernel gives one: this test waits for a CPU itself.
#[tokio::test]
async fn the_kernel_says_when_somebody_waits() {
    if std::fs::File::options().write(true).open(SOURCE).is_err() {
        return;
    }
    let notice = notice().expect("a notice where one can be asked for");
    let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let many = std::thread::available_parallelism().map_or(4, |n| n.get() * 2);
    let spin = |over: Arc<std::sync::atomic::AtomicBool>| {
        std::thread::spawn(move || {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        })
    };
    let threads: Vec<_> = (0..many).map(|_| spin(over.clone())).collect();
    let told =
        tokio::time::timeout(Duration::from_secs(60), notice.ready(Interest::PRIORITY)).await;
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(threads.into_iter().all(|thread| thread.join().is_ok()));
    assert!(matches!(told, Ok(Ok(_))), "no notice while {many} threads wanted every CPU");
}

#[tokio::test]
async fn what_cannot_be_measured_is_not_asked_for_at_every_look() {
    use crate::approvals::tests::{MEASURED, host};
    let root = tempfile::tempdir().unwrap();
    let started = host(root.path()).await;
    let host = started.host();
    let id = nanoclaw_contract::ids::SessionId::parse("sess-1").unwrap();
    host.central.put_box(&id, "box", "nothing", host.clock.now()).unwrap();
    let mut boxes = Boxes::new();
    for _ in 0..3 {
        refresh(&host, &mut boxes).await.unwrap();
    }
    assert_eq!(MEASURED.load(std::sync::atomic::Ordering::SeqCst), 1);
    started.stop(crate::Boxes::Stop).await;
}
