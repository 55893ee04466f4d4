//! The command line of `bwrap` for a plan.
//!
//! The root is a tmpfs that is read-only in the end: the host's system directories read-only, a few
//! harmless files of `/etc`, own `/tmp`, `/run`, `/proc` and `/dev`, then the mounts of the plan, by
//! file descriptor, so that no path is looked up twice. Environment and paths travel in a memory file:
//! a command line can be read by everybody on the host.

use command_fds::FdMapping;
use nanoclaw_driver::profile::{MASKED, READ_ONLY, RUN_BYTES, SHM_BYTES};
use nanoclaw_driver::{Access, BoxSpec, DriverError};
use rustix::fd::OwnedFd;
use rustix::fs::MemfdFlags;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Result, Seek as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// What the box has that is not in the plan.
pub(crate) const OWN: &[&str] = &[
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/proc", "/dev",
    "/tmp", "/run",
];
const ETC: &[&str] = &[
    "ssl/certs",
    "ssl/openssl.cnf",
    "pki/tls/certs",
    "pki/ca-trust",
    "ca-certificates",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "alternatives",
    "localtime",
    "mime.types",
    "protocols",
    "services",
    "fonts",
    // Debian's Java does not start without its settings.
    "java-11-openjdk",
    "java-17-openjdk",
    "java-21-openjdk",
    "java-25-openjdk",
];
const FIRST_FD: i32 = 3;

/// Arguments under construction, with the descriptors that they name.
#[derive(Default)]
pub(crate) struct Arguments {
    text: Vec<u8>,
    pub(crate) fds: Vec<FdMapping>,
}

impl Arguments {
    /// Adds arguments.
    pub(crate) fn push(&mut self, arguments: &[impl AsRef<std::ffi::OsStr>]) {
        for argument in arguments {
            self.text.extend_from_slice(argument.as_ref().as_bytes());
            self.text.push(0);
        }
    }

    /// Hands a descriptor to `bwrap`; returns its number there.
    pub(crate) fn fd(&mut self, fd: OwnedFd) -> String {
        let number = FIRST_FD + i32::try_from(self.fds.len()).unwrap_or(i32::MAX - FIRST_FD);
        self.fds.push(FdMapping { parent_fd: fd, child_fd: number });
        number.to_string()
    }

    /// Hands over content as a descriptor.
    pub(crate) fn data(&mut self, content: &[u8]) -> Result<String> {
        let fd = rustix::fs::memfd_create("nanoclaw", MemfdFlags::CLOEXEC)?;
        let mut file = File::from(fd);
        file.write_all(content)?;
        file.rewind()?;
        Ok(self.fd(file.into()))
    }

    /// Puts `/dev/null` over every descriptor that this process was given by its own parent and would
    /// pass on: what Rust opens is closed at `exec`, what a shell left open is not.
    pub(crate) fn cover(&mut self) -> Result<()> {
        const O_CLOEXEC: u32 = 0o2_000_000;
        for entry in std::fs::read_dir("/proc/self/fd")? {
            let name = entry?.file_name();
            let Some(number) = name.to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}"));
            let info = info.unwrap_or_default();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
            let flags = flags.and_then(|f| u32::from_str_radix(f.trim(), 8).ok());
            let ours = self.fds.iter().any(|mapping| mapping.child_fd == number);
            if number > 2 && !ours && flags.is_some_and(|flags| flags & O_CLOEXEC == 0) {
                let parent_fd = File::open("/dev/null")?.into();
                self.fds.push(FdMapping { parent_fd, child_fd: number });
            }
        }
        Ok(())
    }

    /// Everything that was added, as one memory file for `--args`.
    pub(crate) fn seal(&mut self) -> Result<String> {
        let text = std::mem::take(&mut self.text);
        self.data(&text)
    }

    /// The whole file system of the box.
    pub(crate) fn root(&mut self, spec: &BoxSpec, pins: Vec<OwnedFd>) -> Result<()> {
        self.push(&["--ro-bind", "/usr", "/usr"]);
        for dir in OWN[1..7].iter().copied() {
            match std::fs::read_link(dir) {
                Ok(target) => self.push(&["--symlink".as_ref(), target.as_os_str(), dir.as_ref()]),
                Err(_) => self.push(&["--ro-bind-try", dir, dir]),
            }
        }
        let etc: Vec<String> = ETC.iter().map(|file| format!("/etc/{file}")).collect();
        self.parents(etc.iter().map(Path::new));
        for path in &etc {
            self.push(&["--ro-bind-try", path, path]);
        }
        let (user, home) = (spec.user, spec.env.get("HOME").map_or("/", String::as_str));
        for (file, content) in [
            ("passwd", format!("box:x:{}:{}::{home}:/bin/sh\n", user.uid, user.gid)),
            ("group", format!("box:x:{}:\n", user.gid)),
            ("hosts", "127.0.0.1 localhost\n::1 localhost\n".into()),
            ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".into()),
        ] {
            let fd = self.data(content.as_bytes())?;
            self.push(&["--perms", "0444", "--file", &fd, &format!("/etc/{file}")]);
        }
        self.push(&["--proc", "/proc", "--dev", "/dev"]);
        self.cover_kernel();
        let tmp = spec.limits.tmp_bytes;
        for (dir, size) in [("/dev/shm", SHM_BYTES), ("/tmp", tmp), ("/run", RUN_BYTES)] {
            self.push(&["--perms", "1777", "--size", &size.to_string(), "--tmpfs", dir]);
        }
        self.parents(spec.mounts.iter().map(|mount| mount.target.as_path()));
        for (mount, pin) in spec.mounts.iter().zip(pins) {
            let how = match mount.access {
                Access::ReadOnly => "--ro-bind-fd",
                Access::ReadWrite => "--bind-fd",
            };
            let fd = self.fd(pin);
            self.push(&[how.as_ref(), fd.as_ref(), mount.target.as_os_str()]);
        }
        // `bwrap` cannot forbid to execute in a tmpfs; what cannot be written holds nothing to execute.
        self.push(&["--remount-ro", "/run", "--remount-ro", "/dev", "--remount-ro", "/"]);
        Ok(())
    }

    /// Covers what the kernel tells of the machine, where this kernel has it. There is no `/sys`.
    fn cover_kernel(&mut self) {
        let there = |paths: &'static [&'static str]| {
            paths.iter().filter(|p| p.starts_with("/proc/") && Path::new(p).exists())
        };
        for path in there(READ_ONLY) {
            self.push(&["--ro-bind", path, path]);
        }
        for path in there(MASKED) {
            match Path::new(path).is_dir() {
                true => self.push(&["--tmpfs", path, "--remount-ro", path]),
                false => self.push(&["--ro-bind", "/dev/null", path]),
            }
        }
    }

    /// Makes the directories above these places; `bwrap` itself would close them to the box's user.
    fn parents<'a>(&mut self, places: impl Iterator<Item = &'a Path>) {
        let above: BTreeSet<_> = places.flat_map(|place| place.ancestors().skip(1)).collect();
        for dir in above.into_iter().filter(|dir| dir.parent().is_some()) {
            self.push(&["--perms".as_ref(), "0755".as_ref(), "--dir".as_ref(), dir.as_os_str()]);
        }
    }

    /// Namespaces, rights and environment. Root keeps a few capabilities in `bwrap` for the one step
    /// from root to the user of the box (see [`command`]).
    pub(crate) fn profile(&mut self, spec: &BoxSpec, root: bool) {
        self.push(&["--as-pid-1", "--new-session", "--hostname", "nanoclaw", "--clearenv"]);
        self.push(&["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]);
        self.push(&["--unshare-cgroup-try", "--cap-drop", "ALL"]);
        match root {
            true => {
                for right in ["SETUID", "SETGID", "SETPCAP", "DAC_READ_SEARCH"] {
                    self.push(&["--cap-add", &format!("CAP_{right}")]);
                }
            }
            false => self.push(&["--unshare-user"]),
        }
        for (key, value) in &spec.env {
            self.push(&["--setenv", key, value]);
        }
        self.push(&["--chdir".as_ref(), spec.cwd.as_os_str()]);
    }
}

/// What `bwrap` runs: the command, for root behind `setpriv`, which becomes the user for good and
/// turns into the command without a process between.
pub(crate) fn command(spec: &BoxSpec, root: bool) -> std::result::Result<Vec<String>, DriverError> {
    let mut command = Vec::new();
    if root {
        let setpriv = setpriv().ok_or_else(|| {
            DriverError::Unavailable("setpriv is missing; install util-linux".into())
        })?;
        let (uid, gid) = (spec.user.uid, spec.user.gid);
        let fixed = ["--clear-groups", "--bounding-set=-all", "--inh-caps=-all"];
        command.extend([setpriv.into(), format!("--reuid={uid}"), format!("--regid={gid}")]);
        command.extend(fixed.map(String::from));
        command.extend(["--ambient-caps=-all".into(), "--no-new-privs".into(), "--".into()]);
    }
    command.extend(spec.command.iter().cloned());
    Ok(command)
}

/// Where `setpriv` is; the box sees it at the same place.
pub(crate) fn setpriv() -> Option<&'static str> {
    ["/usr/bin/setpriv", "/bin/setpriv"].into_iter().find(|path| Path::new(path).exists())
}
