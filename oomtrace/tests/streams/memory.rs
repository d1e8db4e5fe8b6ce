//! The memory before an OOM kill: what is told of it.
//!
//! | module | what it holds |
//! |---|---|
//! | `asking` | when it is asked for, and which answer counts |
//! | `advice` | what is advised by it |
//! | `real` | curves of real processes |

mod advice;
mod asking;
mod real;

use oomtrace::{
    event::{
        Event, MemcgLevel, Process, Rss, Sigkill,
        entry::OomLine,
        memory::{
            MemoryAsk, MemoryCurve, MemorySample, MemorySplit, OomReport, Resident, SplitAt,
            largest,
        },
    },
    provenance::{
        Output,
        record::{Death, OomMemory, Reading},
    },
};

use crate::support::{
    Ran, assert_code, assert_no_code, engine,
    make::{
        BY_SIGKILL, CGROUP_OOM, KILLED_NS, MS, S, exit, kernels, level, opening, process, sigkill,
        stack,
    },
};

const MIB: u64 = 1 << 20;
const LIMIT: u64 = 64 * MIB;
const CGROUP: &str = "/shop";

/// The only level of these processes: its limit is used up.
fn full() -> Vec<MemcgLevel> {
    vec![MemcgLevel {
        usage_pages: Some(LIMIT / 4096),
        max_pages: Some(LIMIT / 4096),
        ..level(0xa, CGROUP)
    }]
}

fn member(tgid: u32, comm: &str) -> Process {
    Process {
        memcg: full(),
        rss: Some(Rss {
            anon_pages: 10 * MIB / 4096,
            ..Rss::default()
        }),
        ..process(tgid, comm)
    }
}

fn oom(tgid: u32) -> Sigkill {
    kernels(
        CGROUP_OOM,
        &member(2000, "trigger"),
        &member(tgid, "victim"),
    )
}

fn resident(pid: u32, mib: u64) -> Resident {
    Resident {
        pid,
        comm: format!("p{pid}"),
        rss_bytes: mib * MIB,
    }
}

fn line(of: &Sigkill, report: Option<OomReport>) -> Event {
    Event::OomLine(OomLine {
        constraint: "CONSTRAINT_MEMCG".to_owned(),
        oom_memcg: Some(CGROUP.to_owned()),
        task_memcg: None,
        tgid: of.victim.group.tgid,
        report: report.map(Box::new),
    })
}

/// Twenty seconds of a leak up to the kill.
fn leak() -> MemoryCurve {
    MemoryCurve {
        boottime_ns: KILLED_NS + MS,
        cgroup: CGROUP.to_owned(),
        samples: (0..20)
            .map(|at| {
                let bytes = LIMIT * at / 20;
                MemorySample(KILLED_NS - (20 - at) * S, bytes + MIB, Some(bytes))
            })
            .collect(),
        interval_ns: Some(S),
        made_ns: Some(KILLED_NS - 21 * S),
        split: Some(SplitAt {
            boottime_ns: KILLED_NS - 2 * S,
            split: MemorySplit {
                anon_bytes: 50 * MIB,
                reclaimable_bytes: MIB,
                ..MemorySplit::default()
            },
        }),
        largest: largest(vec![resident(5000, 40), resident(5001, 2)]),
        absent: None,
    }
}

/// What comes out, when each question gets this answer.
fn answered(events: impl IntoIterator<Item = Event>, curve: Option<&MemoryCurve>) -> Ran {
    let mut engine = engine();
    let mut all = Vec::new();
    for event in opening().into_iter().chain(events) {
        let mut out = Vec::new();
        engine.handle(event, &mut out);
        let asks = out
            .iter()
            .any(|output| matches!(output, Output::AskMemory(_)));
        all.append(&mut out);
        if let (true, Some(curve)) = (asks, curve) {
            engine.handle(Event::MemoryCurve(Box::new(curve.clone())), &mut all);
        }
    }
    Ran(all)
}

fn asked(ran: &Ran) -> Vec<MemoryAsk> {
    ran.0
        .iter()
        .filter_map(|output| match output {
            Output::AskMemory(ask) => Some(ask.clone()),
            _ => None,
        })
        .collect()
}

fn memory(death: &Death) -> &OomMemory {
    death.oom.as_ref().unwrap().memory.as_ref().unwrap()
}

#[test]
fn an_oom_kill_is_told_with_what_came_before_it() {
    let kill = oom(4000);
    let ran = answered(
        [sigkill(&kill), exit(&kill.victim, BY_SIGKILL)],
        Some(&leak()),
    );
    let death = ran.the_death();
    let memory = memory(&death);
    assert_eq!(memory.reading, Some(Reading::Ramp), "{}", memory.why);
    assert_eq!(memory.from_start_ms, Some(21_000));
    assert_eq!(memory.limit_bytes, Some(LIMIT));
    assert_eq!(memory.samples.len(), 21);
    assert_eq!(memory.samples[0], (20.0, MIB, Some(0)));
    assert_eq!(memory.samples[20], (0.0, LIMIT, Some(LIMIT)), "the kill");
    assert_eq!(memory.split.unwrap().seconds_before, 2.0);
    assert_eq!(memory.split.unwrap().anon_bytes, 50 * MIB);
    // The victim with what it held then, among the others with what they hold now.
    let held: Vec<(u32, u64)> = memory
        .largest
        .iter()
        .map(|one| (one.pid, one.rss_bytes / MIB))
        .collect();
    assert_eq!(held, [(5000, 40), (4000, 10), (5001, 2)]);
    // The victim is not told to be the one that leaks.
    assert_eq!(death.advice[0].code, "leak_or_start_up");
    let text = &death.advice[0].text;
    assert!(text.starts_with("p5000[5000] grew"), "{text}");
    assert_code(&death, "largest_other");
    assert_eq!(
        asked(&ran),
        [MemoryAsk {
            cgroup: CGROUP.to_owned(),
            look: true
        }]
    );
}

#[test]
fn what_the_log_says_of_the_kill_itself_goes_first() {
    let kill = oom(4000);
    let report = OomReport {
        split: Some(MemorySplit {
            anon_bytes: 63 * MIB,
            reclaimable_bytes: MIB / 2,
            ..MemorySplit::default()
        }),
        largest: vec![resident(4000, 60), resident(5000, 3)],
    };
    let events = [
        line(&kill, Some(report)),
        sigkill(&kill),
        exit(&kill.victim, BY_SIGKILL),
    ];
    let ran = answered(events, Some(&leak()));
    assert!(!asked(&ran)[0].look, "it is all there");
    let death = ran.the_death();
    let memory = memory(&death);
    let split = memory.split.unwrap();
    assert_eq!((split.seconds_before, split.anon_bytes), (0.0, 63 * MIB));
    assert_eq!(memory.samples[20], (0.0, LIMIT, Some(LIMIT - MIB / 2)));
    assert_eq!(memory.largest[0].pid, 4000);
    assert_no_code(&death, "largest_other");
}

#[test]
fn a_limit_that_was_lowered_is_the_story() {
    let mut path = CGROUP_OOM.to_vec();
    path.push("memory_max_write");
    let mut kill = oom(4000);
    kill.stack = Some(stack(&path));
    let death = answered(
        [sigkill(&kill), exit(&kill.victim, BY_SIGKILL)],
        Some(&leak()),
    );
    let death = death.the_death();
    assert_eq!(memory(&death).reading, None);
    assert!(
        memory(&death).why.contains("lowered"),
        "{}",
        memory(&death).why
    );
}

/// The sampler hung, or what was page cache was not known.
#[test]
fn a_stretch_that_was_not_watched_is_said_to_be() {
    let kill = oom(4000);
    let curve = MemoryCurve {
        samples: (0..20)
            .map(|at| MemorySample(KILLED_NS - (30 - at) * S, 10 * MIB, Some(9 * MIB)))
            .chain([MemorySample(KILLED_NS - 2 * S, 50 * MIB, None)])
            .collect(),
        ..leak()
    };
    let end = exit(&kill.victim, BY_SIGKILL);
    let death = answered([sigkill(&kill), end.clone()], Some(&curve)).the_death();
    assert_eq!(memory(&death).reading, None);
    assert!(
        memory(&death)
            .why
            .contains("the last 11.0 s before the kill were not watched"),
        "{}",
        memory(&death).why
    );
    assert_eq!(death.advice[0].code, "check_memory_use");
    // Where looks are that far apart, that is how it is watched.
    let slow = MemoryCurve {
        interval_ns: Some(10 * S),
        ..curve
    };
    let death = answered([sigkill(&kill), end], Some(&slow)).the_death();
    assert_ne!(memory(&death).reading, None);
}

/// A cgroup that outlives its processes: each of them leaks, and this is the third.
#[test]
fn the_life_of_the_victim_is_what_is_read() {
    let mut kill = oom(4000);
    kill.victim.group.start_ns = KILLED_NS - 20 * S;
    let mut curve = leak();
    let life = curve.samples.clone();
    for earlier in [1, 2] {
        let before = life.iter().map(|MemorySample(at_ns, usage, working)| {
            MemorySample(at_ns - earlier * 21 * S, *usage, *working)
        });
        curve.samples.extend(before);
    }
    curve.samples.sort_by_key(|sample| sample.0);
    let reading = |pages: u64| {
        let mut kill = kill.clone();
        kill.victim.rss.as_mut().unwrap().anon_pages = pages;
        let end = exit(&kill.victim, BY_SIGKILL);
        let death = answered([sigkill(&kill), end], Some(&curve)).the_death();
        memory(&death).reading
    };
    assert_eq!(reading(LIMIT / 4096), Some(Reading::Ramp));
    // Where others hold the memory, all of its life counts.
    assert_ne!(reading(0), Some(Reading::Ramp));
}

#[test]
fn what_no_heap_bounds_is_told() {
    for (split, code) in [
        (
            MemorySplit {
                shmem_bytes: LIMIT / 2,
                ..MemorySplit::default()
            },
            Some("tmpfs"),
        ),
        (
            MemorySplit {
                slab_bytes: Some(LIMIT / 2),
                ..MemorySplit::default()
            },
            Some("kernel_memory"),
        ),
        (
            MemorySplit {
                anon_bytes: LIMIT - MIB,
                shmem_bytes: MIB,
                ..MemorySplit::default()
            },
            None,
        ),
    ] {
        let kill = oom(4000);
        let mut curve = leak();
        curve.split = Some(SplitAt {
            boottime_ns: KILLED_NS - MS,
            split,
        });
        let end = exit(&kill.victim, BY_SIGKILL);
        let death = answered([sigkill(&kill), end], Some(&curve)).the_death();
        let codes: Vec<&str> = death.advice.iter().map(|a| a.code.as_str()).collect();
        for other in ["tmpfs", "kernel_memory", "page_cache"] {
            assert_eq!(codes.contains(&other), code == Some(other), "{codes:?}");
        }
    }
}
