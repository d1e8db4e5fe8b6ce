//! What each thread keeps, and why: pure, from [`Facts`].

use super::{
    facts::{Facts, Task},
    keep::Keep,
    set::CapSet,
};
use crate::probe::support::Capability;

/// The threads of oomtrace's that go on when every hook is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thread {
    /// Empties the ring buffer.
    Main,
    /// Judges, and writes records.
    Work,
    /// Asks container runtimes.
    Ask,
    /// Watches the memory of cgroups.
    Memory,
    /// Keeps deaths on disk.
    Store,
    /// Serves metrics.
    Http,
}

impl Thread {
    pub const ALL: [Self; 6] = [
        Self::Main,
        Self::Work,
        Self::Ask,
        Self::Memory,
        Self::Store,
        Self::Http,
    ];

    /// What `/proc/PID/task/TID/comm` says.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Main => "oomtrace",
            Self::Work => "oomtrace-work",
            Self::Ask => "oomtrace-ask",
            Self::Memory => "oomtrace-memory",
            Self::Store => "oomtrace-store",
            Self::Http => "oomtrace-http",
        }
    }
}

/// A capability that a thread keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    pub thread: Thread,
    pub capability: Capability,
    pub why: &'static str,
}

/// What every thread keeps. All else goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub kept: Vec<Kept>,
    /// Whether the bounding set can go, too.
    pub bounding: bool,
}

/// Decides what each thread keeps of what is held.
#[must_use]
pub fn decide(facts: &Facts) -> Plan {
    let mut plan = Plan {
        kept: Vec::new(),
        bounding: facts.held.has(Capability::SetPcap),
    };
    let mut keep = |thread, capability, why| {
        let is_known = |kept: &Kept| (kept.thread, kept.capability) == (thread, capability);
        if facts.held.has(capability) && !plan.kept.iter().any(is_known) {
            plan.kept.push(Kept {
                thread,
                capability,
                why,
            });
        }
    };
    for_tracing(facts, &mut keep);
    for_looking_things_up(facts, &mut keep);
    for_the_store(facts, &mut keep);
    plan
}

/// Takes what a thread keeps, and why.
type Keeper<'a> = &'a mut dyn FnMut(Thread, Capability, &'static str);

/// What the ring buffer and what is made of it take. For `CAP_PERFMON` there is nothing left to
/// do: it lets programs be loaded and attached. `CAP_SYS_ADMIN` stays in one case only: where it
/// stands for `CAP_BPF`, which is not there.
fn for_tracing(facts: &Facts, keep: Keeper<'_>) {
    let (maps, why) = if facts.held.has(Capability::Bpf) {
        (
            Capability::Bpf,
            "maps of its programs, unless kernel.unprivileged_bpf_disabled is 0",
        )
    } else {
        (
            Capability::SysAdmin,
            "maps of its programs, in place of CAP_BPF",
        )
    };
    keep(Thread::Main, maps, why);
    if facts.has(Task::RereadRules) {
        let why = "rules that are read again";
        keep(Thread::Main, Capability::DacReadSearch, why);
    }
    if facts.has(Task::PassSignalsOn) {
        let why = "signals that are passed on to the command";
        keep(Thread::Main, Capability::Kill, why);
    }
    if facts.kallsyms_open {
        let why = "names of kernel functions in /proc/kallsyms";
        keep(Thread::Work, Capability::Syslog, why);
    } else {
        keep(Thread::Work, maps, "names of kernel functions by a program");
    }
    if facts.has(Task::ChangeScope) {
        keep(Thread::Work, maps, "cgroups in scope, in a map");
    }
}

fn for_looking_things_up(facts: &Facts, keep: Keeper<'_>) {
    if facts.sees_node {
        let why = "/proc/PID of others: where a victim hangs";
        keep(Thread::Work, Capability::SysPtrace, why);
    }
    if facts.has(Task::AskRuntimes) {
        let why = "/proc/PID of container runtimes, and by process 1 their files";
        keep(Thread::Ask, Capability::SysPtrace, why);
        let why = "files of container runtimes that belong to users";
        keep(Thread::Ask, Capability::DacReadSearch, why);
        // Where it is not known, all stays as it was.
        if facts.sockets_closed != Some(false) {
            let why = "sockets of container runtimes that belong to users";
            keep(Thread::Ask, Capability::DacOverride, why);
        }
    }
    if facts.has(Task::WatchMemory) {
        let why = "cgroups that belong to users";
        keep(Thread::Memory, Capability::DacReadSearch, why);
        if facts.sees_node {
            let why = "/proc/PID of others: who holds most memory";
            keep(Thread::Memory, Capability::SysPtrace, why);
        }
    }
}

fn for_the_store(facts: &Facts, keep: Keeper<'_>) {
    let Some(store) = facts.store else {
        return;
    };
    if store.closed != Some(false) {
        let why = "a store in a place that is somebody else's";
        keep(Thread::Store, Capability::DacOverride, why);
    }
    if store.of_another {
        let why = "files beside the store, for the one that it belongs to";
        keep(Thread::Store, Capability::Chown, why);
    }
}

impl Plan {
    /// The capabilities that a thread keeps.
    #[must_use]
    pub fn capabilities(&self, thread: Thread) -> CapSet {
        let of_it = self.kept.iter().filter(|kept| kept.thread == thread);
        of_it.map(|kept| kept.capability).collect()
    }

    /// For people: a line for each thread that keeps something, and one about what goes.
    #[must_use]
    pub fn in_words(&self) -> Vec<String> {
        let of_thread = |thread: Thread| {
            let of_it = self.kept.iter().filter(|kept| kept.thread == thread);
            let kept: Vec<String> = of_it
                .map(|kept| format!("{} ({})", kept.capability.name(), kept.why))
                .collect();
            let name = thread.name();
            (!kept.is_empty()).then(|| format!("the thread {name} keeps {}", kept.join(", ")))
        };
        let bounding = if self.bounding {
            "the bounding set is empty"
        } else {
            "the bounding set stays, for there is no CAP_SETPCAP"
        };
        let rest =
            format!("all other privileges are let go of, and no new ones can be had; {bounding}");
        Thread::ALL
            .into_iter()
            .filter_map(of_thread)
            .chain([rest])
            .collect()
    }

    /// What a thread is to do about it.
    #[must_use]
    pub fn of(&self, thread: Thread) -> Keep {
        Keep::only(self.capabilities(thread), self.bounding)
    }
}

#[cfg(test)]
mod tests {
    use Capability::{
        Bpf, Chown, DacOverride, DacReadSearch, Kill, Perfmon, SetPcap, SysAdmin, SysPtrace, Syslog,
    };

    use super::{super::facts::StoreFacts, *};

    /// Root's `oomtrace run` on a node as most are.
    fn node() -> Facts {
        Facts {
            held: CapSet::from_bits((1 << 41) - 1),
            tasks: vec![Task::AskRuntimes, Task::WatchMemory],
            sees_node: true,
            kallsyms_open: true,
            sockets_closed: Some(false),
            store: Some(StoreFacts {
                closed: Some(false),
                of_another: false,
            }),
        }
    }

    fn kept(facts: &Facts, thread: Thread) -> CapSet {
        decide(facts).capabilities(thread)
    }

    fn set<const N: usize>(all: [Capability; N]) -> CapSet {
        all.into_iter().collect()
    }

    #[test]
    fn each_thread_keeps_what_it_needs() {
        for (thread, wanted) in [
            (Thread::Main, set([Bpf])),
            (Thread::Work, set([Syslog, SysPtrace])),
            (Thread::Ask, set([SysPtrace, DacReadSearch])),
            (Thread::Memory, set([SysPtrace, DacReadSearch])),
            (Thread::Store, CapSet::EMPTY),
            (Thread::Http, CapSet::EMPTY),
        ] {
            assert_eq!(kept(&node(), thread), wanted, "{thread:?}");
        }
        assert!(decide(&node()).bounding);
    }

    #[test]
    fn what_nobody_is_to_do_needs_nothing() {
        let facts = Facts {
            tasks: Vec::new(),
            store: None,
            ..node()
        };
        for thread in [Thread::Ask, Thread::Memory, Thread::Store] {
            assert_eq!(kept(&facts, thread), CapSet::EMPTY, "{thread:?}");
        }
    }

    #[test]
    fn what_the_main_thread_is_still_to_do() {
        let with = |task| Facts {
            tasks: vec![task],
            ..node()
        };
        for (task, wanted) in [
            (Task::RereadRules, set([Bpf, DacReadSearch])),
            (Task::PassSignalsOn, set([Bpf, Kill])),
            (Task::ChangeScope, set([Bpf])),
        ] {
            assert_eq!(kept(&with(task), Thread::Main), wanted, "{task:?}");
        }
        assert_eq!(
            kept(&with(Task::ChangeScope), Thread::Work),
            set([Bpf, Syslog, SysPtrace])
        );
    }

    #[test]
    fn names_by_a_program_take_its_map() {
        let facts = Facts {
            kallsyms_open: false,
            ..node()
        };
        assert_eq!(kept(&facts, Thread::Work), set([Bpf, SysPtrace]));
    }

    #[test]
    fn in_a_pid_namespace_nobody_elses_proc_is_read() {
        let facts = Facts {
            sees_node: false,
            ..node()
        };
        assert_eq!(kept(&facts, Thread::Work), set([Syslog]));
        assert_eq!(kept(&facts, Thread::Memory), set([DacReadSearch]));
    }

    #[test]
    fn a_store_that_others_own_takes_what_writes_there() {
        let store = |closed, of_another| Facts {
            store: Some(StoreFacts { closed, of_another }),
            ..node()
        };
        for (closed, of_another, wanted) in [
            (Some(true), false, set([DacOverride])),
            (None, false, set([DacOverride])),
            (Some(true), true, set([DacOverride, Chown])),
            (Some(false), true, set([Chown])),
        ] {
            let facts = store(closed, of_another);
            assert_eq!(kept(&facts, Thread::Store), wanted, "{facts:?}");
            for thread in [Thread::Main, Thread::Work, Thread::Ask, Thread::Http] {
                assert!(!kept(&facts, thread).has(DacOverride), "{thread:?}");
            }
        }
    }

    #[test]
    fn sockets_of_users_take_what_connects_to_them() {
        for (closed, tasks, wanted) in [
            (Some(true), vec![Task::AskRuntimes], true),
            (None, vec![Task::AskRuntimes], true),
            (Some(true), vec![], false),
        ] {
            let facts = Facts {
                sockets_closed: closed,
                tasks,
                ..node()
            };
            assert_eq!(
                kept(&facts, Thread::Ask).has(DacOverride),
                wanted,
                "{facts:?}"
            );
        }
    }

    #[test]
    fn sys_admin_stays_only_where_it_stands_for_bpf() {
        let held = node().held.without(Bpf);
        let without_bpf = Facts { held, ..node() };
        assert_eq!(kept(&without_bpf, Thread::Main), set([SysAdmin]));
        let all_tasks = Facts {
            tasks: vec![
                Task::RereadRules,
                Task::PassSignalsOn,
                Task::ChangeScope,
                Task::AskRuntimes,
                Task::WatchMemory,
            ],
            sockets_closed: None,
            kallsyms_open: false,
            ..node()
        };
        for thread in Thread::ALL {
            assert!(!kept(&all_tasks, thread).has(SysAdmin), "{thread:?}");
            assert!(!kept(&all_tasks, thread).has(Perfmon), "{thread:?}");
            assert!(!kept(&without_bpf, thread).has(Perfmon), "{thread:?}");
        }
    }

    #[test]
    fn it_is_said_what_is_kept_and_why() {
        let lines = decide(&node()).in_words();
        assert_eq!(lines.len(), 5, "{lines:?}");
        assert!(
            lines[0].starts_with("the thread oomtrace keeps CAP_BPF (maps"),
            "{lines:?}"
        );
        assert!(lines[4].contains("bounding set is empty"), "{lines:?}");
        let held = node().held.without(SetPcap);
        let lines = decide(&Facts { held, ..node() }).in_words();
        assert!(lines[4].contains("no CAP_SETPCAP"), "{lines:?}");
    }

    #[test]
    fn nothing_is_kept_that_is_not_held() {
        let held = set([Bpf, Perfmon, Syslog]);
        let facts = Facts { held, ..node() };
        let plan = decide(&facts);
        for thread in Thread::ALL {
            let kept = plan.capabilities(thread);
            assert_eq!(kept.and(held), kept, "{thread:?}");
        }
        assert!(!plan.bounding, "CAP_SETPCAP is not there");
        assert!(
            decide(&Facts {
                held: held.with(SetPcap),
                ..facts
            })
            .bounding
        );
    }
}
