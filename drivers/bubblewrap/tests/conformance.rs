//! The driver against the suite that all drivers share, as root and as an ordinary user, and what only
//! this one has to prove: that a box outlives its host, and that nothing is left behind.
#![expect(clippy::unwrap_used, reason = "a test stops where something is wrong")]

#[path = "../../../testkit/src/driver_conformance.rs"]
#[expect(unreachable_pub, reason = "it is a public module where it lives")]
mod driver_conformance;

use driver_conformance::{Ground, appears};
use nanoclaw_driver::provide::Wanted;
use nanoclaw_driver::{BoxUser, Driver, DriverContext, Signal};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

conformance!(ground);

const GUARD: &str = "NANOCLAW_TEST_CHILD";
const SOMEBODY: u32 = 12_345;

fn make(dir: &Path) -> Arc<dyn Driver> {
    let context =
        DriverContext { state: dir.join("state"), image: String::new(), ..Default::default() };
    (nanoclaw_driver_bubblewrap::DRIVER.make)(&context).unwrap()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

async fn ground() -> Ground {
    let dir = tempfile::tempdir().unwrap();
    let user = match is_root() {
        true => BoxUser { uid: SOMEBODY, gid: SOMEBODY },
        false => BoxUser {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        },
    };
    Ground { driver: make(dir.path()), later: make(dir.path()), user, image: None, dir }
}

/// Runs this whole file once more without root.
#[test]
fn as_an_ordinary_user() {
    if !is_root() || std::env::var_os(GUARD).is_some() {
        return;
    }
    let output = Command::new("setpriv")
        .args(["--reuid=12346", "--regid=12346", "--clear-groups", "--inh-caps=-all", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--skip", "as_an_ordinary_user"])
        .env(GUARD, "user")
        .env("TMPDIR", "/tmp")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said} {}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("test rights ... ok"), "{said}");
}

/// Both runs of this file happen at once.
fn survivor() -> String {
    format!("survivor-{}", rustix::process::geteuid().as_raw())
}

/// The host dies by force; the box goes on; the next host finds it and learns its exit code.
#[tokio::test]
async fn a_box_outlives_its_host() {
    let script =
        "trap 'exit 42' TERM; touch ready; while :; do sleep 0.05; echo alive >>beat; done";
    if let Some(dir) = std::env::var_os("NANOCLAW_TEST_HOST_DIR") {
        let mut ground = ground().await;
        ground.driver = make(Path::new(&dir));
        let mut spec = ground.spec(script);
        spec.name = survivor();
        spec.install = "dying".into();
        spec.log = Path::new(&dir).join("log");
        spec.mounts[0].source = Path::new(&dir).join("workspace");
        ground.driver.start(&spec).await.unwrap();
        std::future::pending::<()>().await;
    }
    let dir = tempfile::tempdir().unwrap();
    let workspace = dir.path().join("workspace");
    std::fs::create_dir(&workspace).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&workspace, open).unwrap();
    let mut host = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_box_outlives_its_host"])
        .env("NANOCLAW_TEST_HOST_DIR", dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    appears(&workspace.join("ready")).await;
    host.kill().unwrap();
    host.wait().unwrap();
    std::fs::remove_file(workspace.join("beat")).unwrap_or_default();
    appears(&workspace.join("beat")).await;
    let next = make(dir.path());
    let found = next.list("dying").await.unwrap();
    assert_eq!(found.len(), 1);
    next.signal(&survivor(), Signal::Terminate).await.unwrap();
    let exit = next.wait(&survivor()).await.unwrap();
    assert_eq!(exit.code, Some(42));
}

/// After the end there is no zombie, no control group and no record.
#[tokio::test]
async fn nothing_is_left() {
    let ground = ground().await;
    let spec = ground.spec("true");
    ground.driver.start(&spec).await.unwrap();
    ground.driver.wait(&spec.name).await.unwrap();
    let left = std::fs::read_dir(ground.dir.path().join("state/bubblewrap")).unwrap().count();
    assert_eq!(left, 0);
    for group in ["memory", "pids", "cpu", "."] {
        let group = Path::new("/sys/fs/cgroup").join(group);
        assert!(!group.join(format!("nanoclaw-{}", spec.name)).exists());
    }
    let zombies = || {
        let mine = format!(") Z {} ", std::process::id());
        std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // Tests run side by side; only ours counts here.
            stat.contains(&mine) && stat.contains("(bwrap)")
        })
    };
    let buried = async {
        while zombies() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), buried).await.unwrap();
}

/// Real packages from the real registries: there in a box, nothing of them half or twice, none left behind.
#[tokio::test]
async fn packages_are_unpacked_beside_the_box() {
    let ground = ground().await;
    let folder = ground.dir.path().join("agent");
    std::fs::create_dir(&folder).unwrap();
    let wanted = |key: &str, apt: &[&str], npm: &[&str]| Wanted {
        install: "t".into(),
        agent: "ag-1".parse().unwrap(),
        apt: apt.iter().map(|n| (*n).to_owned()).collect(),
        npm: npm.iter().map(|n| (*n).to_owned()).collect(),
        image: None,
        folder: folder.clone(),
        user: ground.user,
        key: key.into(),
    };
    let mut lines = Vec::new();
    let first = wanted("k1", &["hello"], &["is-odd"]);
    let mut keep = |line: &str| lines.push(line.to_owned());
    let provided = ground.driver.provide(&first, &mut keep).await.unwrap();
    assert!(lines.iter().any(|line| line.contains("hello_")), "{lines:?}");
    let mut spec = ground.spec(
        "hello && node -e 'console.log(require(\"is-odd\")(3))' && ! touch /opt/agent/x 2>/dev/null",
    );
    spec.mounts.extend(provided.mounts.clone());
    for (variable, dirs) in &provided.search {
        let before = spec.env.get(variable).cloned().unwrap_or_default();
        spec.env.insert(variable.clone(), format!("{}:{before}", dirs.join(":")));
    }
    ground.driver.start(&spec).await.unwrap();
    let exit = ground.driver.wait(&spec.name).await.unwrap();
    assert_eq!(exit.code, Some(0), "{}", exit.tail);
    assert!(exit.tail.contains("Hello, world!") && exit.tail.contains("true"), "{}", exit.tail);
    // Again is found again, without a word to a registry.
    let again = ground.driver.provide(&first, &mut |line| panic!("{line}")).await.unwrap();
    assert_eq!(again, provided);
    let none = wanted("k2", &["no-such-package-here"], &[]);
    let said = ground.driver.provide(&none, &mut |_| {}).await.unwrap_err().to_string();
    assert!(said.contains("no-such-package-here"), "{said}");
    let bad = wanted("k3", &["x; id"], &[]);
    assert!(ground.driver.provide(&bad, &mut |_| {}).await.is_err());
    let names = || -> Vec<_> {
        let all = std::fs::read_dir(&folder).unwrap();
        all.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names(), ["tools-k1"]);
    ground.driver.tidy(&first, &provided).await.unwrap();
    assert_eq!(names(), ["tools-k1"]);
    ground.driver.tidy(&first, &nanoclaw_driver::provide::Provided::default()).await.unwrap();
    assert!(names().is_empty());
}
