use super::*;

fn mount(source: &str, target: &str, access: Access) -> Mount {
    Mount { source: source.into(), target: target.into(), access }
}

const INFO: &str = "\
1 0 0:1 /newroot / ro,nosuid - tmpfs tmpfs rw
2 1 8:1 /usr /usr ro,nodev - ext4 /dev/sda rw
3 1 0:2 / /tmp rw - tmpfs tmpfs rw
4 1 8:1 /data/s /workspace rw - ext4 /dev/sda rw
5 4 8:1 /data/a\\040b /workspace/a\\040b ro - ext4 /dev/sda rw
";

fn planned() -> Vec<Mount> {
    vec![
        mount("/data/s", "/workspace", Access::ReadWrite),
        mount("/data/a b", "/workspace/a b", Access::ReadOnly),
    ]
}

#[test]
fn a_table_that_is_the_plan_passes() {
    assert_eq!(table(INFO, &planned(), &["/usr", "/tmp"]), Ok(()));
}

#[test]
fn every_difference_is_named() {
    let own = ["/usr", "/tmp"];
    let judge = |info: &str| table(info, &planned(), &own).unwrap_err();
    assert_eq!(judge(&INFO.replace("/ ro,nosuid", "/ rw")), "the root is not read-only");
    assert_eq!(judge(&INFO.replace("b ro", "b rw")), "/workspace/a b can be written");
    assert_eq!(judge(&INFO.replace("/workspace rw", "/workspace ro")), "/workspace is read-only");
    let cut = INFO.lines().take(4).collect::<Vec<_>>().join("\n");
    assert_eq!(judge(&cut), "/workspace/a b is not mounted");
    for extra in ["/secret ro", "/oldroot ro", "/workspace/x ro", "/usr/x rw", "/tmp/x rw"] {
        let place = extra.split(' ').next().unwrap();
        let said = judge(&format!("{INFO}9 1 8:1 / {extra} - ext4 /dev/sda rw\n"));
        assert_eq!(said, format!("{place} is mounted and was not planned"));
    }
    // Something mounted over a planned place counts, not what lies beneath it.
    assert_eq!(
        judge(&format!("{INFO}9 5 8:1 / /workspace/a\\040b rw - ext4 /dev/sda rw\n")),
        "/workspace/a b can be written"
    );
}

#[test]
fn rights_must_be_exactly_none() {
    let status = "Name:\tx\nUid:\t7\t7\t7\t7\nGid:\t8\t8\t8\t8\nCapInh:\t0000000000000000\n\
        CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n\
        CapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t2\n";
    let user = BoxUser { uid: 7, gid: 8 };
    assert_eq!(rights(status, user), Ok(()));
    for (from, to) in [
        ("Uid:\t7\t7\t7\t7", "Uid:\t7\t7\t0\t7"),
        ("CapBnd:\t0000000000000000", "CapBnd:\t0000000000000400"),
        ("NoNewPrivs:\t1", "NoNewPrivs:\t0"),
        ("Seccomp:\t2", "Seccomp:\t0"),
    ] {
        assert!(rights(&status.replace(from, to), user).is_err(), "{to}");
    }
}

#[test]
fn names_that_an_engine_could_misread_are_refused() {
    assert!(is_name("nanoclaw-s1_a.b"));
    for bad in ["", ".", "..", "-x", "a/b", "a b", "a\nb", "ä", "a:b", &"x".repeat(129)] {
        assert!(!is_name(bad), "{bad:?}");
    }
    for bad in ["", "a", "/a/../b", "/a//b", "/a/./b", "/a/", "/a\nb"] {
        assert!(!is_plain(Path::new(bad)), "{bad:?}");
    }
}

#[test]
fn a_tail_is_bounded_and_whole() {
    let dir = std::env::temp_dir().join(format!("nanoclaw-tail-{}", std::process::id()));
    fs::write(&dir, [b"\xff".repeat(3000), b"end".to_vec()].concat()).unwrap();
    let text = tail(&dir);
    fs::remove_file(&dir).unwrap();
    assert!(text.len() <= 2000 && text.ends_with("end"), "{}", text.len());
    assert_eq!(tail(Path::new("/does/not/exist")), "");
}
