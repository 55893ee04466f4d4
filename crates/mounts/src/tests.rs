//! What may be mounted, and every way around it.

use super::*;
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;

struct Ground {
    install: Install,
    home: PathBuf,
    _dir: tempfile::TempDir,
}

impl Ground {
    /// A home with `projects` (read-write), `papers` (read-only) and the install in `nanoclaw`.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap().join("home");
        for made in [
            "projects/site/src",
            "projects/.ssh",
            "papers",
            "nanoclaw/data",
            "nanoclaw/groups",
            "other",
            ".config/nanoclaw",
        ] {
            fs::create_dir_all(home.join(made)).unwrap();
        }
        fs::write(home.join("papers/one.txt"), "one").unwrap();
        let install = Install {
            own: ["data", "groups"].map(|dir| home.join("nanoclaw").join(dir)).to_vec(),
            empty: home.join("nanoclaw/data/empty"),
            home: home.clone(),
        };
        let ground = Self { install, home, _dir: dir };
        ground.list(&json!({"allowedRoots": [
            {"path": "~/projects", "allowReadWrite": true, "description": "work"},
            {"path": "~/papers", "allowReadWrite": false},
            {"path": "~/missing", "allowReadWrite": true},
            {"path": "~/nanoclaw", "allowReadWrite": true},
        ], "blockedPatterns": ["password"], "nonMainReadOnly": true}));
        ground
    }

    fn list(&self, list: &Value) {
        fs::write(self.install.list(), list.to_string()).unwrap();
    }

    /// Asks for one; what is mounted, or why not.
    fn ask(&self, asked: Value) -> Result<Mount, String> {
        let Judged { mut mounts, mut notes, .. } = judge(&self.install, &json!([asked]));
        notes.retain(|note| note.refused);
        assert_eq!(mounts.len() + notes.len(), 1);
        mounts.pop().ok_or_else(|| notes.remove(0).why)
    }

    fn refuses(&self, asked: Value, why: &str) {
        let said = self.ask(asked.clone()).expect_err(&asked.to_string());
        assert!(said.contains(why), "{asked}: {said}");
    }
}

#[test]
fn a_listed_folder_is_read_only_unless_both_say_otherwise() {
    let g = Ground::new();
    let mount = |asked| g.ask(asked).unwrap();
    let plain = mount(json!({"hostPath": "~/projects/site"}));
    assert_eq!(plain.source, g.home.join("projects/site"));
    assert_eq!(plain.target, Path::new("/workspace/extra/site"));
    assert_eq!(plain.access, Access::ReadOnly);
    let both =
        mount(json!({"hostPath": "~/projects/site", "containerPath": "a/b", "readonly": false}));
    assert_eq!(
        (both.target.as_path(), both.access),
        (Path::new("/workspace/extra/a/b"), Access::ReadWrite)
    );
    for asked in [
        json!({"hostPath": "~/projects", "readonly": true}),
        json!({"hostPath": "~/projects", "readonly": null}),
        json!({"hostPath": "~/papers/one.txt", "readonly": false}),
    ] {
        assert_eq!(mount(asked.clone()).access, Access::ReadOnly, "{asked}");
    }
}

#[test]
fn without_a_usable_list_nothing_is_mounted() {
    let g = Ground::new();
    let asked = json!({"hostPath": "~/projects"});
    for bad in ["", "[]", "{\"allowedRoots\": 1}", "{"] {
        fs::write(g.install.list(), bad).unwrap();
        g.refuses(asked.clone(), if bad == "[]" { "allowed" } else { "malformed" });
    }
    fs::remove_file(g.install.list()).unwrap();
    g.refuses(asked.clone(), "does not exist");
    // It is read anew each time.
    g.list(&json!({"allowedRoots": [{"path": "~/projects"}]}));
    assert!(g.ask(asked).is_ok());
}

#[test]
fn nothing_outside_the_roots_and_nothing_blocked() {
    let g = Ground::new();
    g.refuses(json!({"hostPath": "~/other"}), "none of the allowedRoots");
    g.refuses(json!({"hostPath": "~/projects/../other"}), "none of the allowedRoots");
    g.refuses(json!({"hostPath": "~/projects-not"}), "cannot be found");
    fs::create_dir_all(g.home.join("projects-not")).unwrap();
    g.refuses(json!({"hostPath": "~/projects-not"}), "none of the allowedRoots");
    g.refuses(json!({"hostPath": "~/projects/.ssh"}), ".ssh");
    for name in ["PassWord.txt", "my-credentials.json", ".env.local", "ID_RSA.pub"] {
        fs::write(g.home.join("projects").join(name), "x").unwrap();
        g.refuses(json!({"hostPath": format!("~/projects/{name}")}), "never mounted");
    }
    for (path, why) in [("relative", "absolute"), ("~other/x", "absolute"), ("", "absolute")] {
        g.refuses(json!({"hostPath": path}), why);
    }
    g.refuses(json!({"containerPath": "x"}), "malformed");
    g.refuses(json!("~/projects"), "malformed");
}

#[test]
fn links_are_judged_where_they_lead() {
    let g = Ground::new();
    for (name, to) in [("out", "other"), ("key", "projects/.ssh"), ("in", "projects/site")] {
        symlink(g.home.join(to), g.home.join("projects").join(name)).unwrap();
    }
    g.refuses(json!({"hostPath": "~/projects/out"}), "none of the allowedRoots");
    g.refuses(json!({"hostPath": "~/projects/key"}), ".ssh");
    let mount = g.ask(json!({"hostPath": "~/projects/in"})).unwrap();
    assert_eq!(mount.source, g.home.join("projects/site"), "its real place is mounted");
    assert_eq!(mount.target, Path::new("/workspace/extra/in"));
}

#[test]
fn the_machine_the_home_and_the_install_stay_out() {
    let g = Ground::new();
    g.list(&json!({"allowedRoots": [{"path": "/", "allowReadWrite": true}]}));
    for path in ["/", "/proc", "/proc/self", "/dev", "/run", "/sys/kernel"] {
        g.refuses(json!({"hostPath": path, "containerPath": "x"}), "machine");
    }
    for path in
        ["~/nanoclaw", "~/nanoclaw/data", "~/nanoclaw/groups", "~/.config/nanoclaw", "~/.config"]
    {
        g.refuses(json!({"hostPath": path, "containerPath": "x"}), "part of this install");
    }
    fs::remove_dir_all(g.home.join("nanoclaw")).unwrap();
    fs::remove_dir_all(g.home.join(".config")).unwrap();
    let (list, install) = (
        List {
            allowed_roots: vec![Root { path: "/".into(), allow_read_write: true }],
            ..List::default()
        },
        &g.install,
    );
    let said = admit(install, &list, &json!({"hostPath": "~", "containerPath": "x"})).unwrap_err();
    assert!(said.contains("install") || said.contains("home"), "{said}");
    fs::create_dir_all(g.home.join("a:b")).unwrap();
    g.refuses(json!({"hostPath": "~/a:b", "containerPath": "x"}), "does not exist");
    let said =
        admit(install, &list, &json!({"hostPath": "~/a:b", "containerPath": "x"})).unwrap_err();
    assert!(said.contains("character"), "{said}");
    let _listener = std::os::unix::net::UnixListener::bind(g.home.join("s.sock")).unwrap();
    let said = admit(install, &list, &json!({"hostPath": "~/s.sock"})).unwrap_err();
    assert!(said.contains("a socket"), "{said}");
}

#[test]
fn places_in_the_box_are_plain_and_used_once() {
    let g = Ground::new();
    for place in
        ["", " ", "..", "a/../b", "/abs", "a:b", "a,b", "a\nb", "./a", "a//b", "a/", "../../etc"]
    {
        g.refuses(json!({"hostPath": "~/projects", "containerPath": place}), "containerPath");
    }
    let twice = json!([{"hostPath": "~/projects", "containerPath": "x"}, {"hostPath": "~/papers", "containerPath": "x"}]);
    let inside = json!([{"hostPath": "~/projects", "containerPath": "x"}, {"hostPath": "~/papers", "containerPath": "x/y"}]);
    for asked in [twice, inside] {
        let Judged { mounts, notes, .. } = judge(&g.install, &asked);
        let refused: Vec<_> = notes.iter().filter(|note| note.refused).collect();
        assert_eq!(mounts.len(), 1);
        assert!(refused[0].why.contains("already") && refused[0].what == "~/papers");
    }
}

#[test]
fn what_a_shell_or_desktop_runs_is_read_only() {
    let g = Ground::new();
    g.list(&json!({"allowedRoots": [{"path": "~", "allowReadWrite": true}]}));
    for part in [".local/bin", ".local", ".bashrc", "bin", "bin/tools"] {
        let path = g.home.join(part);
        match part {
            ".bashrc" => fs::write(path, "").unwrap(),
            _ => fs::create_dir_all(path).unwrap(),
        }
        let asked = |readonly| json!({"hostPath": format!("~/{part}"), "containerPath": "x", "readonly": readonly});
        g.refuses(asked(false), "read-only");
        assert_eq!(g.ask(asked(true)).unwrap().access, Access::ReadOnly, "{part}");
    }
}

#[test]
fn a_secret_inside_is_covered_and_told() {
    let g = Ground::new();
    fs::write(g.home.join("projects/site/src/.env"), "TOKEN=1").unwrap();
    fs::create_dir_all(g.home.join("projects/site/.vscode")).unwrap();
    let asked = json!([{"hostPath": "~/projects/site", "readonly": false}]);
    let Judged { mounts, covers, notes } = judge(&g.install, &asked);
    assert_eq!((mounts.len(), notes.len()), (1, 1));
    assert!(!notes[0].refused && notes[0].why.ends_with("empty for it: src/.env"), "{notes:?}");
    let (frozen, hidden) = (&covers[0], &covers[1]);
    assert_eq!(covers.len(), 2);
    assert_eq!(frozen.source, g.home.join("projects/site/.vscode"));
    assert_eq!(frozen.target, Path::new("/workspace/extra/site/.vscode"));
    assert_eq!(hidden.target, Path::new("/workspace/extra/site/src/.env"));
    assert!(covers.iter().all(|c| c.access == Access::ReadOnly));
    assert_eq!(fs::read(&hidden.source).unwrap(), b"");
    assert!(hidden.source.starts_with(&g.install.empty));
}
