//! How what a box says is judged.

use super::*;

/// What a sound box says.
const SOUND: &str = "uid 52761\nCapInh 0000000000000000\nCapPrm 0000000000000000\n\
    CapEff 0000000000000000\nCapBnd 0000000000000000\nCapAmb 0000000000000000\nNoNewPrivs 1\n\
    Seccomp 2\nns-pid pid:[2]\nns-net net:[2]\nns-ipc ipc:[2]\nns-uts uts:[2]\n\
    ns-cgroup cgroup:[2]\nns-mnt mnt:[2]\ninterfaces lo\nnofile 4096\ncore 0\n\
    size-/tmp 131072 4096\nsize-/dev/shm 65536 4096\nlabel box (enforce)\ncalls tried\n\
    ports tried\nsocket open\nend here\n";

fn seen(text: &str) -> Seen {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    std::fs::write(&out, text).unwrap();
    read(&out).unwrap()
}

fn bad(text: &str, missing: &[&str]) -> Vec<(String, State)> {
    let (seen, missing) = (seen(text), missing.iter().map(|m| (*m).to_owned()).collect::<Vec<_>>());
    let all = profile::LINES.iter().map(|line| judge(line, &seen, &missing));
    all.filter(|f| f.state != State::Ok).map(|f| (f.id, f.state)).collect()
}

#[test]
fn a_sound_box_is_sound_and_each_flaw_is_named() {
    assert_eq!(bad(SOUND, &[]), []);
    for (from, to, id) in [
        ("uid 52761", "uid 0", "user"),
        ("uid 52761\n", "", "user"),
        ("CapBnd 0000000000000000", "CapBnd 00000000a80425fb", "capabilities"),
        ("NoNewPrivs 1", "NoNewPrivs 0", "privileges"),
        ("Seccomp 2", "Seccomp 0", "seccomp"),
        ("end here", "call bpf\nend here", "seccomp"),
        ("ns-ipc ipc:[2]\n", "", "namespaces"),
        ("end here", "root /etc/x\nend here", "root"),
        ("end here", "run /run/true\nend here", "run"),
        ("end here", "kernel mknod\nend here", "kernel"),
        ("end here", "masked /proc/keys\nend here", "masked"),
        ("interfaces lo", "interfaces eth0 lo", "network"),
        ("end here", "host 10.0.0.1\nend here", "host"),
        ("socket open", "socket Permission denied", "socket"),
        ("end here", "vault-written /run/vault/x\nend here", "socket"),
        ("nofile 4096", "nofile unlimited", "files"),
        ("core 0", "core unlimited", "core"),
        ("size-/tmp 131072", "size-/tmp 13107200", "tmp"),
        ("label box (enforce)", "label unconfined", "label"),
    ] {
        let flawed = SOUND.replace(from, to);
        assert_eq!(bad(&flawed, &[]), [(id.to_owned(), State::Missing)], "{from} → {to}");
    }
}

#[test]
fn a_namespace_of_the_host_is_no_namespace() {
    let mut all = seen(SOUND);
    all.insert("host-ns-pid".into(), vec!["pid:[2]".into()]);
    let line = profile::LINES.iter().find(|l| l.id == "namespaces").unwrap();
    let finding = judge(line, &all, &[]);
    assert_eq!(finding.why.as_deref(), Some("shared with the host: pid"));
}

#[test]
fn what_could_not_be_tried_is_unknown_and_what_the_driver_lacks_is_missing() {
    let blind = SOUND.replace("calls tried\n", "").replace("ports tried\nsocket open\n", "");
    let unknown = ["seccomp", "host", "socket"].map(|id| (id.to_owned(), State::Unknown));
    assert_eq!(bad(&blind, &[]), unknown);
    let lacks = ["no limit on pids: it may not", "a greedy box does not give way: no cpu.idle"];
    let lacking = ["pids", "yields"].map(|id| (id.to_owned(), State::Missing));
    assert_eq!(bad(SOUND, &lacks), lacking);
    let word = ["mounts are checked by the engine's word only: /proc needs root"];
    assert_eq!(bad(SOUND, &word), [("mounts".to_owned(), State::Unknown)]);
}

#[test]
fn a_report_fails_for_what_is_required_alone() {
    let finding = |id: &str, required| Finding {
        id: id.into(),
        what: "w".into(),
        state: State::Missing,
        required,
        why: Some("because".into()),
        next: Some("do that".into()),
    };
    let mut report = Report {
        driver: "d".into(),
        version: "1".into(),
        problem: None,
        findings: vec![finding("label", false)],
    };
    assert!(report.holds());
    assert!(
        report.to_text().contains("without  label: w (if the machine can)"),
        "{}",
        report.to_text()
    );
    report.findings.push(finding("root", true));
    assert!(!report.holds());
    report.findings.clear();
    report.problem = Some("no engine".into());
    assert!(!report.holds());
}

#[test]
fn what_a_box_wrote_is_read_with_care() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    std::os::unix::fs::symlink("/etc/passwd", &out).unwrap();
    assert!(read(&out).is_err(), "a link was followed");
    std::fs::remove_file(&out).unwrap();
    assert!(read(&out).is_err());
    std::fs::write(&out, "uid 1\n").unwrap();
    assert!(read(&out).unwrap_err().what.contains("did not finish"));
    std::fs::write(&out, [0xff; 300]).unwrap();
    assert!(read(&out).is_err());
}
