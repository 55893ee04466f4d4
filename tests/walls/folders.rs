//! Folders of the machine in a box: what was judged is what is there, and secrets and hooks are not.

use super::*;
use nanoclaw_driver::{BoxSpec, Mount};
use nanoclaw_mounts::{Install, Judged, judge};
use serde_json::json;
use std::path::PathBuf;
use std::process::Command;

/// A home with a folder `site` that agents may write.
struct Home {
    dir: tempfile::TempDir,
    site: PathBuf,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path());
        let home = dir.path().canonicalize().unwrap();
        let site = home.join("projects/site");
        fs::create_dir_all(&site).unwrap();
        let list = home.join(".config/nanoclaw");
        fs::create_dir_all(&list).unwrap();
        let roots = json!({"allowedRoots": [{"path": "~/projects", "allowReadWrite": true}]});
        fs::write(list.join("mount-allowlist.json"), roots.to_string()).unwrap();
        Self { dir, site }
    }

    fn judge(&self, asked: &serde_json::Value) -> Judged {
        let home = self.dir.path().canonicalize().unwrap();
        let (own, empty) = (vec![home.join("nanoclaw")], home.join("empty"));
        judge(&Install { home, own, empty }, asked)
    }

    /// A box that sees the folder at `/workspace/extra/site`.
    fn spec(&self, ground: &Ground, script: &str) -> BoxSpec {
        let judged = self.judge(&json!([{"hostPath": "~/projects/site", "readonly": false}]));
        assert_eq!(judged.mounts.len(), 1, "{judged:?}");
        let mut spec = ground.spec(script);
        // The host makes the place, in a folder that the box only reads.
        fs::create_dir_all(workspace(&spec).join("extra/site")).unwrap();
        spec.mounts.extend(judged.mounts.into_iter().chain(judged.covers));
        spec
    }

    /// As if the box's own user had made it.
    fn hand_over(&self) {
        let all = Command::new("chown").args(["-R", "52761:52761"]).arg(&self.site).status();
        assert!(all.unwrap().success());
    }
}

/// Refused before anything starts, or killed because it is not what was judged.
pub(crate) async fn i11_a_mount_is_where_it_was_judged(ground: &Ground) {
    let home = Home::new();
    for path in ["/", "~", "/var/run", "/var/run/docker.sock", "/proc/1/root", "~/nanoclaw", "/dev"]
    {
        let judged = home.judge(&json!([{"hostPath": path, "containerPath": "x"}]));
        assert!(judged.mounts.is_empty() && judged.notes[0].refused, "{path}: {judged:?}");
    }
    std::os::unix::fs::symlink("/var/run/docker.sock", home.site.join("engine")).unwrap();
    for odd in ["~/projects/site:ro", "~/projects/si,te", "~/projects/site/engine"] {
        let judged = home.judge(&json!([{"hostPath": odd, "containerPath": "x"}]));
        assert!(judged.mounts.is_empty() && judged.notes[0].refused, "{odd}: {judged:?}");
    }
    // After it was judged, it is swapped for a link to what nobody may see.
    let spec = home.spec(ground, "touch ran; ls /workspace/extra/site >seen");
    fs::rename(&home.site, home.site.with_file_name("was")).unwrap();
    std::os::unix::fs::symlink("/root", &home.site).unwrap();
    let refused = ground.driver.start(&spec).await.unwrap_err();
    assert!(refused.to_string().contains("symbolic link"), "{refused}");
    // The same for a folder above it.
    let deep = BoxSpec {
        mounts: vec![
            spec.mounts[0].clone(),
            Mount { source: home.site.join("deep"), ..spec.mounts[1].clone() },
        ],
        ..spec.clone()
    };
    assert!(ground.driver.start(&deep).await.is_err());
    assert!(!workspace(&spec).join("ran").exists());
}

pub(crate) async fn i12_secrets_inside_are_empty(ground: &Ground) {
    let home = Home::new();
    for file in ["a/b/.ssh/id_secret", "a/b/c/id_rsa", "a/.env", "a/plain.txt"] {
        let path = home.site.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "canary").unwrap();
    }
    let _engine = std::os::unix::net::UnixListener::bind(home.site.join("a/engine.sock")).unwrap();
    open(&home.site.join("a/engine.sock"));
    home.hand_over();
    let script = "cd /workspace/extra/site; {
        for f in a/.env a/b/c/id_rsa; do echo $f $(wc -c <$f) $( (echo x >$f) 2>/dev/null && echo written); done
        echo a/b/.ssh $(ls -A a/b/.ssh | wc -l); echo found $(grep -rl canary . 2>/dev/null | wc -l)
        mv a/b a/moved 2>/dev/null; echo moved $(grep -rl canary . 2>/dev/null | wc -l); mv a/moved a/b
        perl -MIO::Socket::UNIX -e 'print \"engine \", (IO::Socket::UNIX->new(\"a/engine.sock\") ? \"open\" : \"shut\"), \"\\n\"'
        } >/workspace/out";
    let judged = home.judge(&json!([{"hostPath": "~/projects/site"}]));
    let told = &judged.notes[0].why;
    for name in ["a/.env", "a/b/.ssh", "a/b/c/id_rsa", "a/engine.sock"] {
        assert!(told.contains(name), "{name} is not told of: {told}");
    }
    let out = ground.ask(&home.spec(ground, script)).await;
    for file in ["a/.env", "a/b/c/id_rsa", "a/b/.ssh"] {
        assert_eq!(out[file], "0", "{file}");
    }
    // The one that is no secret, wherever the others were moved.
    assert_eq!((out["found"].as_str(), out["moved"].as_str()), ("1", "1"));
    assert_eq!(out["engine"], "shut");
    assert_eq!(fs::read_to_string(home.site.join("a/.env")).unwrap(), "canary");
}

pub(crate) async fn i13_what_people_run_is_read_only(ground: &Ground) {
    let home = Home::new();
    let repo = home.site.join("deep/repo");
    for file in
        [".vscode/tasks.json", ".envrc", ".husky/pre-commit", ".mcp.json", ".claude/settings.json"]
    {
        let path = repo.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "mine").unwrap();
    }
    let git = |arguments: &[&str]| {
        let git = Command::new("git").current_dir(&repo).args(arguments).output().unwrap();
        assert!(git.status.success(), "{git:?}");
    };
    git(&["init", "-q"]);
    git(&["config", "user.name", "mine"]);
    home.hand_over();
    let script = "cd /workspace/extra/site/deep/repo; {
        for f in .git/hooks/post-commit .git/config .git/commondir .vscode/tasks.json .vscode/new .envrc .husky/pre-commit \\
            .mcp.json .claude/settings.json; do
            echo $f $(perl -e 'print open(F, \">>\", shift) ? \"written\" : $!+0' $f); done
        for f in .git .git/hooks .git/config .vscode ../repo ../../deep; do
            echo mv-$f $(perl -e 'print rename($ARGV[0], \"$ARGV[0].x\") ? \"moved\" : $!+0' $f); done
        echo x >new && echo work written; echo x >.git/index.lock && echo index written; } >/workspace/out";
    let out = ground.ask(&home.spec(ground, script)).await;
    assert_eq!((out["work"].as_str(), out["index"].as_str()), ("written", "written"));
    for (what, result) in out.iter().filter(|(key, _)| key.contains(['.', '/'])) {
        // 30: read-only. 16: something is mounted there, so it stays where it is.
        let wanted = match what.as_str() {
            // An empty file of the host lies over what may hold a secret.
            ".envrc" => "13",
            what if what.starts_with("mv-") => "16",
            _ => "30",
        };
        assert_eq!(result, wanted, "{what}");
    }
    fs::remove_file(repo.join(".git/index.lock")).unwrap();
    let head = |path: &str| fs::read_to_string(repo.join(path)).unwrap();
    assert!(head(".git/config").contains("mine") && head(".vscode/tasks.json") == "mine");
    assert!(!repo.join(".git/hooks/post-commit").exists());
}
