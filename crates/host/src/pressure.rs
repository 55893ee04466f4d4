//! Who waits when the CPU is short: a box that takes much of it gives way to everything else.
//!
//! The kernel says when somebody waits for a CPU, the box's own control group how much it used. That is
//! no punishment: a box that gives way keeps every CPU that nobody else wants, so a long build in one
//! chat costs the other chats nothing. Only a box whose processes are killed for memory again and again is
//! held back, CPU or not: each of them costs the machine the clearing and freeing of all that it may have. While no box runs nothing is looked at; while nobody waits, nothing but
//! the kernel's own notice is waited for.

#[cfg(test)]
mod tests;

use crate::{Host, blocking};
use nanoclaw_driver::cgroup::Cpu;
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

const SOURCE: &str = "/proc/pressure/cpu";
/// What to be told of: this much waiting within this window, in microseconds. Who may not have a short
/// window gets one of two seconds. The kernel drops the last byte.
const NOTICES: [&[u8]; 2] = [b"some 25000 500000\0", b"some 100000 2000000\0"];
/// Between two looks where the kernel gives no notice.
const REST: Duration = Duration::from_millis(500);
/// Between two looks while the CPU is short, and for some time after.
const LOOK: Duration = Duration::from_millis(100);
const ALERT: Duration = Duration::from_secs(10);
/// The CPU is short when somebody waited for this part of the time.
const SHORT: u32 = 10;
/// A box is greedy when it used this part of one CPU, and calm when it used only this part …
const GREEDY: u32 = 4;
const CALM: u32 = 20;
/// … for this long.
const CALM_FOR: Duration = Duration::from_secs(4);
/// So much CPU time of its own a box must use without another kill for memory.
const PROOF: Duration = Duration::from_secs(5);
/// How long a measurement may reach back to say anything about now.
const FRESH: Duration = Duration::from_secs(1);

/// What is known of one box.
struct Known {
    cpu: Cpu,
    used: Duration,
    at: Instant,
    manner: Manner,
    /// Processes that were killed for memory, and what the box had used when the last one was.
    kills: u64,
    killed_at: Option<Duration>,
    held: bool,
}

/// How a box behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Normal,
    GivesWay { calm: Duration },
}

/// Boxes by name; none where a box cannot be measured.
type Boxes = BTreeMap<String, Option<Known>>;

/// Runs until no box does.
pub(crate) async fn run(host: &Arc<Host>) {
    let notice = blocking(|| Ok(notice())).await.ok().flatten();
    let mut boxes = Boxes::new();
    while host.slots.held() > 0 {
        match &notice {
            Some(notice) => {
                // An error here would repeat itself: rather look every time.
                let Ok(mut told) = notice.ready(Interest::PRIORITY).await else { return };
                told.clear_ready();
            }
            None => tokio::time::sleep(REST).await,
        }
        attend(host, &mut boxes).await;
    }
}

/// Looks again and again until the CPU has not been short for a while.
async fn attend(host: &Arc<Host>, boxes: &mut Boxes) {
    // To ask a driver costs more than to look: once each time that the CPU gets short.
    boxes.retain(|_, known| known.is_some());
    let (mut waited, mut at) = (waited().await, Instant::now());
    let mut short_at = at;
    while host.slots.held() > 0 {
        let busy = boxes.values().flatten().any(|known| known.manner != Manner::Normal);
        if at.duration_since(short_at) > ALERT && !busy {
            return;
        }
        tokio::time::sleep(LOOK).await;
        let (before, then) = (waited, at);
        (waited, at) = (self::waited().await, Instant::now());
        // Where the kernel does not say, the CPU may be short.
        let part = waited.zip(before).map(|(now, before)| now.saturating_sub(before));
        let short = part.is_none_or(|part| part * SHORT >= at.duration_since(then));
        if short {
            short_at = at;
        }
        if (short || busy) && refresh(host, boxes).await.is_ok() {
            let taken = std::mem::take(boxes);
            *boxes = blocking(move || Ok(measure(taken))).await.unwrap_or_default();
        }
    }
}

/// Forgets boxes that are gone and meets those that are new.
async fn refresh(host: &Arc<Host>, boxes: &mut Boxes) -> Result<(), crate::HostError> {
    let h = host.clone();
    let running = blocking(move || Ok(h.central.boxes()?)).await?;
    boxes.retain(|name, _| running.iter().any(|b| b.name == *name));
    for b in running {
        if let Entry::Vacant(new) = boxes.entry(b.name) {
            let cpu = host.driver.cpu(new.key()).await;
            new.insert(cpu.and_then(Known::new));
        }
    }
    Ok(())
}

impl Known {
    fn new(cpu: Cpu) -> Option<Self> {
        let used = cpu.used()?;
        // It may have given way to an earlier host.
        let manner = match cpu.gives_way() {
            true => Manner::GivesWay { calm: Duration::ZERO },
            false => Manner::Normal,
        };
        let (kills, held) = (cpu.memory_kills(), cpu.held_back());
        let killed_at = held.then_some(used);
        Some(Self { cpu, used, at: Instant::now(), manner, kills, killed_at, held })
    }

    /// Holds the box back from the second kill on, until it has proved itself or is calm. Time is its own
    /// CPU time, which passes slowly for one that is held back.
    fn atone(&mut self) -> std::io::Result<()> {
        let gives_way = self.manner != Manner::Normal;
        let kills = if gives_way { self.cpu.memory_kills() } else { self.kills };
        let killed = kills > std::mem::replace(&mut self.kills, kills);
        let recent = self.killed_at.is_some_and(|at| self.used.saturating_sub(at) < PROOF);
        if killed {
            self.killed_at = Some(self.used);
        }
        let hold = gives_way && recent && (killed || self.held);
        if hold != self.held {
            self.cpu.hold_back(hold)?;
            self.held = hold;
            tracing::info!(hold, "a box that is killed for memory again and again");
        }
        Ok(())
    }
}

/// Reads what each box used since the last look, and sets who gives way. Blocks.
fn measure(mut boxes: Boxes) -> Boxes {
    for (name, known) in &mut boxes {
        let Some(its) = known else { continue };
        let Some(used) = its.cpu.used() else { continue };
        let now = Instant::now();
        let over = now.duration_since(its.at);
        let next = judge(its.manner, used.saturating_sub(its.used), over);
        (its.used, its.at) = (used, now);
        let gives_way = next != Manner::Normal;
        if gives_way != (its.manner != Manner::Normal) {
            match its.cpu.give_way(gives_way) {
                Ok(()) => tracing::info!(name, gives_way, "a box and the CPU that is short"),
                // Said by the driver's probe as well.
                Err(e) => tracing::debug!(name, gives_way, "{e}"),
            }
        }
        its.manner = next;
        if let Err(e) = its.atone() {
            tracing::debug!(name, "it cannot be held back: {e}");
        }
    }
    boxes
}

/// How a box behaves that used this much over this time.
fn judge(manner: Manner, used: Duration, over: Duration) -> Manner {
    let greedy = used * GREEDY >= over && over <= FRESH;
    match manner {
        _ if greedy => Manner::GivesWay { calm: Duration::ZERO },
        Manner::Normal => Manner::Normal,
        Manner::GivesWay { .. } if used * CALM > over => Manner::GivesWay { calm: Duration::ZERO },
        Manner::GivesWay { calm } if calm + over < CALM_FOR => {
            Manner::GivesWay { calm: calm + over }
        }
        Manner::GivesWay { .. } => Manner::Normal,
    }
}

/// How long, in all, somebody waited for a CPU. One small read, but files are for other threads.
async fn waited() -> Option<Duration> {
    let text = blocking(|| Ok(std::fs::read_to_string(SOURCE).ok())).await.ok().flatten()?;
    total(&text)
}

fn total(text: &str) -> Option<Duration> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let total = some.split(' ').find_map(|field| field.strip_prefix("total="))?;
    total.parse().ok().map(Duration::from_micros)
}

/// Asks the kernel to say when somebody waits for a CPU.
fn notice() -> Option<AsyncFd<OwnedFd>> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let ask = |notice: &&[u8]| {
        // One notice per descriptor.
        let fd = rustix::fs::open(SOURCE, flags, Mode::empty()).ok()?;
        rustix::io::write(&fd, notice).ok()?;
        Some(fd)
    };
    let fd = NOTICES.iter().find_map(ask)?;
    #[expect(
        deprecated,
        reason = "its successor is unsafe for the sake of types that are not OwnedFd"
    )]
    AsyncFd::with_interest(fd, Interest::PRIORITY).ok()
}
