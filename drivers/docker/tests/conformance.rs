//! The driver against the suite that all drivers share, on a real engine.
//!
//! The image is the one that `image::build` makes; where it is missing the first test builds it. Without
//! an engine the suite has nothing to run on and says so.
#![expect(clippy::unwrap_used, reason = "a test stops where something is wrong")]

#[path = "../../../testkit/src/driver_conformance.rs"]
#[expect(unreachable_pub, reason = "it is a public module where it lives")]
mod driver_conformance;

use driver_conformance::Ground;
use nanoclaw_driver::provide::{Provided, Wanted};
use nanoclaw_driver::{BoxUser, Driver, DriverContext, DriverError};
use nanoclaw_driver_docker::image;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::OnceCell;

conformance!(ground);

const IMAGE: &str = "nanoclaw-agent:latest";
const BASE: &str = "debian:bookworm-slim";
static BUILT: OnceCell<()> = OnceCell::const_new();

fn make(dir: &Path) -> Arc<dyn Driver> {
    let context =
        DriverContext { state: dir.join("state"), image: IMAGE.into(), ..Default::default() };
    (nanoclaw_driver_docker::DRIVER.make)(&context).unwrap()
}

async fn ground() -> Ground {
    BUILT.get_or_init(ensure_image).await;
    let dir = tempfile::tempdir().unwrap();
    let user = BoxUser { uid: 12_345, gid: 12_345 };
    Ground { driver: make(dir.path()), later: make(dir.path()), user, image: None, dir }
}

async fn ensure_image() {
    if image::exists(IMAGE).await.unwrap() {
        return;
    }
    if !image::exists(BASE).await.unwrap() {
        let scratch = tempfile::tempdir().unwrap();
        image::base(BASE, scratch.path(), &mut |_| {}).await.unwrap();
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../container");
    image::build(&folder, IMAGE, BASE, None, &mut |_| {}).await.unwrap();
}

/// The engine here can give every part of the profile.
#[tokio::test]
async fn probe_names_what_is_missing() {
    let ground = ground().await;
    let probe = ground.driver.probe().await.unwrap();
    assert!(probe.version.starts_with("Docker "), "{probe:?}");
    assert_eq!(probe.missing, Vec::<String>::new());
}

/// An image that is not there is a matter of set-up, and the text says so.
#[tokio::test]
async fn a_missing_image_refuses() {
    let ground = ground().await;
    let mut spec = ground.spec("true");
    spec.image = Some("nanoclaw-no-such-image:1".into());
    match ground.driver.start(&spec).await {
        Err(DriverError::Unavailable(said)) => assert!(said.contains("build the image"), "{said}"),
        other => panic!("{other:?}"),
    }
}

/// Building says what it does, line by line, and a bundle given as a secret stays in no layer.
#[tokio::test]
async fn a_build_reports_and_keeps_no_secret() {
    let ground = ground().await;
    let folder = ground.dir.path().join("image");
    std::fs::create_dir(&folder).unwrap();
    let file = "ARG BASE\nFROM ${BASE}\nRUN --mount=type=secret,id=ca,target=/run/ca.crt,mode=0444 \
        cp /run/ca.crt /seen && grep -q hidden /seen && rm /seen && echo it was there\n";
    std::fs::write(folder.join("Dockerfile"), file).unwrap();
    let ca = ground.dir.path().join("ca.crt");
    std::fs::write(&ca, format!("hidden {}", std::process::id())).unwrap();
    let mut lines = Vec::new();
    let image = "nanoclaw-conformance-build:latest";
    let mut keep = |line: &str| lines.push(line.to_owned());
    image::build(&folder, image, BASE, Some(&ca), &mut keep).await.unwrap();
    assert!(lines.iter().any(|line| line.contains("it was there")), "{lines:?}");
    assert!(image::exists(image).await.unwrap());
    let mut spec = ground.spec("[ ! -e /run/ca.crt ] && [ ! -e /seen ]");
    spec.image = Some(image.into());
    ground.driver.start(&spec).await.unwrap();
    assert_eq!(ground.driver.wait(&spec.name).await.unwrap().code, Some(0));
    std::fs::write(folder.join("Dockerfile"), "ARG BASE\nFROM ${BASE}\nRUN exit 3\n").unwrap();
    let failed = image::build(&folder, image, BASE, None, &mut |_| {}).await;
    assert!(failed.is_err());
}

/// Real packages from the real registry as an image of the agent's own, built from an empty context.
#[tokio::test]
async fn packages_become_an_image_of_the_agent() {
    let ground = ground().await;
    let folder = ground.dir.path().join("agent");
    std::fs::create_dir(&folder).unwrap();
    let of = |agent: &str, key: &str, apt: &[&str]| Wanted {
        install: format!("t{}", std::process::id()),
        agent: agent.parse().unwrap(),
        apt: apt.iter().map(|n| (*n).to_owned()).collect(),
        npm: Vec::new(),
        image: None,
        folder: folder.clone(),
        user: ground.user,
        key: key.into(),
    };
    let wanted = |key: &str, apt: &[&str]| of("ag-Packages_1", key, apt);
    let first = wanted("k1", &["hello"]);
    let provided = ground.driver.provide(&first, &mut |_| {}).await.unwrap();
    let mut spec = ground.spec("hello");
    spec.image.clone_from(&provided.image);
    ground.driver.start(&spec).await.unwrap();
    let exit = ground.driver.wait(&spec.name).await.unwrap();
    assert_eq!((exit.code, exit.tail.trim()), (Some(0), "Hello, world!"));
    let again = ground.driver.provide(&first, &mut |line| panic!("{line}")).await.unwrap();
    assert_eq!(again, provided);
    let none = ground.driver.provide(&wanted("k2", &["no-such-package-here"]), &mut |_| {}).await;
    assert!(none.is_err());
    assert!(ground.driver.provide(&wanted("k3", &["x; id"]), &mut |_| {}).await.is_err());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "a build left something behind");
    let image = provided.image.clone().unwrap();
    // Made anew, nothing of it is the same.
    let anew = ground.driver.provide(&wanted("k1-2", &["hello"]), &mut |_| {}).await.unwrap();
    let anew = anew.image.unwrap();
    let layers = async |image: &str| {
        let format = ["image", "inspect", "--format", "{{.RootFS.Layers}}", image];
        tokio::process::Command::new("docker").args(format).output().await.unwrap().stdout
    };
    assert_ne!(layers(&image).await, layers(&anew).await);
    // The images of an agent of nearly this name are others.
    let other = of("ag-Packages-1", "k1", &["hello"]);
    let others = ground.driver.provide(&other, &mut |_| {}).await.unwrap().image.unwrap();
    ground.driver.tidy(&wanted("k1", &[]), &Provided::default()).await.unwrap();
    assert!(!image::exists(&anew).await.unwrap() && image::exists(&others).await.unwrap());
    ground.driver.tidy(&other, &Provided::default()).await.unwrap();
    let provided = ground.driver.provide(&first, &mut |_| {}).await.unwrap();
    ground.driver.tidy(&first, &provided).await.unwrap();
    assert!(image::exists(&image).await.unwrap());
    ground.driver.tidy(&first, &Provided::default()).await.unwrap();
    assert!(!image::exists(&image).await.unwrap());
}
