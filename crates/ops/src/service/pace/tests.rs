//! Start after start, on a clock of the test's own.

use super::*;
use std::sync::Mutex;

struct At(Mutex<Timestamp>);

impl Clock for At {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

#[test]
fn starts_that_follow_each_other_wait_longer_and_longer() {
    let home = tempfile::tempdir().unwrap();
    // Not even the folder is there before the first start.
    let data = home.path().join("data");
    let clock = At(Mutex::new("2026-03-01T09:00:00Z".parse().unwrap()));
    let after = |secs: u64| {
        *clock.0.lock().unwrap() += Duration::from_secs(secs);
        begun(&data, &clock).unwrap().as_secs()
    };
    ended(&data);
    let waits: Vec<_> = std::iter::repeat_with(|| after(60)).take(9).collect();
    assert_eq!(waits, [0, 0, 10, 30, 120, 300, 900, 900, 900]);
    assert_eq!(after(3599), 900, "within the hour");
    assert_eq!(after(3600), 0, "after an hour that went well");
    assert_eq!((after(1), after(1)), (0, 10));
    ended(&data);
    assert_eq!((after(1), after(1), after(1)), (0, 0, 10));
    // A note that nobody can read, or of a clock that was set back, is none.
    std::fs::write(file(&data), "{\"starts\":").unwrap();
    assert_eq!((after(1), after(1), after(1)), (0, 0, 10));
    *clock.0.lock().unwrap() -= Duration::from_secs(86_400);
    assert_eq!(after(0), 0);
}
