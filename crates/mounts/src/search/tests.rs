//! Secrets at every depth, and code that people run.

use super::*;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Command;

/// A folder with these files; what ends with `/` is a folder.
fn tree(files: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap().join("root");
    fs::create_dir(&root).unwrap();
    for file in files {
        let path = root.join(file);
        match file.ends_with('/') {
            true => fs::create_dir_all(path).unwrap(),
            false => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "x").unwrap();
            }
        }
    }
    (dir, root)
}

fn relative<'a>(root: &Path, paths: impl Iterator<Item = &'a PathBuf>) -> Vec<String> {
    let mut all: Vec<_> =
        paths.map(|p| p.strip_prefix(root).unwrap().display().to_string()).collect();
    all.sort();
    all
}

fn hidden(root: &Path, write: bool, more: &[&str]) -> Vec<String> {
    let more: Vec<_> = more.iter().map(|m| (*m).to_owned()).collect();
    let found = search(root, write, &more).unwrap();
    relative(root, found.hidden.iter().map(|(path, _)| path))
}

fn git(root: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(root)
        .args(["-c", "user.email=a@b.c", "-c", "user.name=n", "-c", "init.defaultBranch=m"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn secrets_are_found_at_every_depth() {
    let (_dir, root) = tree(&[
        "a/b/.ssh/id",
        "a/b/c/id_rsa",
        "a/b/c/Id_Ed25519.pub",
        "a/.env",
        "a/.env.local",
        "a/.env.example",
        "a/environment.md",
        "deep/er/.aws/",
        "server.PEM",
        "tls.key",
        "my-credentials.json",
        "credentials",
        "src/credentials.rs",
        "home/.config/gh/hosts.yml",
        "home/.config/other",
        "node_modules/x/test.pem",
        "node_modules/x/.npmrc",
        "notes/password-list",
    ]);
    let all = [
        "a/.env",
        "a/.env.local",
        "a/b/.ssh",
        "a/b/c/Id_Ed25519.pub",
        "a/b/c/id_rsa",
        "credentials",
        "deep/er/.aws",
        "home/.config/gh",
        "my-credentials.json",
        "node_modules/x/.npmrc",
        "server.PEM",
        "tls.key",
    ];
    assert_eq!(hidden(&root, false, &[]), all);
    assert_eq!(hidden(&root, true, &[]), all);
    assert!(hidden(&root, false, &["Password"]).contains(&"notes/password-list".to_owned()));
}

#[test]
fn what_is_no_file_is_hidden_and_links_are_left() {
    let (_dir, root) = tree(&["a/b", "other/.ssh/id"]);
    let _listener = UnixListener::bind(root.join("a/engine.sock")).unwrap();
    let pipe = root.join("a/pipe");
    rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
    symlink("/etc", root.join("a/etc")).unwrap();
    symlink(&root, root.join("a/round")).unwrap();
    assert_eq!(hidden(&root.join("a"), false, &[]), ["engine.sock", "pipe"]);
}

#[test]
fn a_repository_keeps_what_git_runs() {
    let (_dir, root) = tree(&[
        "site/.vscode/tasks.json",
        "site/.vscode/.env",
        "site/.husky/pre-commit",
        "site/.mcp.json",
        "site/.claude/settings.local.json",
        "site/.claude/notes.md",
        "site/a",
    ]);
    let site = root.join("site");
    git(&site, &["init", "-q"]);
    git(&site, &["add", "a"]);
    git(&site, &["commit", "-q", "-m", "one"]);
    git(&site, &["worktree", "add", "-q", "../tree"]);
    fs::remove_dir_all(site.join(".git/hooks")).unwrap();
    assert_eq!(search(&root, false, &[]).unwrap().frozen, BTreeSet::new(), "it may not write");
    assert!(!site.join(".git/commondir").exists());
    let found = search(&root, true, &[]).unwrap();
    let frozen = relative(&root, found.frozen.iter());
    let all = [
        "site/.claude/settings.local.json",
        "site/.git/commondir",
        "site/.git/config",
        "site/.git/hooks",
        "site/.git/worktrees/tree/commondir",
        "site/.husky",
        "site/.mcp.json",
        "site/.vscode",
        "tree/.git",
    ];
    assert_eq!(frozen, all);
    let held = [
        "site",
        "site/.claude",
        "site/.git",
        "site/.git/worktrees",
        "site/.git/worktrees/tree",
        "tree",
    ];
    assert_eq!(relative(&root, found.held.iter()), held);
    assert_eq!(relative(&root, found.hidden.iter().map(|h| &h.0)), ["site/.vscode/.env"]);
    // Git does not mind what was made for it.
    assert_eq!(fs::read_to_string(site.join(".git/commondir")).unwrap(), ".\n");
    fs::write(site.join("a"), "y").unwrap();
    git(&site, &["commit", "-qam", "two"]);
    assert_eq!(git(&site, &["rev-list", "--count", "HEAD"]).trim(), "2");
    assert_eq!(git(&root.join("tree"), &["status", "--short"]), "");
    assert_eq!(search(&root, true, &[]).unwrap(), found);
}

#[test]
fn a_submodule_and_a_bare_repository_are_repositories() {
    let (_dir, root) = tree(&["bare/"]);
    git(&root.join("bare"), &["init", "-q", "--bare"]);
    let module = root.join("site/.git/modules/sub");
    fs::create_dir_all(&module).unwrap();
    git(&module, &["init", "-q", "--bare"]);
    let found = search(&root, true, &[]).unwrap();
    let frozen = relative(&root, found.frozen.iter());
    for dir in ["bare", "site/.git/modules/sub"] {
        for name in ["config", "hooks", "commondir"] {
            assert!(frozen.contains(&format!("{dir}/{name}")), "{dir}/{name}: {frozen:?}");
        }
    }
}

#[test]
fn hooks_behind_a_link_and_a_folder_full_of_secrets_are_refused() {
    let (_dir, root) = tree(&["out/"]);
    git(&root, &["init", "-q"]);
    fs::remove_dir_all(root.join(".git/hooks")).unwrap();
    symlink(root.join("out"), root.join(".git/hooks")).unwrap();
    let said = search(&root, true, &[]).unwrap_err();
    assert!(said.contains("is a link"), "{said}");
    search(&root, false, &[]).unwrap();
    let many: Vec<_> = (0..=COVERS_MAX).map(|n| format!("{n}/.env")).collect();
    let (_dir, root) = tree(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let said = search(&root, false, &[]).unwrap_err();
    assert!(said.contains("more than 120"), "{said}");
}

#[test]
fn a_file_system_inside_is_refused() {
    let said = search(Path::new("/"), false, &[]).unwrap_err();
    assert!(said.contains("another file system is mounted in it, at /"), "{said}");
}
