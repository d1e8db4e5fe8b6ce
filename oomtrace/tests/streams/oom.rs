//! Whose limit it was: the OOM killer's own word first, then the kernel log, then what
//! the levels of memory cgroups show.

use oomtrace::{
    event::{Constraint, Event, MemcgLevel, OomKill, Process, Sigkill, entry::OomLine},
    provenance::record::{ActorKind, Cause, Death, Mechanism},
};

use crate::support::{
    assert_code, assert_no_code,
    make::{
        BY_SIGKILL, CGROUP_OOM, GLOBAL_OOM, KILLED_NS, MINUTE, exit, exit_at, kernels, level,
        oom_kill, process, sigkill, stack, stream,
    },
    recordings::ALL,
    run,
};

const PAGES: u64 = 12_800;

/// Four levels, each of which one source would name.
fn levels() -> Vec<MemcgLevel> {
    vec![
        exhausted(level(0xa, "/top/b/c/d")),
        MemcgLevel {
            oom_events: Some(1),
            ..level(0xb, "/top/b/c")
        },
        MemcgLevel {
            oom_lock: Some(true),
            ..level(0xc, "/top/b")
        },
        level(0xd, "/top"),
    ]
}

fn exhausted(level: MemcgLevel) -> MemcgLevel {
    MemcgLevel {
        usage_pages: Some(PAGES),
        max_pages: Some(PAGES),
        ..level
    }
}

fn member(tgid: u32, comm: &str, memcg: Vec<MemcgLevel>) -> Process {
    Process {
        memcg,
        ..process(tgid, comm)
    }
}

/// An OOM kill of a process by its neighbour, both in these cgroups.
fn oom_in(memcg: Vec<MemcgLevel>) -> Sigkill {
    let trigger = member(2000, "trigger", memcg.clone());
    kernels(CGROUP_OOM, &trigger, &member(4000, "victim", memcg))
}

fn hook(of: &Sigkill) -> OomKill {
    OomKill {
        boottime_ns: of.boottime_ns - 50_000,
        sender_tid: of.sender.tid,
        chosen_tgid: Some(of.victim.group.tgid),
        constraint: Some(Constraint::Memcg),
        points: Some(1_000),
        total_pages: Some(PAGES),
        gfp_mask: Some(0xcc0),
        order: Some(0),
        is_memcg: Some(true),
        limit: vec![exhausted(level(0xe, "/elsewhere"))],
    }
}

fn line(of: &Sigkill, constraint: &str, oom_memcg: Option<&str>) -> Event {
    Event::OomLine(OomLine {
        report: None,
        constraint: constraint.to_owned(),
        oom_memcg: oom_memcg.map(str::to_owned),
        task_memcg: None,
        tgid: of.victim.group.tgid,
    })
}

fn memcg_line(of: &Sigkill, oom_memcg: &str) -> Event {
    line(of, "CONSTRAINT_MEMCG", Some(oom_memcg))
}

/// The death after these events and the SIGKILL.
fn death(before: impl IntoIterator<Item = Event>, kill: &Sigkill) -> Death {
    let kill_and_end = [sigkill(kill), exit(&kill.victim, BY_SIGKILL)];
    run(stream(before.into_iter().chain(kill_and_end))).the_death()
}

#[track_caller]
fn assert_limit(death: &Death, cgroup: Option<&str>, code: &str) {
    assert_eq!(death.cause, Cause::CgroupOom);
    let oom = death.oom.as_ref().unwrap();
    assert_eq!(oom.constraint.as_deref(), Some("memcg"));
    assert_eq!(oom.limit_cgroup.as_deref(), cgroup);
    assert_code(death, code);
    let others = death
        .evidence
        .iter()
        .filter(|e| e.code.starts_with("limit_") && e.code != code);
    assert_eq!(others.count(), 0, "{:#?}", death.evidence);
}

#[test]
fn the_better_source_wins() {
    let kill = oom_in(levels());
    let both = [oom_kill(&hook(&kill)), memcg_line(&kill, "/top")];
    assert_limit(
        &death(both, &kill),
        Some("/elsewhere"),
        "limit_from_oom_control",
    );

    let logged = death([memcg_line(&kill, "/top")], &kill);
    assert_limit(&logged, Some("/top"), "limit_from_kernel_log");

    assert_limit(&death([], &kill), Some("/top/b/c"), "limit_from_oom_events");

    let mut still = levels();
    still[1].oom_events = Some(0);
    assert_limit(
        &death([], &oom_in(still.clone())),
        Some("/top/b"),
        "limit_from_oom_lock",
    );

    still[2].oom_lock = Some(false);
    assert_limit(
        &death([], &oom_in(still.clone())),
        Some("/top/b/c/d"),
        "limit_inferred",
    );

    // Nothing shows it: the call path still says that it was a cgroup's.
    still[0].usage_pages = Some(0);
    let unnamed = death([], &oom_in(still));
    assert_eq!(unnamed.cause, Cause::CgroupOom);
    assert_eq!(unnamed.oom.unwrap().limit_cgroup, None);
    assert_eq!(unnamed.advice[0].code, "check_memory_use");
}

#[test]
fn a_log_line_that_names_no_level_of_the_victims_is_no_help() {
    let kill = oom_in(levels());
    let death = death([memcg_line(&kill, "/somebody/elses")], &kill);
    assert_limit(&death, Some("/top/b/c"), "limit_from_oom_events");
}

#[test]
fn figures_are_those_of_the_limit() {
    let mut memcg = levels();
    memcg[1] = MemcgLevel {
        usage_pages: Some(PAGES - 1),
        max_pages: Some(PAGES),
        peak_pages: Some(PAGES),
        swap_pages: Some(PAGES + 9),
        v1: Some(true),
        ..memcg[1].clone()
    };
    let oom = death([], &oom_in(memcg)).oom.unwrap();
    assert_eq!(oom.limit_bytes, Some(PAGES * 4096));
    assert_eq!(oom.usage_bytes, Some((PAGES - 1) * 4096));
    assert_eq!(oom.peak_bytes, Some(PAGES * 4096));
    assert_eq!(
        oom.swap_bytes,
        Some(10 * 4096),
        "v1 counts memory plus swap"
    );
    assert_eq!(oom.levels.len(), 4);
    let trigger = oom.trigger.unwrap();
    assert_eq!((trigger.pid, &*trigger.comm), (2000, "trigger"));
    assert_eq!(oom.role, "chosen");
}

#[test]
fn only_levels_of_both_trigger_and_victim_count() {
    let mut kill = oom_in(levels());
    // The trigger stands above the victim's own two.
    kill.sender.memcg.drain(..2);
    assert_limit(&death([], &kill), Some("/top/b"), "limit_from_oom_lock");
}

#[test]
fn a_count_that_has_not_risen_says_nothing() {
    // A first OOM teaches the counts: the level above had its limit hit long ago.
    let mut memcg = levels();
    memcg[2].oom_lock = None;
    let first = oom_in(memcg.clone());
    memcg[3].oom_events = Some(1);
    let mut second = oom_in(memcg);
    second.victim.group.tgid = 4001;
    let events = [
        sigkill(&first),
        exit(&first.victim, BY_SIGKILL),
        sigkill(&second),
        exit(&second.victim, BY_SIGKILL),
    ];
    let ran = run(stream(events));
    let [first, second] = *ran.deaths() else {
        panic!("{ran:#?}")
    };
    assert_limit(first, Some("/top/b/c"), "limit_from_oom_events");
    assert_limit(second, Some("/top"), "limit_from_oom_events");
}

#[test]
fn two_counts_that_were_never_seen_before_say_nothing() {
    let mut memcg = levels();
    memcg[3].oom_events = Some(7);
    assert_limit(
        &death([], &oom_in(memcg)),
        Some("/top/b"),
        "limit_from_oom_lock",
    );
}

#[test]
fn who_lowers_a_limit_is_the_story() {
    let writer = process(2000, "tune.sh");
    let path: Vec<&str> = CGROUP_OOM[..6]
        .iter()
        .copied()
        .chain(["memory_max_write", "cgroup_file_write"])
        .collect();
    let victim = member(4000, "victim", levels());
    let death = death([], &kernels(&path, &writer, &victim));
    assert_limit(&death, Some("/top/b/c"), "limit_from_oom_events");
    assert_code(&death, "lowered_limit");
    assert!(death.oom.unwrap().limit_lowered);
    assert_eq!(death.actor.pid, Some(2000));
    assert_ne!(death.actor.kind, ActorKind::Kernel);
    assert_eq!(death.advice[0].code, "limit_lowered");
}

#[test]
fn the_node_ran_out_even_where_a_cgroup_is_full() {
    let kill = Sigkill {
        stack: Some(stack(GLOBAL_OOM)),
        ..oom_in(levels())
    };
    let plain = death([], &kill);
    assert_eq!(plain.cause, Cause::GlobalOom);
    let oom = plain.oom.as_ref().unwrap();
    assert_eq!((&oom.constraint, &oom.limit_cgroup), (&None, &None));
    assert_code(&plain, "constraint_unknown");
    // The advice knows no more than the evidence.
    let text = |death: &Death| death.advice[0].text.clone();
    assert!(text(&plain).contains("the cpuset and the memory policy"));

    let logged = death([line(&kill, "CONSTRAINT_NONE", None)], &kill);
    assert_eq!(logged.cause, Cause::GlobalOom);
    assert_eq!(
        logged.oom.as_ref().unwrap().constraint.as_deref(),
        Some("none")
    );
    assert_no_code(&logged, "constraint_unknown");
    assert!(text(&logged).starts_with("The node itself ran out"));
}

#[test]
fn a_cpuset_or_a_policy_is_not_the_node() {
    let kill = Sigkill {
        stack: Some(stack(GLOBAL_OOM)),
        ..oom_in(levels())
    };
    for (constraint, word) in [
        (Constraint::Cpuset, "cpuset"),
        (Constraint::MemoryPolicy, "memory_policy"),
    ] {
        let hook = OomKill {
            constraint: Some(constraint),
            is_memcg: Some(false),
            limit: Vec::new(),
            ..hook(&kill)
        };
        let death = death([oom_kill(&hook)], &kill);
        assert_eq!(death.cause, Cause::NumaOom);
        assert_eq!(death.oom.unwrap().constraint.as_deref(), Some(word));
    }
    let logged = death([line(&kill, "CONSTRAINT_CPUSET", None)], &kill);
    assert_eq!(logged.cause, Cause::NumaOom);
}

#[test]
fn without_a_call_path_hook_or_log_line_it_is_a_conclusion() {
    let mark = |kill: &Sigkill| {
        Event::MarkVictim(oomtrace::event::MarkVictim {
            boottime_ns: kill.boottime_ns + 1_000,
            victim_tid: kill.victim.tid,
            sender_tid: kill.sender.tid,
        })
    };
    let blind = |memcg| Sigkill {
        stack: None,
        ..oom_in(memcg)
    };
    let seen = |before: Vec<Event>, kill: &Sigkill| {
        let events = [sigkill(kill), mark(kill), exit(&kill.victim, BY_SIGKILL)];
        run(stream(before.into_iter().chain(events))).the_death()
    };
    let full = blind(levels());
    let concluded = seen(Vec::new(), &full);
    assert_eq!(concluded.cause, Cause::CgroupOom);
    assert_code(&concluded, "oom_kind_inferred");

    let free = blind(vec![level(0xa, "/top")]);
    let global = seen(Vec::new(), &free);
    assert_eq!(global.cause, Cause::GlobalOom);
    assert_code(&global, "oom_kind_inferred");

    // Either of them says it.
    let said = OomKill {
        is_memcg: Some(false),
        constraint: Some(Constraint::None),
        limit: Vec::new(),
        ..hook(&full)
    };
    let hooked = seen(vec![oom_kill(&said)], &full);
    assert_eq!(hooked.cause, Cause::GlobalOom);
    assert_no_code(&hooked, "oom_kind_inferred");
    let logged = seen(vec![memcg_line(&full, "/top")], &full);
    assert_limit(&logged, Some("/top"), "limit_from_kernel_log");
    assert_no_code(&logged, "oom_kind_inferred");
}

#[test]
fn each_victim_has_its_role() {
    let kill = oom_in(levels());
    let group = Sigkill {
        stack: Some(stack(&[
            "__send_signal_locked",
            "do_send_sig_info",
            "__oom_kill_process",
            "oom_kill_memcg_member",
            "mem_cgroup_scan_tasks",
            "oom_kill_process",
            "out_of_memory",
            "mem_cgroup_out_of_memory",
        ])),
        ..oom_in(levels())
    };
    let member = death([oom_kill(&hook(&kill))], &group);
    assert_eq!(member.mechanism, Mechanism::OomGroup);
    assert_eq!(member.oom.unwrap().role, "group");
    // Another process with the same memory dies with the chosen one.
    let other = OomKill {
        chosen_tgid: Some(3999),
        ..hook(&kill)
    };
    assert_eq!(
        death([oom_kill(&other)], &kill).oom.unwrap().role,
        "shared_mm"
    );
}

#[test]
fn the_hook_of_another_task_is_not_this_kills() {
    let kill = oom_in(levels());
    let other = OomKill {
        sender_tid: 2001,
        ..hook(&kill)
    };
    let death = death([oom_kill(&other)], &kill);
    assert_limit(&death, Some("/top/b/c"), "limit_from_oom_events");
}

#[test]
fn the_hook_of_an_earlier_oom_is_not_this_kills() {
    // The record of this OOM's own hook found no room in the ring buffer.
    let kill = oom_in(levels());
    let old = OomKill {
        boottime_ns: KILLED_NS - MINUTE,
        ..hook(&kill)
    };
    let death = death([oom_kill(&old)], &kill);
    assert_limit(&death, Some("/top/b/c"), "limit_from_oom_events");
}

#[test]
fn the_log_line_of_an_earlier_process_is_not_this_ones() {
    let first = oom_in(levels());
    let mut second = oom_in(levels());
    second.victim.group.start_ns = KILLED_NS + MINUTE;
    second.boottime_ns = KILLED_NS + 2 * MINUTE;
    let events = [
        memcg_line(&first, "/top"),
        sigkill(&first),
        exit(&first.victim, BY_SIGKILL),
        sigkill(&second),
        exit_at(&second.victim, BY_SIGKILL, KILLED_NS + 2 * MINUTE),
    ];
    let ran = run(stream(events));
    assert_code(ran.deaths()[0], "kernel_log");
    assert_no_code(ran.deaths()[1], "kernel_log");
}

/// The recordings again, with neither hook nor kernel log: the levels name the same limit.
#[test]
fn the_levels_alone_name_the_limit_of_each_recorded_oom() {
    for recording in &*ALL {
        let bare = recording
            .events
            .iter()
            .filter(|event| !matches!(event, Event::OomKill(_) | Event::OomLine(_)))
            .cloned();
        let with = run(recording.events.iter().cloned());
        let without = run(bare);
        let mut compared = 0;
        for (with, without) in with.deaths().iter().zip(without.deaths()) {
            // A cpuset or a memory policy stands in the hook's and the log's words alone.
            if with.cause == Cause::NumaOom {
                continue;
            }
            assert_eq!(with.cause, without.cause, "{}", recording.name);
            let (Some(with), Some(bare)) = (&with.oom, &without.oom) else {
                continue;
            };
            assert_eq!(
                (&with.limit_cgroup, with.limit_bytes),
                (&bare.limit_cgroup, bare.limit_bytes),
                "{}: {:?}: {:#?}",
                recording.name,
                without.victim.comm,
                without.evidence
            );
            compared += 1;
        }
        assert!(compared >= 3, "{}: {compared} OOM kills", recording.name);
    }
}

#[test]
fn a_group_goes_by_the_one_that_was_chosen() {
    // memory.oom.group: when its members die, memory is free again already.
    let chosen = oom_in(levels());
    let mut path: Vec<&str> = CGROUP_OOM[..3].to_vec();
    path.extend(["oom_kill_memcg_member", "mem_cgroup_scan_tasks"]);
    let empty = levels()
        .into_iter()
        .map(|level| MemcgLevel {
            usage_pages: Some(1),
            ..level
        })
        .collect();
    let member = member(4001, "member", empty);
    let of_member = Sigkill {
        sender: chosen.sender.clone(),
        ..kernels(&path, &chosen.sender, &member)
    };
    let ran = run(stream([
        sigkill(&chosen),
        sigkill(&of_member),
        exit(&chosen.victim, BY_SIGKILL),
        exit(&member, BY_SIGKILL),
    ]));
    let [of_chosen, of_member] = *ran.deaths() else {
        panic!("{ran:#?}")
    };
    assert_eq!(of_member.mechanism, Mechanism::OomGroup);
    assert_code(of_member, "oom_group");
    let limit = |death: &Death| death.oom.as_ref().unwrap().limit_cgroup.clone();
    assert!(limit(of_chosen).is_some());
    assert_eq!(limit(of_member), limit(of_chosen));
    assert_eq!(of_member.oom.as_ref().unwrap().role, "group");
}
