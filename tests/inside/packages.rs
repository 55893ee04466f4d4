//! Code and packages come and go through the vault: git, npm, pip, uv, cargo and go, each with a secret that it does not
//! know.

use super::{BUBBLEWRAP, CANARY, DOCKER, World, mounts, tool};
use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nanoclaw_secrets::{Inject, Slot};
use serde_json::json;
use sha2::{Digest as _, Sha256, Sha512};
use std::path::Path;
use std::process::Command;

fn basic() -> String {
    format!("Basic {}", STANDARD.encode(format!("bot:{CANARY}")))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Runs a script of this machine in this folder.
fn here(dir: &Path, script: &str) -> anyhow::Result<()> {
    let out = Command::new("sh").args(["-ec", script]).current_dir(dir).output()?;
    ensure!(out.status.success(), "{script}: {}", String::from_utf8_lossy(&out.stderr));
    Ok(())
}

/// Clones with the password put in by the vault, pushes what is too big for one piece, and fetches what others pushed.
async fn git(driver: &str) -> anyhow::Result<()> {
    let world = World::new(&format!("git{driver}"), driver, "").await?;
    let user = || Slot::Basic { user: "bot".into() };
    world.secret("always", "git.test", user(), Inject::Always)?;
    world.secret("asked", "forge.test", user(), Inject::Placeholder)?;
    let root = world.rig.root.path().join("repositories");
    std::fs::create_dir(&root)?;
    here(
        &root,
        "export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b.c GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b.c
        git init -q --bare one.git; git init -q work; cd work
        for n in $(seq 40); do echo $n >file; git add file; git commit -qm \"change $n\"; git tag v$n; done
        git push -q --tags ../one.git HEAD:refs/heads/main; git -C ../one.git symbolic-ref HEAD refs/heads/main
        cp -r ../one.git ../two.git",
    )?;
    world.server.repositories(root.clone());
    let world = world.started().await?;
    let placeholder = world.placeholder("asked").await?;
    let (one, two) =
        (world.url("git.test", "/git/one.git"), world.url("forge.test", "/git/two.git"));
    let two = two.replace("https://", &format!("https://bot:{placeholder}@"));
    let out = world
        .runs(&format!(
            "set -e; export GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x@y.z GIT_COMMITTER_NAME=x GIT_COMMITTER_EMAIL=x@y.z
            git clone -q {one} one; git clone -q {two} two
            for clone in one two; do cd $clone; git log --oneline | wc -l
                head -c 3000000 /dev/urandom >big; git add big; git commit -qm 'from the box'; git push -q origin HEAD:main
                cd ..; done
            git -C two remote add other {one}; git -C two fetch -q other; git -C two log -1 --format=%s other/main
            cat two/.git/config"
        ))
        .await?;
    ensure!(out.starts_with("40\n40\nfrom the box\n") && !out.contains(CANARY), "{out}");
    for name in ["one", "two"] {
        let look = format!("git -C {name}.git log -1 --format=%s main | grep -qx 'from the box'");
        here(&root, &look)?;
        let pushed = world.server.asked(&format!("/{name}.git/git-receive-pack"))?;
        ensure!(
            pushed.header("authorization") == basic() && pushed.body.len() > 3_000_000,
            "{pushed:?}"
        );
    }
    let (well, out) =
        world.run(&format!("git clone -q {} none", world.url("api.test", "/git/one.git"))).await?;
    ensure!(!well && out.contains("403"), "{out}");
    world.stop().await
}

#[tokio::test]
async fn git_clones_and_pushes_with_a_password_that_it_does_not_know() -> anyhow::Result<()> {
    git(BUBBLEWRAP).await
}

#[tokio::test]
async fn git_of_the_image_clones_and_pushes() -> anyhow::Result<()> {
    git(DOCKER).await
}

/// A world with registries that want a token, and what stands for it.
async fn shop(name: &str, slot: Slot) -> anyhow::Result<World> {
    let world = World::new(name, BUBBLEWRAP, "").await?;
    world.secret("registry", "packages.test", slot, Inject::Placeholder)?;
    Ok(world)
}

/// Everything below this path was asked for with this.
fn all_with(world: &World, path: &str, header: &str) -> anyhow::Result<()> {
    let mut seen = world.server.seen();
    seen.retain(|seen| seen.line.contains(path));
    ensure!(!seen.is_empty(), "nothing at {path}: {:?}", world.server.lines());
    for seen in seen {
        ensure!(seen.header("authorization") == header, "{seen:?}");
    }
    Ok(())
}

#[tokio::test]
async fn npm_installs_from_a_registry_that_wants_a_token() -> anyhow::Result<()> {
    let world = shop("npm", Slot::bearer()).await?;
    let made = world.rig.root.path().join("made");
    std::fs::create_dir_all(made.join("package"))?;
    let about = json!({"name": "leftish", "version": "1.0.0", "main": "index.js"});
    std::fs::write(made.join("package/package.json"), about.to_string())?;
    std::fs::write(made.join("package/index.js"), "module.exports = 'leftish is here'\n")?;
    here(&made, "tar czf leftish.tgz package")?;
    let tarball = std::fs::read(made.join("leftish.tgz"))?;
    let version = json!({"name": "leftish", "version": "1.0.0", "main": "index.js", "dist": {
        "tarball": world.url("packages.test", "/npm/leftish/-/leftish-1.0.0.tgz"),
        "integrity": format!("sha512-{}", STANDARD.encode(Sha512::digest(&tarball)))}});
    let listing = json!({"name": "leftish", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}});
    world.server.file("/npm/leftish", "application/json", listing.to_string());
    world.server.file("/npm/leftish/-/leftish-1.0.0.tgz", "application/octet-stream", tarball);
    let world = world.started().await?;
    let (token, registry) =
        (world.placeholder("registry").await?, world.url("packages.test", "/npm/"));
    let place = registry.trim_start_matches("https:");
    let out = world
        .runs(&format!(
            "set -e; mkdir n; cd n; printf 'registry={registry}\\n{place}:_authToken={token}\\n' >.npmrc
            npm install --no-audit --no-fund --loglevel=error leftish; node -p 'require(\"leftish\")'"
        ))
        .await?;
    ensure!(out.ends_with("leftish is here\n"), "{out}");
    all_with(&world, "/npm/leftish", &format!("Bearer {CANARY}"))?;
    let bun = tool("node_modules/@oven/bun-linux-x64-baseline/bin/bun");
    let out = world
        .runs(&format!(
            "set -e; mkdir b; cd b; cp ../n/.npmrc .; echo '{{}}' >package.json; {bun} add leftish; {bun} -p 'require(\"leftish\")'"
        ))
        .await?;
    ensure!(out.ends_with("leftish is here\n"), "{out}");
    all_with(&world, "/npm/leftish", &format!("Bearer {CANARY}"))?;
    world.stop().await
}

const WHEEL: &str = r#"
import zipfile
with zipfile.ZipFile("leftish-1.0-py3-none-any.whl", "w") as wheel:
    wheel.writestr("leftish.py", "said = 'leftish is here'\n")
    wheel.writestr("leftish-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: leftish\nVersion: 1.0\n")
    wheel.writestr("leftish-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr("leftish-1.0.dist-info/RECORD", "leftish.py,,\nleftish-1.0.dist-info/METADATA,,\nleftish-1.0.dist-info/WHEEL,,\nleftish-1.0.dist-info/RECORD,,\n")
with zipfile.ZipFile("leftish.zip", "w") as module:
    module.writestr("example.test/leftish@v1.0.0/go.mod", "module example.test/leftish\n")
    module.writestr("example.test/leftish@v1.0.0/leftish.go", "package leftish\n")
"#;

/// The wheel of a package of Python, and the module of one of Go.
fn zips(world: &World) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let made = world.rig.root.path().join("made");
    std::fs::create_dir(&made)?;
    let out = Command::new("python3").args(["-c", WHEEL]).current_dir(&made).output()?;
    ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Ok((
        std::fs::read(made.join("leftish-1.0-py3-none-any.whl"))?,
        std::fs::read(made.join("leftish.zip"))?,
    ))
}

#[tokio::test]
async fn pip_uv_and_go_install_with_a_password() -> anyhow::Result<()> {
    let world = shop("pip", Slot::Basic { user: "bot".into() }).await?;
    let (wheel, module) = zips(&world)?;
    let name = "leftish-1.0-py3-none-any.whl";
    let page =
        format!("<a href=\"/pypi/{name}#sha256={}\">{name}</a>", hex(&Sha256::digest(&wheel)));
    world.server.file("/pypi/simple/leftish/", "text/html", page);
    world.server.file(&format!("/pypi/{name}"), "application/octet-stream", wheel);
    let at = "/go/example.test/leftish/@v/v1.0.0";
    let info = json!({"Version": "v1.0.0", "Time": "2026-01-01T00:00:00Z"});
    world.server.file(&format!("{at}.info"), "application/json", info.to_string());
    world.server.file(&format!("{at}.mod"), "text/plain", "module example.test/leftish\n");
    world.server.file(&format!("{at}.zip"), "application/zip", module);
    let world = world.started().await?;
    let placeholder = world.placeholder("registry").await?;
    let with = |path: &str| {
        world.url("packages.test", path).replace("https://", &format!("https://bot:{placeholder}@"))
    };
    let (index, uv) = (with("/pypi/simple/"), tool("python/bin/uv"));
    let out = world
        .runs(&format!(
            "set -e; /usr/bin/python3 -m pip install -q --no-cache-dir --disable-pip-version-check --target lib --index-url {index} leftish
            PYTHONPATH=lib /usr/bin/python3 -c 'import leftish; print(leftish.said)'"
        ))
        .await?;
    ensure!(out.ends_with("leftish is here\n"), "{out}");
    all_with(&world, "/pypi/", &basic())?;
    let before = world.server.seen().len();
    world
        .runs(&format!(
            "set -e; {uv} pip install -q --no-cache --python /usr/bin/python3 --target lib2 --index-url {index} leftish
            PYTHONPATH=lib2 /usr/bin/python3 -c 'import leftish; print(leftish.said)'"
        ))
        .await?;
    ensure!(world.server.seen().len() > before, "uv asked nobody");
    world
        .runs(&format!(
            "set -e; mkdir g; cd g; export GOPROXY={} GOSUMDB=off GOFLAGS=-modcacherw GOPATH=/workspace/agent/go
            go mod init example.test/mine; go mod download -json example.test/leftish@v1.0.0; find ../go -name leftish.go | grep .",
            with("/go")
        ))
        .await?;
    all_with(&world, "/go/", &basic())?;
    world.stop().await
}

#[tokio::test]
async fn cargo_fetches_from_a_sparse_registry_that_wants_a_token() -> anyhow::Result<()> {
    let world = shop("cargo", Slot::header("authorization")).await?;
    let made = world.rig.root.path().join("made");
    std::fs::create_dir_all(made.join("leftish-1.0.0/src"))?;
    let manifest = "[package]\nname = \"leftish\"\nversion = \"1.0.0\"\nedition = \"2021\"\n";
    std::fs::write(made.join("leftish-1.0.0/Cargo.toml"), manifest)?;
    std::fs::write(made.join("leftish-1.0.0/src/lib.rs"), "")?;
    here(&made, "tar czf leftish.crate leftish-1.0.0")?;
    let package = std::fs::read(made.join("leftish.crate"))?;
    let dl = world.url("packages.test", "/cargo/dl/{crate}-{version}");
    let config = json!({"dl": dl, "auth-required": true});
    let line = json!({"name": "leftish", "vers": "1.0.0", "deps": [], "features": {}, "yanked": false,
        "cksum": hex(&Sha256::digest(&package))});
    world.server.file("/cargo/config.json", "application/json", config.to_string());
    world.server.file("/cargo/le/ft/leftish", "text/plain", line.to_string());
    world.server.file("/cargo/dl/leftish-1.0.0", "application/gzip", package);
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output()?.stdout;
    let sysroot = String::from_utf8(sysroot).context("a path")?;
    mounts(&world, sysroot.trim(), "rust")?;
    let world = world.started().await?;
    let (token, index) =
        (world.placeholder("registry").await?, world.url("packages.test", "/cargo/"));
    let out = world
        .runs(&format!(
            "set -e; export PATH=/workspace/extra/rust/bin:$PATH CARGO_HOME=/workspace/agent/cargo
            export CARGO_REGISTRIES_SHOP_INDEX=sparse+{index} CARGO_REGISTRIES_SHOP_TOKEN={token}
            export CARGO_REGISTRY_GLOBAL_CREDENTIAL_PROVIDERS=cargo:token
            mkdir -p r/src; cd r; : >src/lib.rs
            printf '[package]\\nname = \"mine\"\\nversion = \"0.1.0\"\\nedition = \"2021\"\\n[dependencies]\\nleftish = {{ version = \"1\", registry = \"shop\" }}\\n' >Cargo.toml
            cargo fetch; find ../cargo/registry/src -name Cargo.toml | grep leftish-1.0.0"
        ))
        .await?;
    ensure!(out.contains("leftish-1.0.0/Cargo.toml"), "{out}");
    all_with(&world, "/cargo/le/ft/leftish", CANARY)?;
    all_with(&world, "/cargo/dl/", CANARY)?;
    world.stop().await
}
