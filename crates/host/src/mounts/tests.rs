//! What may be mounted, and every way around it.

use super::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

struct Ground {
    config: Config,
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
        let config = Config {
            data: home.join("nanoclaw/data"),
            groups: home.join("nanoclaw/groups"),
            container: home.join("nanoclaw/container"),
            runner: home.join("nanoclaw/runner"),
            tools: home.join("nanoclaw/data/tools"),
            home: home.clone(),
            install: "t".into(),
            boxes_max: 1,
            idle_timeout: Duration::from_secs(1),
            timezone: "UTC".into(),
            box_user: nanoclaw_driver::BoxUser { uid: 1, gid: 1 },
            limits: nanoclaw_driver::Limits::default(),
            box_env: BTreeMap::new(),
            default_provider: "demo".into(),
        };
        let ground = Self { config, home, _dir: dir };
        ground.list(&json!({"allowedRoots": [
            {"path": "~/projects", "allowReadWrite": true, "description": "work"},
            {"path": "~/papers", "allowReadWrite": false},
            {"path": "~/missing", "allowReadWrite": true},
            {"path": "~/nanoclaw", "allowReadWrite": true},
        ], "blockedPatterns": ["password"], "nonMainReadOnly": true}));
        ground
    }

    fn list(&self, list: &Value) {
        fs::write(list_path(&self.config), list.to_string()).unwrap();
    }

    /// Asks for one; what is mounted, or why not.
    fn ask(&self, asked: Value) -> Result<Mount, String> {
        let (mut mounts, mut refused) = judge(&self.config, &json!([asked]));
        assert_eq!(mounts.len() + refused.len(), 1);
        mounts.pop().ok_or_else(|| refused.remove(0).why)
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
        fs::write(list_path(&g.config), bad).unwrap();
        g.refuses(asked.clone(), if bad == "[]" { "allowed" } else { "malformed" });
    }
    fs::remove_file(list_path(&g.config)).unwrap();
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
    let (list, config) = (
        List {
            allowed_roots: vec![Root { path: "/".into(), allow_read_write: true }],
            ..List::default()
        },
        &g.config,
    );
    let said = admit(config, &list, &json!({"hostPath": "~", "containerPath": "x"})).unwrap_err();
    assert!(said.contains("install") || said.contains("home"), "{said}");
    fs::create_dir_all(g.home.join("a:b")).unwrap();
    g.refuses(json!({"hostPath": "~/a:b", "containerPath": "x"}), "does not exist");
    let said =
        admit(config, &list, &json!({"hostPath": "~/a:b", "containerPath": "x"})).unwrap_err();
    assert!(said.contains("character"), "{said}");
    let _listener = std::os::unix::net::UnixListener::bind(g.home.join("s.sock")).unwrap();
    let said = admit(config, &list, &json!({"hostPath": "~/s.sock"})).unwrap_err();
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
        let (mounts, refused) = judge(&g.config, &asked);
        assert_eq!(mounts.len(), 1);
        assert!(refused[0].why.contains("already") && refused[0].what == "~/papers");
    }
}
