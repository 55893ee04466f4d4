//! An engine that lacks what a box needs: refused, never replaced by something weaker.

use super::*;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::process::Command;

/// Set in the process that talks to the pretended engine.
const SAYS: &str = "NANOCLAW_TEST_ENGINE_SAYS";

/// Answers every request with this, as an engine would.
fn pretend(info: &'static str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("engine.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|n| n > 2) {
                if !line.starts_with("GET") {
                    line.truncate(line.find("\r\n").unwrap_or(0));
                }
                if line.ends_with("\r\n") && line.starts_with("GET") {
                    let body = match line.contains("/info") {
                        true => info,
                        false => {
                            r#"{"ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "20.10.24"}"#
                        }
                    };
                    let mut rest = String::new();
                    while stream.read_line(&mut rest).is_ok_and(|n| n > 2) {
                        rest.clear();
                    }
                    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nApi-Version: 1.41\r\n";
                    let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
                    drop(stream.get_mut().write_all(answer.as_bytes()));
                }
                line.clear();
            }
        }
    });
    let address = format!("unix://{}", socket.display());
    (dir, address)
}

/// The process that talks to it; on its own there is nothing to do.
#[tokio::test]
async fn talks_to_the_engine() {
    let Some(wanted) = std::env::var_os(SAYS) else { return };
    let wanted = wanted.into_string().unwrap();
    let (runtime, why) = wanted.split_once('\n').unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut context = DriverContext { state: dir.path().join("state"), ..Default::default() };
    context.runtimes.extend((!runtime.is_empty()).then(|| (String::new(), runtime.to_owned())));
    let driver = (DOCKER.make)(&context).unwrap();
    let later = Arc::clone(&driver);
    let ground = Ground { driver, later, user: USER, image: None, dir };
    for refused in [
        ground.driver.probe().await.map(drop).unwrap_err().to_string(),
        ground.driver.start(&ground.spec("true")).await.unwrap_err().to_string(),
    ] {
        assert!(refused.contains(why), "{refused}");
    }
}

fn refuses(info: &'static str, runtime: &str, why: &str) {
    let (_dir, address) = pretend(info);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "engine::talks_to_the_engine"])
        .env(SAYS, format!("{runtime}\n{why}"))
        .env("DOCKER_HOST", address)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn i22_an_engine_without_a_filter_is_refused() {
    refuses(r#"{"SecurityOptions": ["name=apparmor"]}"#, "", "the engine has no seccomp");
}

#[test]
fn i23_a_runtime_that_cannot_reach_the_vault_is_refused() {
    let info = r#"{"SecurityOptions": ["name=seccomp"],
        "Runtimes": {"runc": {"path": "runc"}, "runsc": {"path": "/usr/bin/runsc"}}}"#;
    refuses(info, "runsc", "--host-uds=open");
    refuses(info, "kata", "no runtime \"kata\"");
}

/// The real engine, which has none.
#[tokio::test]
async fn i23_a_runtime_that_is_not_there_is_refused() {
    let ground = ground(&DOCKER);
    let with = |agent: &str| DriverContext {
        state: ground.dir.path().join("state"),
        image: "nanoclaw-agent:latest".into(),
        runtimes: [(agent.to_owned(), "runsc".to_owned())].into(),
    };
    for agent in ["", "agent", "another"] {
        let driver = (DOCKER.make)(&with(agent)).unwrap();
        let spec = ground.spec("touch ran");
        let refused = driver.start(&spec).await.unwrap_err().to_string();
        assert!(refused.contains("no runtime \"runsc\""), "{refused}");
        assert!(driver.list(&spec.install).await.unwrap().is_empty());
        assert!(!workspace(&spec).join("ran").exists());
    }
    let refused = (BUBBLEWRAP.make)(&with("")).err().unwrap().to_string();
    assert!(refused.contains("has no runtime"), "{refused}");
}
