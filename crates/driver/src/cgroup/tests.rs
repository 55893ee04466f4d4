use super::*;

fn group(files: &[(&str, &str)]) -> (tempfile::TempDir, Cpu) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let cpu = Cpu::new(vec![dir.path().join("elsewhere"), dir.path().to_owned()], 1500);
    (dir, cpu)
}

#[test]
fn only_groups_of_the_box_itself() {
    let table = "3:cpu,cpuacct:/docker/abc\n2:memory:/docker/abc\n1:pids:/\n0::/init.scope\n";
    let seen = places(table, "abc");
    let want = ["cpu/docker/abc", "cpuacct/docker/abc", "memory/docker/abc"];
    assert_eq!(seen, want.map(|dir| Path::new(ROOT).join(dir)));
    let seen = places("0::/system.slice/docker-abc.scope\n", "abc");
    let want = ["system.slice/docker-abc.scope", "unified/system.slice/docker-abc.scope"];
    assert_eq!(seen, want.map(|dir| Path::new(ROOT).join(dir)));
    for odd in ["0::/", "0::/../../abc", "", "abc", "1:cpu", "0::/docker/xyz"] {
        assert_eq!(places(odd, "abc"), Vec::<PathBuf>::new(), "{odd}");
    }
    assert_eq!(places("0::/", ""), Vec::<PathBuf>::new());
}

#[test]
fn use_is_read_in_either_version() {
    let (_dir, cpu) = group(&[("cpuacct.usage", "1500\n")]);
    assert_eq!(cpu.used(), Some(Duration::from_nanos(1500)));
    let (_dir, cpu) = group(&[("cpu.stat", "usage_usec 7\nuser_usec 5\n")]);
    assert_eq!(cpu.used(), Some(Duration::from_micros(7)));
    let (_dir, cpu) = group(&[("cpu.stat", "nr_periods 0\n")]);
    assert_eq!(cpu.used(), None);
    let (_dir, cpu) = group(&[]);
    assert_eq!(cpu.used(), None);
}

#[test]
fn giving_way_and_back() {
    for (file, text) in [("cpu.weight", "12"), ("cpu.shares", "128")] {
        let (dir, cpu) = group(&[("cpu.idle", "0\n"), (file, "0")]);
        assert!(!cpu.gives_way());
        cpu.give_way(true).unwrap();
        assert!(cpu.gives_way());
        assert_eq!(fs::read_to_string(dir.path().join(file)).unwrap(), "0");
        cpu.give_way(false).unwrap();
        assert!(!cpu.gives_way());
        assert_eq!(fs::read_to_string(dir.path().join(file)).unwrap(), text);
    }
    let (_dir, cpu) = group(&[]);
    assert_eq!(cpu.give_way(true).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn holding_back_and_letting_go() {
    let all: [&[_]; 2] = [
        &[("cpu.max", "1000 10000", "150000 100000")],
        &[("cpu.cfs_quota_us", "1000", "150000"), ("cpu.cfs_period_us", "10000", "100000")],
    ];
    for files in all {
        let (dir, cpu) = group(&files.iter().map(|(file, ..)| (*file, "")).collect::<Vec<_>>());
        let text = |file: &str| fs::read_to_string(dir.path().join(file)).unwrap();
        assert!(!cpu.held_back());
        cpu.hold_back(true).unwrap();
        assert!(cpu.held_back());
        assert!(files.iter().all(|(file, held, _)| text(file) == *held), "{files:?}");
        cpu.hold_back(false).unwrap();
        assert!(!cpu.held_back());
        assert!(files.iter().all(|(file, _, own)| text(file) == *own), "{files:?}");
    }
    let (_dir, cpu) = group(&[]);
    assert_eq!(cpu.hold_back(true).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn strain_is_read_in_either_version() {
    let files = [("pids.events", "max 7\n"), ("cpu.max", "1000 10000\n"), ("log.1", "")];
    for (name, text) in [
        ("memory.events", "oom 9\noom_kill 3\n"),
        ("memory.oom_control", "oom_kill_disable 0\noom_kill 3\n"),
    ] {
        let (dir, cpu) = group(&[files[0], files[1], files[2], (name, text)]);
        let seen = strain(&cpu.groups, &dir.path().join("log.1"));
        assert_eq!((seen.forks_refused, seen.killed_for_memory), (7, 3));
        assert!(seen.held_back && seen.log_turned.is_some());
    }
    assert_eq!(strain(&[], Path::new("")), Strain::default());
    for (now, most, full) in [("448", "512", true), ("447", "512", false), ("9", "max", false)] {
        let (_dir, cpu) = group(&[("pids.current", now), ("pids.max", most)]);
        assert_eq!(strain(&cpu.groups, Path::new("")).full, full, "{now} of {most}");
    }
}
