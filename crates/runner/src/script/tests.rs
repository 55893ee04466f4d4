//! What a task's program can say.

use super::*;

#[tokio::test]
async fn the_last_line_decides() {
    let dir = tempfile::tempdir().unwrap();
    let run = async |script: &str| run(script, dir.path()).await;
    assert_eq!(run("echo '{\"wakeAgent\":false}'").await, Verdict::Skip);
    assert_eq!(
        run("echo x; echo '{\"wakeAgent\":true,\"data\":{\"n\":1}}'").await,
        Verdict::Wake(json!({ "n": 1 }))
    );
    assert_eq!(run("echo '{\"wakeAgent\":true}'").await, Verdict::Wake(Value::Null));
}

#[tokio::test]
async fn a_program_that_fails_does_not_look_like_nothing_new() {
    let dir = tempfile::tempdir().unwrap();
    for script in [
        "exit 3",
        "true",
        "echo no",
        "echo '{}'",
        "echo '{\"wakeAgent\":1}'",
        "yes | head -c 2000000",
    ] {
        let Verdict::Wake(told) = run(script, dir.path()).await else {
            panic!("{script} was skipped")
        };
        assert!(told["error"].as_str().unwrap().contains("script failed"), "{script}: {told}");
    }
}

#[tokio::test]
async fn nothing_of_it_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let script = "sleep 300 & echo $! > pid; sleep 300";
    tokio::time::timeout(Duration::from_millis(300), run(script, dir.path())).await.unwrap_err();
    let pid = std::fs::read_to_string(dir.path().join("pid")).unwrap();
    // It is dead or about to be: the signal has been sent, nothing else has to happen.
    let stat = format!("/proc/{}/stat", pid.trim());
    let gone = || std::fs::read_to_string(&stat).map_or(true, |s| s.contains(") Z "));
    while !gone() {
        tokio::task::yield_now().await;
    }
}
