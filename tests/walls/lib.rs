//! The walls of a box, one case per way through, on every driver: from inside a real box.
//!
//! The numbers are those of docs/isolation.md, which also says where the cases are that are tried elsewhere.
#![cfg(test)]

mod engine;
mod folders;
mod network;

use nanoclaw_driver::{Access, BoxUser, Driver, DriverContext, DriverDef};
use nanoclaw_ops::doctor;
use nanoclaw_testkit::driver_conformance::{Ground, mount, workspace};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

const USER: BoxUser = BoxUser { uid: 52_761, gid: 52_761 };
const DOCKER: DriverDef = nanoclaw_driver_docker::DRIVER;
const BUBBLEWRAP: DriverDef = nanoclaw_driver_bubblewrap::DRIVER;

fn make(def: &DriverDef, dir: &Path) -> Arc<dyn Driver> {
    let context = DriverContext {
        state: dir.join("state"),
        image: "nanoclaw-agent:latest".into(),
        ..Default::default()
    };
    (def.make)(&context).unwrap()
}

fn ground(def: &DriverDef) -> Ground {
    let dir = tempfile::tempdir().unwrap();
    Ground {
        driver: make(def, dir.path()),
        later: make(def, dir.path()),
        user: USER,
        image: None,
        dir,
    }
}

/// One test of each case on each driver.
macro_rules! on_both {
    ($($module:ident :: $case:ident),* $(,)?) => {
        mod docker {
            $(#[tokio::test]
            async fn $case() {
                super::$module::$case(&super::ground(&super::DOCKER)).await;
            })*
        }
        mod bubblewrap {
            $(#[tokio::test]
            async fn $case() {
                super::$module::$case(&super::ground(&super::BUBBLEWRAP)).await;
            })*
        }
    };
}

on_both!(
    inside::i01_rights,
    inside::i02_nothing_can_be_written,
    inside::i03_the_kernel_is_shut,
    network::i05_no_host_no_neighbour_no_internet,
    network::i06_no_question_leaves,
    network::i07_without_the_proxy_there_is_nothing,
    network::i21_another_proxy_is_no_way_out,
    folders::i11_a_mount_is_where_it_was_judged,
    folders::i12_secrets_inside_are_empty,
    folders::i13_what_people_run_is_read_only,
    network::i17_only_itself_is_hurt,
    inside::i18_no_secret_in_sight,
    network::i26_many_boxes_each_its_own_way_out,
    inside::the_doctor_finds_every_required_wall,
);

mod inside {
    use super::*;

    pub(crate) async fn i01_rights(ground: &Ground) {
        let out =
            ground.ask(&ground.spec("tr -d ':' </proc/self/status | tr '\\t' ' ' >out")).await;
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(out[set], "0000000000000000", "{set}");
        }
        assert_eq!((out["NoNewPrivs"].as_str(), out["Seccomp"].as_str()), ("1", "2"));
        for (id, own) in [("Uid", USER.uid), ("Gid", USER.gid)] {
            assert_eq!(out[id], format!("{own} {own} {own} {own}"), "{id}");
        }
        assert!(["", &USER.gid.to_string()].contains(&out["Groups"].as_str()), "{out:?}");
    }

    pub(crate) async fn i02_nothing_can_be_written(ground: &Ground) {
        let places = ["/", "/usr", "/usr/bin", "/etc", "/lib", "/app", "/run/vault", "/fixed"];
        let mut spec = ground.spec("perl try >out");
        for target in ["/run/vault", "/fixed", "/app"] {
            mount(&mut spec, &target[1..].replace('/', "-"), target, Access::ReadOnly);
        }
        let tries: String = places.iter().map(|p| format!("try('{p}');")).collect();
        let script = format!(
            "sub try {{ my ($d) = @_; print \"$d \", (-d $d ? (mkdir(\"$d/x\") ? 'made' : $!+0) : 'absent'), \"\\n\" }} {tries}"
        );
        fs::write(workspace(&spec).join("try"), script).unwrap();
        let out = ground.ask(&spec).await;
        for place in places {
            // 30: the file system is read-only, whoever asks.
            assert_eq!(out[place], "30", "{place}");
        }
    }

    /// A program of four instructions that asks for its number by the door of 32-bit programs.
    #[cfg(target_arch = "x86_64")]
    const BY_THE_OLD_DOOR: &str = "
        my $code = \"\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\x89\\xc3\\xb8\\x01\\x00\\x00\\x00\\xbb\\x07\\x00\\x00\\x00\\xcd\\x80\";
        my $head = \"\\x7fELF\\x02\\x01\\x01\" . \"\\0\" x 9 . pack('vvVQQQVvvvvvv', 2, 62, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0);
        my $part = pack('VVQQQQQQ', 1, 5, 0, 0x400000, 0x400000, 120 + length $code, 120 + length $code, 4096);
        open my $f, '>', '/tmp/old' or die $!; binmode $f; print $f $head . $part . $code; close $f;
        chmod 0755, '/tmp/old'; my $r = system '/tmp/old';
        print 'old-door ', ($r >> 8 == 7 ? 'open' : 'shut'), \"\\n\";";
    #[cfg(not(target_arch = "x86_64"))]
    const BY_THE_OLD_DOOR: &str = "print \"old-door shut\\n\";";

    pub(crate) async fn i03_the_kernel_is_shut(ground: &Ground) {
        let mut spec = ground.spec(
            "no() { name=$1; shift; ( \"$@\" ) >/dev/null 2>&1 && echo $name done || echo $name refused; }
            { cp /usr/bin/id /tmp/id; chmod 6755 /tmp/id; echo setuid $(/tmp/id -u)
            no user-namespace unshare -Ur true; no mount-namespace unshare -m true
            no mount mount -t tmpfs t /tmp; no bind mount --bind /tmp /mnt; no mknod mknod /tmp/disk b 8 0
            no chroot chroot / true; no hostname hostname x; no keys head -c1 /proc/keys
            no run-run sh -c 'cp /bin/true /run/true && /run/true'; no cgroup mkdir /sys/fs/cgroup/x
            no core-pattern sh -c 'echo x >/proc/sys/kernel/core_pattern'
            no sysrq sh -c 'echo b >/proc/sysrq-trigger'; no kmsg head -c1 /dev/kmsg; no mem head -c1 /dev/mem
            echo core $(ulimit -Hc); perl old; } >out",
        );
        spec.env.insert("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into());
        fs::write(workspace(&spec).join("old"), BY_THE_OLD_DOOR).unwrap();
        let mut out = ground.ask(&spec).await;
        assert_eq!(out.remove("setuid"), Some(USER.uid.to_string()));
        assert_eq!(out.remove("core").as_deref(), Some("0"));
        assert_eq!(out.remove("old-door").as_deref(), Some("shut"));
        // An empty file is read as well as one that is closed.
        if out["keys"] == "done" {
            let spec = ground.spec("echo keys $(wc -c </proc/keys) >out");
            assert_eq!(ground.ask(&spec).await["keys"], "0");
            out.remove("keys");
        }
        assert!(out.len() >= 12, "{out:?}");
        for (name, result) in out {
            assert_eq!(result, "refused", "{name}");
        }
    }

    /// What a box is given is not in a command line of the host, and nothing of the host is in the box.
    pub(crate) async fn i18_no_secret_in_sight(ground: &Ground) {
        let canary = "nv1_canary-4711";
        let mut spec = ground.spec(
            "tr '\\0' '\\n' </proc/1/environ >environ; cat /proc/[0-9]*/cmdline >argv
            touch ready; while [ ! -e go ]; do sleep 0.02; done",
        );
        spec.env.insert("HTTPS_PROXY".into(), format!("http://box:{canary}@127.0.0.1:3128"));
        ground.driver.start(&spec).await.unwrap();
        nanoclaw_testkit::driver_conformance::appears(&workspace(&spec).join("ready")).await;
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            // The tests' own sources may be on a command line, but never with what only they know.
            assert!(!line.contains(canary), "{line}");
        }
        fs::write(workspace(&spec).join("go"), "").unwrap();
        ground.driver.wait(&spec.name).await.unwrap();
        let environ = fs::read_to_string(workspace(&spec).join("environ")).unwrap();
        assert!(environ.contains(canary), "{environ}");
        assert!(!environ.contains("CARGO"), "{environ}");
        let argv = fs::read_to_string(workspace(&spec).join("argv")).unwrap();
        assert!(!argv.contains("bwrap") && !argv.contains("docker"), "{argv}");
    }

    pub(crate) async fn the_doctor_finds_every_required_wall(ground: &Ground) {
        let scratch = ground.dir.path().join("doctor");
        let limits = nanoclaw_driver::Limits::default();
        let place = doctor::Ground { scratch: scratch.clone(), user: USER, limits };
        let report = doctor::examine(ground.driver.as_ref(), &place).await;
        assert!(report.holds(), "{}", report.to_text());
        let states: BTreeMap<_, _> = report.findings.iter().map(|f| (f.id.as_str(), f)).collect();
        for finding in states.values().filter(|f| f.required) {
            assert_eq!(finding.state, doctor::State::Ok, "{finding:?}");
        }
        assert!(!scratch.exists(), "it left its folder behind");
        // The page says the same, line by line.
        let page = fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/isolation.md"),
        );
        let page = page.unwrap();
        for line in nanoclaw_driver::profile::LINES {
            assert!(page.contains(&format!("| `{}` | {} |", line.id, line.what)), "{}", line.id);
        }
    }
}

/// Opens a folder to everybody, as boxes of any user need it.
fn open(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}
