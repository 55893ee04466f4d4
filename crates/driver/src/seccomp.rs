//! The system calls that no box may make, as data; each driver writes them in its engine's own form.
//!
//! It lists what reaches kernel code that an agent has no use for, and what makes a namespace, a
//! mount or a debugger. Never an allow-list: a new program must not break for a call nobody thought of,
//! and with no capabilities, no network and no set-uid a deny-list closes what is left.

/// Highest system call number that was reviewed for this list; above it a call does not exist.
pub const REVIEWED_MAX: u32 = 462;

/// Answers "no such call", so that the C library falls back to `clone`, whose flags can be read.
pub const ABSENT: &str = "clone3";

/// One call that is refused with EPERM, when all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// Its name.
    pub call: &'static str,
    /// Conditions on arguments (by index from 0), at most one per argument.
    pub when: Vec<(u8, Is)>,
}

/// A condition on the low 32 bits of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Is {
    /// Equal.
    Equal(u32),
    /// Not equal.
    Other(u32),
    /// Greater.
    Above(u32),
    /// All these bits are set.
    Bits(u32),
}

const ALWAYS: &[&str] = &[
    // mounts and namespaces
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "unshare",
    "setns",
    // parts of the kernel with a history
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "keyctl",
    "add_key",
    "request_key",
    "fanotify_init",
    "lookup_dcookie",
    // reaching into other processes and around mounts
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "pidfd_getfd",
    "kcmp",
    "name_to_handle_at",
    "open_by_handle_at",
    "move_pages",
    "migrate_pages",
    // the machine itself
    "kexec_load",
    "kexec_file_load",
    "init_module",
    "finit_module",
    "delete_module",
    "reboot",
    "swapon",
    "swapoff",
    "acct",
    "syslog",
    "quotactl",
    "quotactl_fd",
    "sethostname",
    "setdomainname",
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "vhangup",
];

#[cfg(target_arch = "x86_64")]
const ALWAYS_HERE: &[&str] = &["iopl", "ioperm", "modify_ldt", "uselib", "sysfs", "_sysctl"];
#[cfg(not(target_arch = "x86_64"))]
const ALWAYS_HERE: &[&str] = &[];

/// `CLONE_NEW*` flags, one bit each.
const NAMESPACES: [u32; 7] =
    [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];
const AF_UNIX: u32 = 1;
const AF_NETLINK: u32 = 16;
/// Terminal controls that type into a terminal as if a person did.
const TYPING: [u32; 2] = [0x5412, 0x541c];

/// The whole list.
pub fn denied() -> Vec<Denied> {
    let always = ALWAYS.iter().chain(ALWAYS_HERE).map(|call| Denied { call, when: Vec::new() });
    let clone = NAMESPACES.map(|bit| when("clone", &[(0, Is::Bits(bit))]));
    // What stays: AF_UNIX (1), AF_INET (2), AF_INET6 (10), AF_NETLINK (16) for routes only.
    let families = [0].into_iter().chain(3..10).chain(11..16);
    let sockets = families.map(|family| when("socket", &[(0, Is::Equal(family))])).chain([
        when("socket", &[(0, Is::Above(AF_NETLINK))]),
        when("socket", &[(0, Is::Equal(AF_NETLINK)), (2, Is::Other(0))]),
        when("socketpair", &[(0, Is::Other(AF_UNIX))]),
    ]);
    let typing = TYPING.map(|control| when("ioctl", &[(1, Is::Equal(control))]));
    always.chain(clone).chain(sockets).chain(typing).collect()
}

fn when(call: &'static str, conditions: &[(u8, Is)]) -> Denied {
    Denied { call, when: conditions.to_vec() }
}
