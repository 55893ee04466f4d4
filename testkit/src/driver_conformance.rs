//! What every isolation driver must do, and every attack that its boxes must survive.
//!
//! The payload is `/bin/sh` and `perl`, which the host's `/usr` and the Debian image both have. It runs
//! with full knowledge of the design. A driver's test says `conformance!(ground)`, where `ground()`
//! makes a [`Ground`]. Its driver's test includes it by path and so builds nothing but the
//! driver.
#![expect(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use nanoclaw_contract::ids::{AgentId, SessionId};
use nanoclaw_driver::{Access, BoxSpec, BoxUser, Driver, DriverError, Exit, Limits, Mount, Signal};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const LOG_BYTES_MAX: u64 = 10 << 20;
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Makes one test of each case.
#[macro_export]
macro_rules! conformance {
    ($ground:path) => {
        $crate::conformance!($ground: lifecycle, ends_and_codes, signals, stopping, adoption, two_waiters,
            identity, descriptors, rights, calls, files, nested_mounts, network, vault_socket, secrets, neighbours,
            processes_are_limited, memory_is_limited, tmp_is_limited, log_is_capped, giving_way, refusals);
    };
    ($ground:path: $($case:ident),*) => {
        $(#[tokio::test]
        async fn $case() {
            driver_conformance::$case(&$ground().await).await;
        })*
    };
}

/// Where a driver is tested.
pub struct Ground {
    /// Under test.
    pub driver: Arc<dyn Driver>,
    /// The same driver as a later process would make it.
    pub later: Arc<dyn Driver>,
    /// Who runs in the boxes.
    pub user: BoxUser,
    /// Image, for drivers that use one.
    pub image: Option<String>,
    /// A scratch directory.
    pub dir: tempfile::TempDir,
}

impl Ground {
    /// A box that runs a shell script in its own writable `/workspace`.
    pub fn spec(&self, script: &str) -> BoxSpec {
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("conformance-{}-{n}", std::process::id());
        let logs = self.dir.path().join(&name);
        fs::create_dir_all(&logs).unwrap();
        let mut spec = BoxSpec {
            name: name.clone(),
            install: format!("install-{name}"),
            agent: AgentId::parse("agent").unwrap(),
            session: SessionId::parse(format!("session-{n}")).unwrap(),
            mounts: Vec::new(),
            env: BTreeMap::from([
                ("HOME".into(), "/workspace".into()),
                ("PATH".into(), "/usr/bin:/bin".into()),
            ]),
            command: ["/bin/sh", "-c", script].map(String::from).to_vec(),
            cwd: "/workspace".into(),
            user: self.user,
            limits: Limits::default(),
            image: self.image.clone(),
            log: logs.join("log"),
        };
        mount(&mut spec, "workspace", "/workspace", Access::ReadWrite);
        spec
    }

    async fn start(&self, spec: &BoxSpec) {
        self.driver.start(spec).await.unwrap();
    }

    /// Starts it and waits for its end.
    async fn run(&self, spec: &BoxSpec) -> Exit {
        self.start(spec).await;
        in_time(self.driver.wait(&spec.name)).await.unwrap()
    }

    /// Runs a script to its end and returns what it left in `out`, as lines `key value`.
    pub async fn ask(&self, spec: &BoxSpec) -> BTreeMap<String, String> {
        let exit = self.run(spec).await;
        let text = fs::read_to_string(workspace(spec).join("out")).unwrap_or_default();
        assert_eq!(exit.code, Some(0), "{text} {exit:?}");
        text.lines()
            .map(|line| line.split_once(' ').unwrap_or((line, "")))
            .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
            .collect()
    }
}

/// Mounts a new directory that everybody may write; the box's access is what counts.
pub fn mount(spec: &mut BoxSpec, dir: &str, target: &str, access: Access) -> PathBuf {
    let source = fs::canonicalize(spec.log.parent().unwrap()).unwrap().join(dir);
    fs::create_dir_all(&source).unwrap();
    fs::set_permissions(&source, fs::Permissions::from_mode(0o777)).unwrap();
    spec.mounts.push(Mount { source: source.clone(), target: target.into(), access });
    source
}

/// The folder that a box of [`Ground::spec`] writes.
pub fn workspace(spec: &BoxSpec) -> PathBuf {
    spec.mounts[0].source.clone()
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.unwrap()
}

/// Waits until a box has left a file.
pub async fn appears(file: &Path) {
    let look = async {
        while !file.exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    in_time(look).await;
}

async fn ready(spec: &BoxSpec) {
    appears(&workspace(spec).join("ready")).await;
}

/// Runs until a signal that it counts among its own.
const FAITHFUL: &str = "trap 'echo usr1 >>got' USR1; trap 'echo term >>got; exit 42' TERM
    touch ready; while :; do sleep 0.05; done";

/// A box starts, is listed by install and session, ends, and is not listed.
pub async fn lifecycle(ground: &Ground) {
    let spec = ground.spec(FAITHFUL);
    ground.start(&spec).await;
    ready(&spec).await;
    let list = ground.driver.list(&spec.install).await.unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].name, spec.name);
    assert_eq!(list[0].session.as_ref(), Some(&spec.session));
    assert_eq!(ground.driver.list("another-install").await.unwrap(), []);
    let doubled = ground.driver.start(&spec).await;
    assert!(matches!(doubled, Err(DriverError::Start(_))), "{doubled:?}");
    ground.driver.signal(&spec.name, Signal::Kill).await.unwrap();
    in_time(ground.driver.wait(&spec.name)).await.unwrap();
    assert_eq!(ground.driver.list(&spec.install).await.unwrap(), []);
    let gone = ground.driver.signal(&spec.name, Signal::Kill).await;
    assert!(matches!(gone, Err(DriverError::Gone(_))), "{gone:?}");
    let gone = ground.driver.wait(&spec.name).await;
    assert!(matches!(gone, Err(DriverError::Gone(_))), "{gone:?}");
    // The name is free again.
    let again = BoxSpec { command: vec!["/bin/true".into()], ..spec };
    assert_eq!(ground.run(&again).await.code, Some(0));
}

/// The exit code, also of a box that ends at once, with the last lines of its log.
pub async fn ends_and_codes(ground: &Ground) {
    let exit = ground.run(&ground.spec("echo to-out; echo to-err >&2; exit 7")).await;
    assert_eq!((exit.code, exit.out_of_memory), (Some(7), false));
    assert!(exit.tail.contains("to-out") && exit.tail.contains("to-err"), "{exit:?}");
    let spec = ground.spec("echo kept");
    assert_eq!(ground.run(&spec).await.code, Some(0));
    assert!(fs::read_to_string(&spec.log).unwrap().contains("kept"));
    let exit = ground.run(&ground.spec("sh -c 'kill -9 $$'")).await;
    assert_eq!(exit.code, Some(137));
}

/// Signals reach PID 1.
pub async fn signals(ground: &Ground) {
    let spec = ground.spec(FAITHFUL);
    ground.start(&spec).await;
    ready(&spec).await;
    ground.driver.signal(&spec.name, Signal::Interrupt).await.unwrap();
    let got = workspace(&spec).join("got");
    appears(&got).await;
    ground.driver.signal(&spec.name, Signal::Terminate).await.unwrap();
    let exit = in_time(ground.driver.wait(&spec.name)).await.unwrap();
    assert_eq!(exit.code, Some(42));
    assert_eq!(fs::read_to_string(got).unwrap(), "usr1\nterm\n");
}

/// A box that listens ends by itself, one that does not is killed with everything in it.
pub async fn stopping(ground: &Ground) {
    let spec = ground.spec(FAITHFUL);
    ground.start(&spec).await;
    ready(&spec).await;
    in_time(ground.driver.stop(&spec.name, Duration::from_secs(20))).await.unwrap();
    assert_eq!(fs::read_to_string(workspace(&spec).join("got")).unwrap(), "term\n");
    let deaf =
        ground.spec("trap '' TERM; (trap '' TERM; while :; do sleep 1; done) & touch ready; wait");
    ground.start(&deaf).await;
    ready(&deaf).await;
    in_time(ground.driver.stop(&deaf.name, Duration::from_millis(50))).await.unwrap();
    assert_eq!(ground.driver.list(&deaf.install).await.unwrap(), []);
    ground.driver.stop(&deaf.name, Duration::ZERO).await.unwrap();
}

/// A later process finds a box, waits for it and learns how it ended.
pub async fn adoption(ground: &Ground) {
    let spec = ground.spec(FAITHFUL);
    ground.start(&spec).await;
    ready(&spec).await;
    let list = ground.later.list(&spec.install).await.unwrap();
    assert_eq!(list.len(), 1);
    ground.later.signal(&spec.name, Signal::Terminate).await.unwrap();
    let exit = in_time(ground.later.wait(&spec.name)).await.unwrap();
    assert_eq!(exit.code, Some(42));
}

/// The host's watcher and a `stop` wait at the same time; both return.
pub async fn two_waiters(ground: &Ground) {
    let spec = ground.spec(FAITHFUL);
    ground.start(&spec).await;
    ready(&spec).await;
    let (driver, name) = (ground.driver.clone(), spec.name.clone());
    let watcher = tokio::spawn(async move { driver.wait(&name).await });
    in_time(ground.driver.stop(&spec.name, Duration::from_secs(20))).await.unwrap();
    match in_time(watcher).await.unwrap() {
        Ok(exit) => assert_eq!(exit.code, Some(42)),
        Err(e) => assert!(matches!(e, DriverError::Gone(_)), "{e}"),
    }
}

/// PID 1, user, directory, descriptors and environment are those of the plan and nothing more.
pub async fn identity(ground: &Ground) {
    let mut spec = ground.spec(
        "{ echo pid $$; echo uid $(id -u); echo gid $(id -g); echo groups $(id -G); echo cwd $(pwd)
        tr '\\0' '\\n' </proc/1/environ >env; } >out",
    );
    spec.cwd = "/workspace/deep".into();
    spec.command[2] =
        spec.command[2].replace(">out", ">/workspace/out").replace(">env", ">/workspace/env");
    fs::create_dir(workspace(&spec).join("deep")).unwrap();
    let odd = "two\nlines = \"quoted\" $HOME ü";
    spec.env.insert("ODD".into(), odd.into());
    let out = ground.ask(&spec).await;
    assert_eq!(out["pid"], "1");
    assert_eq!(out["uid"], ground.user.uid.to_string());
    assert_eq!(out["gid"], ground.user.gid.to_string());
    assert_eq!(out["cwd"], "/workspace/deep");
    let env = fs::read_to_string(workspace(&spec).join("env")).unwrap();
    assert!(env.contains(&format!("ODD={odd}\n")), "{env}");
    let ours = env.replace(odd, "");
    let known = ["HOME=", "PATH=", "ODD=", "PWD=", "HOSTNAME="];
    let foreign = |line: &&str| !known.iter().any(|key| line.starts_with(key));
    assert_eq!(ours.lines().find(foreign), None);
}

/// No descriptor of the host, or of what started the host, is open in the box.
pub async fn descriptors(ground: &Ground) {
    // As a shell would leave one open for the host that it starts.
    let leak = fs::File::open("/etc/passwd").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let mut spec = ground.spec("");
    let list = "opendir D, '/proc/self/fd'; open O, '>out';
        for (readdir D) { $l = readlink \"/proc/self/fd/$_\"; print O \"$_ $l\\n\" if /^\\d/ }";
    spec.command = ["/usr/bin/perl", "-e", list].map(String::from).to_vec();
    let out = ground.ask(&spec).await;
    drop(leak);
    for (fd, leads) in out.iter().filter(|(fd, _)| !["0", "1", "2"].contains(&fd.as_str())) {
        let own = ["/dev/null", "/workspace/out"].contains(&leads.as_str())
            || (leads.starts_with("/proc/") && leads.ends_with("/fd"));
        assert!(own, "{fd} leads to {leads}");
    }
}

/// No capabilities, no new privileges, a filter, no way up.
pub async fn rights(ground: &Ground) {
    let out = ground
        .ask(&ground.spec(
            "{ tr -d ':' </proc/self/status | tr '\\t' ' ' | grep -E '^(Cap|NoNew|Seccomp )'
            for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/sys/vm/drop_caches \
                /proc/sys/net/ipv4/ip_forward; do
                echo $f $( (echo 1 >$f) 2>/dev/null && echo written || echo refused); done
            echo cgroup $(find / -xdev -name release_agent 2>/dev/null)
            echo sockets $(find / -name docker.sock 2>/dev/null); } >out",
        ))
        .await;
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(out[set], "0000000000000000", "{set}");
    }
    assert_eq!((out["NoNewPrivs"].as_str(), out["Seccomp"].as_str()), ("1", "2"));
    for (file, result) in out.iter().filter(|(key, _)| key.starts_with('/')) {
        assert_eq!(result, "refused", "{file}");
    }
    assert_eq!((out["cgroup"].as_str(), out["sockets"].as_str()), ("", ""));
}

/// Raw calls, by number: what must be refused, with the errors that may say so.
#[cfg(target_arch = "x86_64")]
const CALLS: &[(&str, &str)] = &[
    ("mount", "165, 't', '/tmp', 'tmpfs', 0, 0"),
    ("umount2", "166, '/tmp', 0"),
    ("pivot_root", "155, '/', '/'"),
    ("fsopen", "430, 'tmpfs', 0"),
    ("open_tree", "428, -100, '/', 1"),
    ("unshare-user", "272, 0x10000000"),
    ("unshare-net", "272, 0x40000000"),
    ("clone-user", "56, 0x10000011, 0, 0, 0, 0"),
    ("clone3", "435, 0, 0"),
    ("setns", "308, 0, 0"),
    ("chroot", "161, '/tmp'"),
    ("mknod", "133, '/tmp/disk', 060660, 0x800"),
    ("bpf", "321, 0, 0, 0"),
    ("perf_event_open", "298, 0, 0, 0, 0, 0"),
    ("userfaultfd", "323, 0"),
    ("io_uring_setup", "425, 1, 0"),
    ("keyctl", "250, 0, 0, 0, 0, 0"),
    ("add_key", "248, 'user', 'x', 'y', 1, -3"),
    ("ptrace-pid-1", "101, 16, 1, 0, 0"),
    ("process_vm_readv", "310, 1, 0, 0, 0, 0, 0"),
    ("open_by_handle_at", "304, 0, 0, 0"),
    ("kexec_load", "246, 0, 0, 0, 0"),
    ("init_module", "175, 0, 0, ''"),
    ("reboot", "169, 0xfee1dead, 672274793, 0x89abcdef, 0"),
    ("swapon", "167, '/tmp/x', 0"),
    ("settimeofday", "164, 0, 0"),
    ("sethostname", "170, 'x', 1"),
    ("packet-socket", "41, 17, 3, 0"),
    ("raw-socket", "41, 2, 3, 1"),
    ("vsock", "41, 40, 1, 0"),
    ("alg-socket", "41, 38, 5, 0"),
    ("audit-netlink", "41, 16, 3, 9"),
    ("type-into-terminal", "16, 0, 0x5412, 'x'"),
    ("setuid-0", "105, 0"),
];

/// The kernel's doors are shut, and those that programs need are open.
pub async fn calls(ground: &Ground) {
    let one = |(name, call): &(&str, &str)| format!("go('{name}', {call});\n");
    let tries: String = CALLS.iter().map(one).collect();
    let go = "sub go { my ($name, $call, @a) = @_; my $r = syscall($call, @a);
        print \"$name \", $r == -1 ? $!+0 : 'done', \"\\n\" }\n";
    let needed = "use Socket;
        print 'unix ', (socket(my $a, AF_UNIX, SOCK_STREAM, 0) ? 'done' : $!), \"\\n\";
        print 'inet ', (socket(my $b, AF_INET, SOCK_STREAM, 0) ? 'done' : $!), \"\\n\";
        print 'route ', (socket(my $c, 16, SOCK_RAW, 0) ? 'done' : $!), \"\\n\";
        print 'fork ', (defined(my $p = fork) ? 'done' : $!), \"\\n\"; exit unless $p; wait;\n";
    let spec = ground.spec(
        "perl attack >out; perl needed >>out
        perl -e 'exit(syscall(0x40000000 + 39) > 0 ? 9 : 0)'; echo x32 $? >>out
        cp /usr/bin/id /tmp/id; chmod 4755 /tmp/id; echo setuid $(/tmp/id -u) >>out",
    );
    fs::write(workspace(&spec).join("attack"), format!("$| = 1;\n{go}{tries}")).unwrap();
    fs::write(workspace(&spec).join("needed"), format!("$| = 1;\n{needed}")).unwrap();
    let out = ground.ask(&spec).await;
    for (name, _) in CALLS {
        let said = out.get(*name).map_or("nothing", String::as_str);
        // 22: the user 0 does not even exist in a user namespace.
        let refused = ["1", "38"].contains(&said) || (*name, said) == ("setuid-0", "22");
        assert!(refused, "{name}: {said}");
    }
    // Anything but "no such call" would leave the C library without threads.
    assert_eq!(out["clone3"], "38");
    for name in ["unix", "inet", "route", "fork"] {
        assert_eq!(out[name], "done", "{name}");
    }
    assert_ne!(out["x32"], "9", "a call by its x32 number was made");
    assert_eq!(out["setuid"], ground.user.uid.to_string());
}

/// A read-only root; `/tmp` of its own; nothing of the host's private files.
pub async fn files(ground: &Ground) {
    let mut spec = ground.spec(
        "for d in / /usr /usr/bin /etc /lib /dev /home /opt /run/vault /secret; do
            echo $d $( (: >$d/x) 2>/dev/null && echo written || echo refused); done >out
        : >/tmp/x && echo tmp written >>out
        : >/dev/shm/x && echo shm written >>out
        echo host/etc/shadow $(cat /etc/shadow 2>/dev/null | wc -l) >>out
        for f in /root /home /etc/ssl/private /var/lib/docker /sys/kernel/debug; do
            echo host$f $(ls $f 2>/dev/null | wc -l); done >>out
        echo devices $(find /dev -type b 2>/dev/null | wc -l) >>out
        cat /etc/passwd >/dev/null && echo passwd read >>out
        [ -s /etc/ssl/certs/ca-certificates.crt ] && echo certs read >>out
        rm -rf /secret/* 2>/dev/null; mv /secret /s 2>/dev/null; echo secret $(cat /secret/s) >>out",
    );
    let secret = mount(&mut spec, "secret", "/secret", Access::ReadOnly);
    mount(&mut spec, "vault", "/run/vault", Access::ReadOnly);
    fs::write(secret.join("s"), "still here").unwrap();
    let out = ground.ask(&spec).await;
    for (dir, result) in out.iter().filter(|(key, _)| key.starts_with('/')) {
        assert_eq!(result, "refused", "{dir}");
    }
    for own in ["tmp", "shm"] {
        assert_eq!(out[own], "written", "{own}");
    }
    for (place, count) in out.iter().filter(|(key, _)| key.starts_with("host/")) {
        let ours = place == "host/home" || place == "host/root";
        assert!(count == "0" || (ours && count == "1"), "{place} shows {count} files");
    }
    assert_eq!(out["devices"], "0");
    assert_eq!((out["passwd"].as_str(), out["certs"].as_str()), ("read", "read"));
    assert_eq!(out["secret"], "still here");
}

/// A later mount may lie in an earlier one, either way round, and a single file is one too.
pub async fn nested_mounts(ground: &Ground) {
    let mut spec = ground.spec(
        "for d in /workspace /workspace/fixed /group /group/open; do
            echo $d $( (echo x >$d/w) 2>/dev/null && echo written || echo refused); done >out
        echo file $(cat /workspace/config) $( (echo x >/workspace/config) 2>/dev/null && echo written) >>out
        rm -f /workspace/config 2>/dev/null || echo unlink refused >>out",
    );
    fs::create_dir(workspace(&spec).join("fixed")).unwrap();
    fs::write(workspace(&spec).join("config"), "").unwrap();
    mount(&mut spec, "fixed", "/workspace/fixed", Access::ReadOnly);
    let group = mount(&mut spec, "group", "/group", Access::ReadOnly);
    fs::create_dir(group.join("open")).unwrap();
    let open = mount(&mut spec, "open", "/group/open", Access::ReadWrite);
    let config = group.with_file_name("config");
    fs::write(&config, "mine").unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o666)).unwrap();
    let target = "/workspace/config".into();
    spec.mounts.push(Mount { source: config.clone(), target, access: Access::ReadOnly });
    let out = ground.ask(&spec).await;
    assert_eq!(out["/workspace"], "written");
    assert_eq!(out["/workspace/fixed"], "refused");
    assert_eq!(out["/group"], "refused");
    assert_eq!(out["/group/open"], "written");
    assert_eq!((out["file"].as_str(), out["unlink"].as_str()), ("mine", "refused"));
    assert!(open.join("w").exists());
    assert_eq!(fs::read_to_string(config).unwrap(), "mine");
}

/// Nothing but its own loopback: no host, no neighbour, no Internet, no metadata, no names.
pub async fn network(ground: &Ground) {
    let host = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = host.local_addr().unwrap().port();
    let addresses = host_addresses();
    let spec = ground.spec(
        "echo devices $(tail -n +3 /proc/net/dev | cut -d: -f1) >out
        echo routes $(tail -n +2 /proc/net/route | wc -l) >>out
        perl try >>out",
    );
    let script = format!(
        "use Socket; $| = 1;
        sub try {{ my ($ip, $port) = @_; socket(my $s, AF_INET, SOCK_STREAM, 0); alarm 5;
            print \"$ip:$port \", (connect($s, sockaddr_in($port, inet_aton($ip))) ? 'open' : $!+0), \"\\n\" }}
        try($_, {port}) for qw({addresses} 127.0.0.1 172.17.0.1);
        try('1.1.1.1', 443); try('8.8.8.8', 53); try('169.254.169.254', 80); try('10.0.0.1', 80);
        socket(my $u, AF_INET, SOCK_DGRAM, 0);
        print 'dns ', (send($u, 'x', 0, sockaddr_in(53, inet_aton('8.8.8.8'))) ? 'sent' : $!+0), \"\\n\";
        print 'name ', (gethostbyname('example.com') ? 'found' : 'none'), \"\\n\";
        print 'localhost ', join('.', unpack('C4', gethostbyname('localhost') // '')), \"\\n\";
        socket(my $l, AF_INET, SOCK_STREAM, 0); bind($l, sockaddr_in(0, INADDR_LOOPBACK)); listen($l, 1);
        socket(my $c, AF_INET, SOCK_STREAM, 0);
        print 'loopback ', (connect($c, getsockname($l)) ? 'open' : $!+0), \"\\n\";"
    );
    fs::write(workspace(&spec).join("try"), script).unwrap();
    let out = ground.ask(&spec).await;
    assert_eq!((out["devices"].as_str(), out["routes"].as_str()), ("lo", "0"));
    for (place, result) in out.iter().filter(|(key, _)| key.contains(':')) {
        // Refused by its own loopback, or no network to go to.
        assert!(["111", "101"].contains(&result.as_str()), "{place}: {result}");
    }
    assert_eq!((out["dns"].as_str(), out["name"].as_str()), ("101", "none"));
    assert_eq!((out["loopback"].as_str(), out["localhost"].as_str()), ("open", "127.0.0.1"));
    drop(host);
}

fn host_addresses() -> String {
    // Every local address that the kernel lists for this network namespace.
    let table = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let mut addresses = std::collections::BTreeSet::new();
    let mut last = "";
    for line in table.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address;
        } else if line == "/32 host LOCAL" && !last.starts_with("127.") {
            addresses.insert(last);
        }
    }
    addresses.into_iter().collect::<Vec<_>>().join(" ")
}

/// The socket to the vault works through a read-only mount.
pub async fn vault_socket(ground: &Ground) {
    let mut spec = ground.spec(
        "perl -MIO::Socket::UNIX -e '$s = IO::Socket::UNIX->new(\"/run/vault/proxy.sock\") or die $!;
            print $s \"from the box\\n\"; print <$s>' >out; rm -f /run/vault/proxy.sock; exit 0",
    );
    let dir = mount(&mut spec, "vault", "/run/vault", Access::ReadOnly);
    let socket = dir.join("proxy.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let answer = tokio::spawn(async move {
        use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        stream.write_all(b"answer yes\n").await.unwrap();
        line
    });
    let out = ground.ask(&spec).await;
    assert_eq!(in_time(answer).await.unwrap(), "from the box\n");
    assert_eq!(out["answer"], "yes");
    assert!(socket.exists(), "the box removed its socket");
}

/// What the host holds in its environment and memory is not in the box.
pub async fn secrets(ground: &Ground) {
    let marker = std::env::var("CARGO_PKG_NAME").unwrap();
    let out = ground
        .ask(&ground.spec(&format!(
            "{{ echo env $(cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -c CARGO_PKG_NAME)
            echo argv $(cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep -c 'bwrap\\|{marker}-test\\|dockerd')
            echo processes $(ls -d /proc/[0-9]* | wc -l); }} >out"
        )))
        .await;
    assert_eq!(out["env"], "0");
    assert!(out["processes"].parse::<u32>().unwrap() < 12, "{out:?}");
}

/// Two boxes at once share nothing.
pub async fn neighbours(ground: &Ground) {
    let first = ground.spec(
        "echo private >/tmp/mark; perl -MSocket -e 'socket($s, AF_UNIX, SOCK_STREAM, 0);
            bind($s, pack(\"Sa*\", 1, \"\\0mark\")); listen($s, 5); open(F, \">ready\"); close F; sleep 100'",
    );
    ground.start(&first).await;
    ready(&first).await;
    let second = ground.spec(
        "{ echo tmp $(ls /tmp | wc -l); echo perls $(grep -l perl /proc/[0-9]*/comm | wc -l)
        perl -MSocket -e 'socket($s, AF_UNIX, SOCK_STREAM, 0);
            print \"abstract \", (connect($s, pack(\"Sa*\", 1, \"\\0mark\")) ? \"open\" : \"closed\"), \"\\n\"'
        } >out",
    );
    let out = ground.ask(&second).await;
    assert_eq!(out["tmp"], "0");
    assert_eq!(out["perls"], "0");
    assert_eq!(out["abstract"], "closed");
    ground.driver.stop(&first.name, Duration::ZERO).await.unwrap();
}

/// A fork bomb stays in its box.
pub async fn processes_are_limited(ground: &Ground) {
    let mut spec = ground.spec(
        "perl -e 'while ($n < 400) { $p = fork; last unless defined $p; if (!$p) { sleep 100; exit } $n++ }
            print \"forks $n\\n\"' >out",
    );
    spec.limits.pids = 40;
    let out = ground.ask(&spec).await;
    let forks: u32 = out["forks"].parse().unwrap();
    assert!((5..40).contains(&forks), "{forks} forks");
    let mut bomb = ground.spec("f() { f | f & }; : >ready; f; while :; do :; done");
    bomb.limits.pids = 40;
    ground.start(&bomb).await;
    ready(&bomb).await;
    in_time(ground.driver.stop(&bomb.name, Duration::ZERO)).await.unwrap();
}

/// A memory bomb is killed, and the end says so. Where the machine cannot limit, the probe must say so.
pub async fn memory_is_limited(ground: &Ground) {
    let probe = ground.driver.probe().await.unwrap();
    if probe.missing.iter().any(|lack| lack.contains("memory")) {
        return;
    }
    let mut spec = ground.spec("exec perl -e '$x .= \"x\" x (1 << 20) while 1'");
    spec.limits.memory_bytes = 64 << 20;
    let exit = ground.run(&spec).await;
    assert_eq!((exit.code, exit.out_of_memory), (Some(137), true), "{exit:?}");
}

/// `/tmp` ends where the plan says.
pub async fn tmp_is_limited(ground: &Ground) {
    let mut spec =
        ground.spec("head -c 20000000 /dev/zero >/tmp/big; echo size $(stat -c %s /tmp/big) >out");
    spec.limits.tmp_bytes = 8 << 20;
    let size: u64 = ground.ask(&spec).await["size"].parse().unwrap();
    assert!(size <= 8 << 20, "{size}");
}

/// A flood neither fills the disk nor stalls the box; the newest lines stay.
pub async fn log_is_capped(ground: &Ground) {
    let spec = ground.spec("yes 'a line of the flood' | head -c 50000000; echo the very end");
    let exit = ground.run(&spec).await;
    assert_eq!(exit.code, Some(0));
    assert!(exit.tail.ends_with("the very end\n") && exit.tail.len() <= 2000, "{exit:?}");
    let files = fs::read_dir(spec.log.parent().unwrap()).unwrap();
    let files = files.map(|entry| entry.unwrap().metadata().unwrap()).filter(fs::Metadata::is_file);
    let size: u64 = files.map(|meta| meta.len()).sum();
    assert!((1000..=LOG_BYTES_MAX).contains(&size), "{size}");
}

/// A box's use of the CPU is known, and it gives way. Where that cannot be, the probe must say so.
pub async fn giving_way(ground: &Ground) {
    let probe = ground.driver.probe().await.unwrap();
    if probe.missing.iter().any(|lack| lack.contains("give way")) {
        return;
    }
    let spec = ground.spec("touch ready; while :; do :; done");
    ground.start(&spec).await;
    ready(&spec).await;
    let cpu = ground.later.cpu(&spec.name).await.unwrap();
    let before = cpu.used().unwrap();
    let more = async {
        while cpu.used().unwrap() <= before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time(more).await;
    assert!(!cpu.gives_way());
    cpu.give_way(true).unwrap();
    assert!(ground.driver.cpu(&spec.name).await.unwrap().gives_way());
    cpu.give_way(false).unwrap();
    assert!(!cpu.gives_way());
    in_time(ground.driver.stop(&spec.name, Duration::ZERO)).await.unwrap();
    assert_eq!(cpu.used(), None);
}

/// What cannot be started is refused with its reason, and leaves nothing.
pub async fn refusals(ground: &Ground) {
    let good = ground.spec("touch ran");
    let refuse = async |why: &str, spec: BoxSpec| {
        match ground.driver.start(&spec).await {
            Err(DriverError::Start(said)) => assert!(said.contains(why), "{why}: {said}"),
            other => assert!(other.is_err(), "{why}: {other:?}"),
        }
        assert_eq!(ground.driver.list(&spec.install).await.unwrap(), []);
    };
    for name in ["", "../up", "a b", "-rm", "a/b", "a\nb"] {
        refuse("name", BoxSpec { name: name.into(), ..good.clone() }).await;
    }
    refuse("root", BoxSpec { user: BoxUser { uid: 0, gid: 0 }, ..good.clone() }).await;
    refuse("command", BoxSpec { command: vec![], ..good.clone() }).await;
    refuse("nothing-here", BoxSpec { command: vec!["/nothing-here".into()], ..good.clone() }).await;
    let mut missing = good.clone();
    mount(&mut missing, "missing", "/missing", Access::ReadOnly);
    fs::remove_dir(&missing.mounts[1].source).unwrap();
    refuse("does not exist", missing).await;
    let mut linked = good.clone();
    let source = mount(&mut linked, "linked", "/linked", Access::ReadWrite);
    fs::remove_dir(&source).unwrap();
    std::os::unix::fs::symlink("/etc", &source).unwrap();
    refuse("symbolic link", linked).await;
    for target in ["/", "/proc", "/proc/sys", "/dev", "/a/../b", "/workspace"] {
        let mut bad = good.clone();
        mount(&mut bad, "bad", target, Access::ReadWrite);
        refuse("mount", bad).await;
    }
    let mut logs = good.clone();
    logs.log = workspace(&logs).join("log");
    refuse("log", logs).await;
    // A link that an earlier turn left where the next mount shall go.
    let mut planted = good.clone();
    std::os::unix::fs::symlink("/etc", workspace(&planted).join("link")).unwrap();
    mount(&mut planted, "over", "/workspace/link/deep", Access::ReadWrite);
    assert!(ground.driver.start(&planted).await.is_err(), "a mount went through a planted link");
    assert!(!workspace(&good).join("ran").exists());
}
