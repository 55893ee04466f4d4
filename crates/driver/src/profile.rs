//! What every box has, and what it cannot do, as data.
//!
//! Drivers are made from these numbers and paths, `nanoclaw doctor` measures [`LINES`] in a real box, and
//! docs/isolation.md shows them. The calls that are refused are in [`crate::seccomp`].

/// Size of `/dev/shm`.
pub const SHM_BYTES: u64 = 256 << 20;
/// Size of `/run`, from which nothing can be executed.
pub const RUN_BYTES: u64 = 16 << 20;
/// If memory runs out, a box goes before anything of the host.
pub const OOM_SCORE: i16 = 500;

/// What the kernel tells of the machine and of keys: empty in a box.
pub const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
/// What sets the machine: nobody in a box writes there, whoever it is.
pub const READ_ONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// One promise about a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Names it in reports and scripts.
    pub id: &'static str,
    /// What holds, for people.
    pub what: &'static str,
    /// Without it no box is started; what is not required depends on the machine.
    pub required: bool,
}

/// Every promise, in the order in which people read them.
pub const LINES: &[Line] = &[
    must("user", "a user that is not root"),
    must("capabilities", "no capabilities, in no set"),
    must("privileges", "no new privileges: no program gives more, set-uid or not"),
    must("seccomp", "a filter on every process, which refuses the calls that open the kernel"),
    must("namespaces", "processes, names, IPC and control groups of its own"),
    must("root", "a read-only root"),
    must("mounts", "exactly the planned mounts, compared with what is there after the start"),
    must("run", "nothing can be executed in /run"),
    must("kernel", "no setting of the kernel can be written, no device be made"),
    must("masked", "no keys, memory or timers of the machine in /proc"),
    must("network", "a loopback interface and nothing else"),
    must("host", "no port of the host can be reached"),
    must("socket", "the vault's socket can be reached, and its folder not written"),
    must("files", "a limit on open files"),
    must("core", "no core dumps"),
    must("tmp", "a limit on /tmp and /dev/shm"),
    wish("memory", "a limit on memory, without swap"),
    wish("pids", "a limit on processes"),
    wish("cpu", "a limit on CPU time"),
    wish("yields", "a greedy box gives way to others"),
    wish("label", "AppArmor or SELinux confines it as well"),
];

const fn must(id: &'static str, what: &'static str) -> Line {
    Line { id, what, required: true }
}

const fn wish(id: &'static str, what: &'static str) -> Line {
    Line { id, what, required: false }
}
