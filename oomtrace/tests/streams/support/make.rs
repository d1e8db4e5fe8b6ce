//! Made-up processes and events.

use std::sync::Arc;

use oomtrace::event::{
    Ancestor, Argv, CpuLimits, Event, Exit, Group, Handler, InfoKind, MemcgLevel, OomKill, Process,
    Sigkill, SignalResult, StopRequest, Waiting,
    entry::{Attached, Lost, ProcessState, Session, Tick},
};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const S: u64 = 1_000 * MS;
pub(crate) const MINUTE: u64 = 60 * S;
/// When every hook was attached.
pub(crate) const ATTACHED_NS: u64 = 10_000 * S;
/// When most SIGKILLs are sent: long after, so that an old stop request was seen.
pub(crate) const KILLED_NS: u64 = 20_000 * S;
/// What a dead process's status looks like to the kernel.
pub(crate) const BY_SIGKILL: i32 = 9;
pub(crate) const EXIT_137: i32 = 137 << 8;

pub(crate) const SIGABRT: u32 = 6;
pub(crate) const SIGUSR1: u32 = 10;
pub(crate) const SIGTERM: u32 = 15;

/// kill(2).
pub(crate) const KILL: &[&str] = &[
    "__send_signal_locked",
    "do_send_sig_info",
    "kill_pid_info",
    "__x64_sys_kill",
    "do_syscall_64",
];
/// The OOM killer for a cgroup.
pub(crate) const CGROUP_OOM: &[&str] = &[
    "__send_signal_locked",
    "do_send_sig_info",
    "__oom_kill_process",
    "oom_kill_process",
    "out_of_memory",
    "mem_cgroup_out_of_memory",
    "try_charge_memcg",
];
/// The OOM killer for the node.
pub(crate) const GLOBAL_OOM: &[&str] = &[
    "__send_signal_locked",
    "do_send_sig_info",
    "__oom_kill_process",
    "oom_kill_process",
    "out_of_memory",
    "__alloc_pages_may_oom",
];

pub(crate) fn stack(frames: &[&str]) -> Arc<[String]> {
    frames.iter().map(|frame| (*frame).to_owned()).collect()
}

/// A process that started at boot; its parent is process 1.
pub(crate) fn process(tgid: u32, comm: &str) -> Process {
    Process {
        group: Group {
            tgid,
            start_ns: u64::from(tgid) * MS,
        },
        tid: tgid,
        ppid: Some(1),
        ns_tgid: Some(tgid),
        comm: Some(comm.to_owned()),
        argv: Some(Argv {
            args: vec![comm.to_owned()],
            truncated: false,
        }),
        pgid: Some(tgid),
        sid: Some(tgid),
        has_memory: true,
        dumping_core: Some(false),
        live_threads: Some(1),
        ancestry: vec![ancestor(&init())],
        ..Process::default()
    }
}

fn init() -> Process {
    Process {
        group: Group {
            tgid: 1,
            start_ns: MS,
        },
        comm: Some("init".to_owned()),
        ..Process::default()
    }
}

fn ancestor(process: &Process) -> Ancestor {
    Ancestor {
        group: process.group,
        ns_tgid: process.ns_tgid,
        ns_level: process.ns_level,
        comm: process.comm.clone().unwrap_or_default(),
        cgroup: None,
        exe: process
            .exe
            .as_ref()
            .and_then(|exe| exe.rsplit('/').next())
            .map(str::to_owned),
    }
}

/// A process of the same kind, as a child of `parent`.
pub(crate) fn child(parent: &Process, tgid: u32, comm: &str) -> Process {
    let mut child = process(tgid, comm);
    child.ppid = Some(parent.group.tgid);
    child.ancestry = std::iter::once(ancestor(parent))
        .chain(parent.ancestry.iter().cloned())
        .collect();
    child
}

/// kill(2), delivered to the whole group.
pub(crate) fn kill(sender: &Process, victim: &Process) -> Sigkill {
    Sigkill {
        boottime_ns: KILLED_NS,
        result: SignalResult::Delivered,
        code: 0,
        group: true,
        info: InfoKind::Pointer,
        sender: sender.clone(),
        victim: victim.clone(),
        stack: Some(stack(KILL)),
        stops: Vec::new(),
        cpu_limits: CpuLimits::default(),
    }
}

/// A SIGKILL of the kernel's own.
pub(crate) fn kernels(frames: &[&str], current: &Process, victim: &Process) -> Sigkill {
    Sigkill {
        info: InfoKind::Priv,
        stack: Some(stack(frames)),
        ..kill(current, victim)
    }
}

/// One signal, `before_ns` before the SIGKILL, delivered.
pub(crate) fn stop(signal: u32, sender: &Process, before_ns: u64) -> StopRequest {
    StopRequest {
        signal,
        count: 1,
        first_ns: KILLED_NS - before_ns,
        last_ns: KILLED_NS - before_ns,
        first_result: SignalResult::Delivered,
        last_result: SignalResult::Delivered,
        victim: Waiting::default(),
        handler: Some(Handler::Function),
        stopped_since: false,
        sender: sender.clone(),
    }
}

/// The end of a group, a millisecond after the SIGKILL.
pub(crate) fn exit(victim: &Process, status: i32) -> Event {
    exit_at(victim, status, KILLED_NS + MS)
}

pub(crate) fn exit_at(victim: &Process, status: i32, boottime_ns: u64) -> Event {
    Event::Exit(Box::new(Exit {
        boottime_ns,
        is_past: false,
        victim: Process {
            exit_code: Some(status),
            live_threads: Some(0),
            has_memory: false,
            ..victim.clone()
        },
        ptracer: None,
        queued_kill: None,
    }))
}

pub(crate) fn sigkill(kill: &Sigkill) -> Event {
    Event::Sigkill(Box::new(kill.clone()))
}

pub(crate) fn oom_kill(hook: &OomKill) -> Event {
    Event::OomKill(Box::new(hook.clone()))
}

/// A cgroup that nothing is known of but its name.
pub(crate) fn level(address: u64, path: &str) -> MemcgLevel {
    MemcgLevel {
        address,
        path: Some(path.to_owned()),
        usage_pages: None,
        max_pages: None,
        peak_pages: None,
        swap_pages: None,
        swap_max_pages: None,
        oom_events: None,
        oom_lock: None,
        v1: Some(false),
    }
}

pub(crate) fn lost(kind: &str, count: u64, from_ns: u64, to_ns: u64) -> Event {
    Event::Lost(Lost {
        kind: kind.to_owned(),
        cpu: Some(0),
        certain: true,
        why: "the ring buffer was full".to_owned(),
        count,
        from_ns,
        to_ns,
    })
}

pub(crate) fn tick(boottime_ns: u64) -> Event {
    Event::Tick(moment(boottime_ns))
}

pub(crate) fn stopped(boottime_ns: u64) -> Event {
    Event::Stopped(moment(boottime_ns))
}

fn moment(boottime_ns: u64) -> Tick {
    Tick {
        boottime_ns,
        realtime_ns: 1_795_000_000_000_000_000_i64.wrapping_add(boottime_ns as i64),
    }
}

pub(crate) fn state(of: &Process, state: Option<&str>, wait_channel: Option<&str>) -> Event {
    Event::ProcessState(ProcessState {
        tgid: of.group.tgid,
        start_ns: of.group.start_ns,
        boottime_ns: KILLED_NS + 5 * S,
        state: state.map(str::to_owned),
        wait_channel: wait_channel.map(str::to_owned),
        is_hidden: false,
    })
}

/// What stands first in every stream.
pub(crate) fn opening() -> Vec<Event> {
    vec![
        Event::Session(Session {
            version: "0.1.0".to_owned(),
            node: "node".to_owned(),
            boot_id: "01234567-89ab-cdef-0123-456789abcdef".to_owned(),
            kernel: "6.12.0".to_owned(),
            page_bytes: 4096,
        }),
        Event::Attached(Attached {
            boottime_ns: ATTACHED_NS,
            realtime_ns: 1_795_000_000_000_000_000 + ATTACHED_NS as i64,
            oom_hook: "fentry".to_owned(),
            absent: Vec::new(),
            symbols: true,
            ring_bytes: 1 << 20,
            attach_us: 90_000,
            resumed_since_ns: None,
        }),
    ]
}

/// A whole stream around these events.
pub(crate) fn stream(events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let mut stream = opening();
    stream.extend(events);
    stream.push(stopped(KILLED_NS + 100 * S));
    stream
}
