use super::*;

fn group(files: &[(&str, &str)]) -> (tempfile::TempDir, Cpu) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let cpu = Cpu::new(vec![dir.path().join("elsewhere"), dir.path().to_owned()]);
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
