//! What the kernel did by itself comes before any actor; told by its call path, and
//! without symbols by what the tracepoint shows.

use oomtrace::{
    event::{CpuLimits, Event, InfoKind, MarkVictim, Process, Sigkill, entry::Entry},
    provenance::record::{ActorKind, Cause, Mechanism},
};

use crate::support::{
    assert_code,
    make::{
        BY_SIGKILL, CGROUP_OOM, KILL, KILLED_NS, S, SIGTERM, exit, kernels, kill, process, sigkill,
        stack, stop, stream,
    },
    recordings::{self, ALL},
    run,
};

const PF_EXITING: u32 = 4;
const PF_KTHREAD: u32 = 0x20_0000;

/// Call paths between the signal code and the mechanism, as 5.10 to 7.2 have them.
const PATHS: &[(&[&str], Cause, Mechanism)] = &[
    (
        &[
            "__send_signal_locked",
            "do_send_sig_info",
            "zap_pid_ns_processes",
            "do_exit",
        ],
        Cause::NamespaceExit,
        Mechanism::PidNamespace,
    ),
    (
        &[
            "__send_signal_locked",
            "do_send_sig_info",
            "do_exit",
            "do_group_exit",
        ],
        Cause::ParentDeath,
        Mechanism::Pdeathsig,
    ),
    (
        &[
            "__send_signal_locked",
            "send_sig_info",
            "exit_ptrace",
            "do_exit",
        ],
        Cause::TracerExit,
        Mechanism::PtraceExitkill,
    ),
    (
        &["send_sigqueue", "posix_timer_event"],
        Cause::OwnTimer,
        Mechanism::PosixTimer,
    ),
    (
        &["posixtimer_send_sigqueue", "posix_timer_fn"],
        Cause::OwnTimer,
        Mechanism::PosixTimer,
    ),
    (
        &["__send_signal_locked", "send_sigio_to_task", "send_sigio"],
        Cause::OwnTimer,
        Mechanism::Sigio,
    ),
    (
        &["__send_signal_locked", "do_notify_parent", "do_exit"],
        Cause::OwnTimer,
        Mechanism::ExitSignal,
    ),
    (
        &[
            "__send_signal_locked",
            "do_send_sig_info",
            "do_bpf_send_signal",
        ],
        Cause::Bpf,
        Mechanism::BpfSendSignal,
    ),
    (
        &["__send_signal_locked", "do_send_sig_info", "send_sig_all"],
        Cause::Kernel,
        Mechanism::Sysrq,
    ),
    (
        &[
            "__send_signal_locked",
            "do_send_sig_info",
            "some_new_function",
        ],
        Cause::Kernel,
        Mechanism::Kernel,
    ),
    (CGROUP_OOM, Cause::CgroupOom, Mechanism::OomKiller),
];

fn victim() -> Process {
    process(4000, "victim")
}

fn death(kill: &Sigkill) -> oomtrace::provenance::record::Death {
    run(stream([sigkill(kill), exit(&kill.victim, BY_SIGKILL)])).the_death()
}

#[test]
fn the_call_path_comes_before_any_actor() {
    // The task that was running could pass for a person's shell, and had asked before.
    let current = process(2000, "bash");
    for (path, cause, mechanism) in PATHS {
        let kill = Sigkill {
            stops: vec![stop(SIGTERM, &current, S)],
            ..kernels(path, &current, &victim())
        };
        let death = death(&kill);
        assert_eq!(
            (death.cause, death.mechanism),
            (*cause, *mechanism),
            "{path:?}"
        );
        assert_eq!(death.actor.kind, ActorKind::Kernel, "{path:?}");
        assert!(
            death.stop.is_some(),
            "{path:?}: the request is told all the same"
        );
        assert_code(&death, "call_path");
    }
}

#[test]
fn a_process_that_asks_is_no_kernel() {
    for (path, mechanism) in [
        (KILL, Mechanism::Kill),
        (
            &[
                "__send_signal_locked",
                "do_send_sig_info",
                "do_send_specific",
                "do_tkill",
            ],
            Mechanism::Tgkill,
        ),
        (
            &[
                "__send_signal_locked",
                "do_send_sig_info",
                "kill_pid_info",
                "__x64_sys_pidfd_send_signal",
            ],
            Mechanism::PidfdSendSignal,
        ),
        (
            &[
                "__send_signal_locked",
                "send_sig",
                "__cgroup_kill",
                "cgroup_kill_write",
            ],
            Mechanism::CgroupKill,
        ),
    ] {
        let sender = process(2000, "bash");
        let death = death(&Sigkill {
            stack: Some(stack(path)),
            ..kill(&sender, &victim())
        });
        assert_eq!(
            (death.cause, death.mechanism),
            (Cause::ManualKill, mechanism)
        );
        assert!(death.sender.is_some());
    }
}

#[test]
fn a_bystander_is_no_sender() {
    // A timer's signal comes in interrupt context, where `current` is anybody.
    let path = &["send_sigqueue", "posix_timer_event"];
    let death_of = |current: &Process| death(&kernels(path, current, &victim()));
    assert_eq!(death_of(&process(2000, "bash")).sender, None);
    assert!(death_of(&victim()).sender.is_some());
}

#[test]
fn a_kernel_thread_is_the_kernel() {
    let worker = Process {
        flags: Some(PF_KTHREAD),
        ..process(50, "kworker/0:1")
    };
    let death = death(&kill(&worker, &victim()));
    assert_eq!(
        (death.cause, death.actor.kind),
        (Cause::Kernel, ActorKind::Kernel)
    );
}

#[test]
fn without_symbols_kind_group_and_sender_tell() {
    let running = process(2000, "parent");
    let exiting = Process {
        flags: Some(PF_EXITING),
        has_memory: false,
        argv: None,
        ..running.clone()
    };
    let cases = [
        (&exiting, InfoKind::Priv, true, 0, Mechanism::PidNamespace),
        (
            &exiting,
            InfoKind::Priv,
            false,
            0,
            Mechanism::PtraceExitkill,
        ),
        (&exiting, InfoKind::None, true, 0, Mechanism::Pdeathsig),
        (&exiting, InfoKind::Pointer, true, 1, Mechanism::ExitSignal),
        (&running, InfoKind::None, false, 0, Mechanism::CgroupKill),
        (&running, InfoKind::Priv, true, 0, Mechanism::Kernel),
        (&running, InfoKind::Pointer, true, 0, Mechanism::Kill),
        (&running, InfoKind::Pointer, false, -6, Mechanism::Tgkill),
        (
            &running,
            InfoKind::Pointer,
            true,
            -1,
            Mechanism::RtSigqueueinfo,
        ),
        (&running, InfoKind::Pointer, true, -2, Mechanism::PosixTimer),
        (&running, InfoKind::Pointer, true, 1, Mechanism::Sigio),
    ];
    for (sender, info, group, code, mechanism) in cases {
        let death = death(&Sigkill {
            stack: None,
            info,
            group,
            code,
            ..kill(sender, &victim())
        });
        assert_eq!(death.mechanism, mechanism, "{info:?} {group} {code}");
        assert_code(&death, "mechanism_inferred");
        assert_eq!(death.kernel_stack, None);
    }
}

#[test]
fn without_symbols_an_oom_kill_is_told_by_its_mark() {
    let trigger = process(2000, "trigger");
    let kill = Sigkill {
        stack: None,
        ..kernels(&[], &trigger, &victim())
    };
    let mark = |after_ns, sender_tid| {
        Event::MarkVictim(MarkVictim {
            boottime_ns: KILLED_NS + after_ns,
            victim_tid: 4000,
            sender_tid,
        })
    };
    let mechanism = |mark| {
        let events = [sigkill(&kill), mark, exit(&victim(), BY_SIGKILL)];
        run(stream(events)).the_death().mechanism
    };
    assert_eq!(mechanism(mark(5_000, 2000)), Mechanism::OomKiller);
    // In another context, or long after: it was of another SIGKILL.
    assert_eq!(mechanism(mark(5_000, 2001)), Mechanism::Kernel);
    assert_eq!(mechanism(mark(S, 2000)), Mechanism::Kernel);
}

/// The recordings again, as if /proc/kallsyms had been hidden: what killed is still known.
#[test]
fn hidden_symbols_change_no_cause_of_what_was_recorded() {
    for recording in &*ALL {
        let hidden: Vec<Entry> = recording
            .entries
            .iter()
            .filter(|entry| !matches!(entry, Entry::Symbols(_)))
            .cloned()
            .collect();
        let with = run(recording.events.iter().cloned());
        let without = run(recordings::decode(&hidden));
        let (with, without) = (with.deaths(), without.deaths());
        assert_eq!(with.len(), without.len(), "{}", recording.name);
        for (with, without) in with.iter().zip(without) {
            assert_eq!(without.kernel_stack, None);
            // Nothing but the call path tells a BPF program's signal from another of the
            // kernel's own, and a memory cgroup's OOM killer from the node's in one case.
            if with.cause == Cause::Bpf {
                assert_eq!(without.cause, Cause::Kernel);
                continue;
            }
            // The members of a group have given memory back by then: no level looks full.
            if with.mechanism == Mechanism::OomGroup {
                continue;
            }
            assert_eq!(
                (&with.id, with.cause),
                (&without.id, without.cause),
                "{}: {:?}: {:#?}",
                recording.name,
                with.victim.comm,
                without.evidence
            );
        }
    }
}

#[test]
fn the_two_limits_of_cpu_time_are_told_apart() {
    let victim = victim();
    let mechanism = |cpu_hard_s, rttime_hard_us, used_ns| {
        let path = ["__send_signal_locked", "posix_cpu_timers_work"];
        let by_limit = Sigkill {
            cpu_limits: CpuLimits {
                cpu_hard_s,
                rttime_hard_us,
                used_ns,
            },
            ..kernels(&path, &victim, &victim)
        };
        let death = death(&by_limit);
        assert_eq!(death.cause, Cause::CpuLimit);
        // Without symbols the limits themselves tell.
        let hidden = self::death(&Sigkill {
            stack: None,
            ..by_limit
        });
        if cpu_hard_s.is_some() || rttime_hard_us.is_some() {
            assert_eq!(hidden.mechanism, death.mechanism);
        }
        death.mechanism
    };
    assert_eq!(mechanism(Some(1), None, Some(S)), Mechanism::RlimitCpu);
    assert_eq!(
        mechanism(None, Some(200_000), None),
        Mechanism::RlimitRttime
    );
    // Both set: the one on all CPU time counts once it is used up.
    let both = |used_ns| mechanism(Some(10), Some(200_000), used_ns);
    assert_eq!(both(Some(S)), Mechanism::RlimitRttime);
    assert_eq!(both(Some(10 * S)), Mechanism::RlimitCpu);
    assert_eq!(mechanism(None, None, None), Mechanism::RlimitCpu);
}

#[test]
fn an_oom_killer_called_by_hand_is_no_shortage() {
    let path = [
        "__send_signal_locked",
        "do_send_sig_info",
        "__oom_kill_process",
        "oom_kill_process",
        "out_of_memory",
        "moom_callback",
        "process_one_work",
    ];
    let worker = Process {
        flags: Some(PF_KTHREAD),
        ..process(50, "kworker/0:1")
    };
    let death = death(&kernels(&path, &worker, &victim()));
    assert_eq!(death.cause, Cause::GlobalOom);
    assert_code(&death, "sysrq_f");
    assert!(death.summary.contains("SysRq-f"), "{}", death.summary);
    assert_eq!(death.advice[0].code, "sysrq_f");
}
