//! Start, status and stop, with this test program in the part of the host.

use super::*;
use nanoclaw_contract::time::SystemClock;

/// What the children of the tests below do; on its own it does nothing.
#[test]
fn plays_the_host() {
    let Some(data) = std::env::var_os("NANOCLAW_TEST_HOST_OF") else { return };
    let data = PathBuf::from(data);
    let lock = Lock::take(&data, &SystemClock).unwrap();
    if std::env::var_os("NANOCLAW_TEST_HOST_FAILS").is_some() {
        panic!("the port is taken");
    }
    lock.ready().unwrap();
    loop {
        std::thread::park();
    }
}

fn host(data: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "service::tests::plays_the_host", "--nocapture"]);
    command.env("NANOCLAW_TEST_HOST_OF", data).env("RUST_BACKTRACE", "0");
    command
}

#[test]
fn starts_once_and_stops_once() {
    let dir = tempfile::tempdir().unwrap();
    let (data, logs) = (dir.path().join("data"), dir.path().join("logs"));
    assert_eq!(running(&data), None);
    assert_eq!(stop(&data).unwrap(), None);

    let Started::Now(first) = start(&data, &logs, host(&data)).unwrap() else { panic!("not now") };
    assert_eq!(running(&data), Some(first.clone()));
    assert!(is_ready(&data));
    assert_eq!(start(&data, &logs, host(&data)).unwrap(), Started::Before(first.clone()));
    let refused = Lock::take(&data, &SystemClock).unwrap_err();
    assert!(refused.what.contains(&first.pid.to_string()), "{refused}");

    assert_eq!(stop(&data).unwrap(), Some(first));
    assert_eq!(running(&data), None);
    assert!(!is_ready(&data), "an old host.json is no host");
    let Started::Now(_) = start(&data, &logs, host(&data)).unwrap() else { panic!("not again") };
    stop(&data).unwrap();
}

#[test]
fn a_host_that_fails_shows_why() {
    let dir = tempfile::tempdir().unwrap();
    let (data, logs) = (dir.path().join("data"), dir.path().join("logs"));
    let mut command = host(&data);
    command.env("NANOCLAW_TEST_HOST_FAILS", "1");
    let error = start(&data, &logs, command).unwrap_err();
    assert!(error.what.contains("ended at once"), "{error}");
    assert!(error.what.contains("the port is taken"), "{error}");
    assert!(error.next.unwrap().contains("nanoclaw start"));
    assert_eq!(running(&data), None);
}

#[test]
fn a_killed_host_leaves_no_lock() {
    let dir = tempfile::tempdir().unwrap();
    let (data, logs) = (dir.path().join("data"), dir.path().join("logs"));
    let Started::Now(first) = start(&data, &logs, host(&data)).unwrap() else { panic!("not now") };
    let pid = pidfd_open(Pid::from_raw(first.pid).unwrap(), PidfdFlags::empty()).unwrap();
    pidfd_send_signal(&pid, Signal::KILL).unwrap();
    assert!(wait_until(STOPPED_WITHIN, || running(&data).is_none()));
    drop(Lock::take(&data, &SystemClock).unwrap());
}
