//! The memory before an OOM kill: when it is asked for, what becomes of the answer.

mod advice;

use std::{fs, path::Path};

use oomtrace::{
    event::{
        Event, MemcgLevel, Process, Rss, Sigkill,
        entry::{Entry, OomLine},
        memory::{
            MemoryAsk, MemoryCurve, MemorySample, MemorySplit, OomReport, Resident, SplitAt,
            largest,
        },
        recording::{Reader, Writer},
    },
    provenance::{
        Output,
        record::{Death, OomMemory, Reading},
    },
    sinks::{
        html,
        story::{self, Look},
    },
    why::{Around, tell},
};

use crate::support::{
    Ran, assert_code, assert_no_code, engine,
    make::{
        BY_SIGKILL, CGROUP_OOM, GLOBAL_OOM, KILLED_NS, MS, S, exit, exit_at, kernels, kill, level,
        opening, process, sigkill, stack, tick,
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

/// Nobody watches, and the log says nothing: as in the recordings of older versions.
#[test]
fn without_an_answer_there_is_none() {
    let kill = oom(4000);
    let events = || [sigkill(&kill), exit(&kill.victim, BY_SIGKILL)];
    assert_eq!(
        answered(events(), None).the_death().oom.unwrap().memory,
        None
    );
    // Somebody watches, and has not seen it.
    let absent = MemoryCurve {
        samples: Vec::new(),
        absent: Some("its limit is new".to_owned()),
        ..leak()
    };
    let death = answered(events(), Some(&absent)).the_death();
    assert_eq!(memory(&death).reading, Some(Reading::TooShort));
    assert!(memory(&death).why.contains("its limit is new"));
    assert_eq!(memory(&death).samples.len(), 1, "the kill");
}

#[test]
fn only_an_oom_kill_below_a_limit_asks() {
    let by_hand = kill(&process(77, "sh"), &member(4000, "victim"));
    let global = kernels(GLOBAL_OOM, &member(2000, "t"), &member(4000, "victim"));
    for kill in [by_hand, global] {
        let ran = answered([sigkill(&kill), exit(&kill.victim, BY_SIGKILL)], None);
        assert_eq!(asked(&ran), []);
        assert!(ran.the_death().oom.is_none_or(|oom| oom.memory.is_none()));
    }
}

/// Without symbols it is the kernel's mark that says whose SIGKILL it was.
#[test]
fn a_mark_asks_where_no_call_path_does() {
    let kill = Sigkill {
        stack: None,
        ..oom(4000)
    };
    let mark = Event::MarkVictim(oomtrace::event::MarkVictim {
        boottime_ns: KILLED_NS + 1,
        victim_tid: 4000,
        sender_tid: 2000,
    });
    let end = exit(&kill.victim, BY_SIGKILL);
    let ran = answered([sigkill(&kill), mark, end], Some(&leak()));
    assert_eq!(asked(&ran).len(), 1);
    assert_eq!(memory(&ran.the_death()).reading, Some(Reading::Ramp));
}

/// A group goes at once, and a limit that is hit again and again is looked up once a second.
#[test]
fn kills_that_follow_one_another_share_a_curve() {
    let first = oom(4000);
    let mut member_path = CGROUP_OOM.to_vec();
    member_path.insert(2, "oom_kill_memcg_member");
    let mut events = vec![sigkill(&first), exit(&first.victim, BY_SIGKILL)];
    for tgid in 4001..4040 {
        let mut kill = oom(tgid);
        kill.stack = Some(stack(&member_path));
        kill.boottime_ns += u64::from(tgid - 4000) * MS;
        events.extend([sigkill(&kill), exit(&kill.victim, BY_SIGKILL)]);
    }
    let ran = answered(events, Some(&leak()));
    assert_eq!(asked(&ran).len(), 1);
    assert_eq!(ran.deaths().len(), 40);
    for death in ran.deaths() {
        assert_eq!(memory(death).reading, Some(Reading::Ramp));
    }

    let mut later = oom(5000);
    later.boottime_ns += 3 * S;
    let events = [
        sigkill(&first),
        exit(&first.victim, BY_SIGKILL),
        tick(KILLED_NS + 2 * S),
        sigkill(&later),
    ];
    assert_eq!(asked(&answered(events, Some(&leak()))).len(), 2);
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

/// An answer that nobody asked for, or for another cgroup, changes nothing.
#[test]
fn an_answer_belongs_to_its_question() {
    let kill = oom(4000);
    let other = MemoryCurve {
        cgroup: "/other".to_owned(),
        ..leak()
    };
    let ran = answered(
        [sigkill(&kill), exit(&kill.victim, BY_SIGKILL)],
        Some(&other),
    );
    assert_eq!(ran.the_death().oom.unwrap().memory, None);
}

#[test]
fn what_was_looked_up_survives_a_recording() {
    let line = OomLine {
        constraint: "CONSTRAINT_MEMCG".to_owned(),
        oom_memcg: None,
        task_memcg: None,
        tgid: 7,
        report: Some(Box::new(OomReport {
            split: Some(MemorySplit::default()),
            largest: vec![resident(1, 2)],
        })),
    };
    let entries = [
        Entry::MemoryCurve(Box::new(leak())),
        Entry::OomLine(line.clone()),
        Entry::OomLine(OomLine {
            report: None,
            ..line
        }),
    ];
    let mut writer = Writer::new(Vec::new()).unwrap();
    for entry in &entries {
        writer.write(entry).unwrap();
    }
    let bytes = writer.finish().unwrap();
    let read: Result<Vec<Entry>, _> = Reader::new(&*bytes).unwrap().collect();
    assert_eq!(read.unwrap(), entries);
}

/// A curve of a real process (tests/fixtures/src/fixtures/memory), as it was looked up on the
/// kernel that its file is named for.
#[derive(serde::Deserialize)]
struct Recorded {
    killed_ns: u64,
    usage_bytes: u64,
    limit_bytes: u64,
    curve: MemoryCurve,
}

impl Recorded {
    fn death(self) -> Death {
        let mut kill = oom(4000);
        kill.boottime_ns = self.killed_ns;
        for memcg in [&mut kill.victim.memcg, &mut kill.sender.memcg] {
            memcg[0].path = Some(self.curve.cgroup.clone());
            memcg[0].usage_pages = Some(self.usage_bytes / 4096);
            memcg[0].max_pages = Some(self.limit_bytes / 4096);
        }
        let end = exit_at(&kill.victim, BY_SIGKILL, self.killed_ns + MS);
        let ran = answered([sigkill(&kill), end], Some(&self.curve));
        ran.the_death()
    }
}

#[test]
fn curves_of_real_processes_are_read_as_what_they_were() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/streams/curves");
    let mut seen = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let recorded: Recorded = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let death = recorded.death();
        let memory = memory(&death);
        let (wanted, advice) = match name
            .rsplit_once("-v1-")
            .or(name.rsplit_once("-v2-"))
            .unwrap()
            .1
        {
            // It lived for seconds: that it would not have come to a level nobody can tell.
            "leak" => (Reading::Ramp, "leak_or_start_up"),
            "steps" => (Reading::Steps, "look_at_the_steps"),
            "undersized" => (Reading::Plateau, "raise_the_limit"),
            // Page cache fills its limit all the time, most of it on the active list.
            "burst" | "file-reader" => (Reading::Burst, "look_at_the_burst"),
            other => panic!("{other}"),
        };
        assert_eq!(memory.reading, Some(wanted), "{name}: {}", memory.why);
        // A leak is no reason to raise a limit, and a limit that is too small is no leak.
        assert_eq!(death.advice[0].code, advice, "{name}");
        if wanted == Reading::Plateau {
            let text = &death.advice[0].text;
            let (_, guess) = text.split_once("to between ").unwrap();
            let (least, most) = guess.split_once(" and ").unwrap();
            assert!(least.parse::<f64>().is_ok(), "{text}");
            assert!(most.contains("MiB (30 to 50 %"), "{text}");
        }
        for advice in &death.advice {
            assert!(
                !advice.text.contains(['{', '}', '?']),
                "{name}: {}",
                advice.text
            );
        }
        let story = tell(&death, &Around::default());
        let look = Look {
            colour: false,
            width: 100,
        };
        let mut page = Vec::new();
        story::write(&mut page, &story, look).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains("memory before the kill"), "{page}");
        assert!(
            page.lines().all(|line| line.chars().count() <= 100),
            "{page}"
        );
        let mut html = Vec::new();
        html::write(&mut html, &story).unwrap();
        assert!(
            String::from_utf8(html).unwrap().contains("<polyline"),
            "{name}"
        );
        seen += 1;
    }
    assert!(seen >= 5, "{seen}");
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

/// With Kubernetes' figure, which counts active page cache as in use, it would have been
/// parked under its limit.
#[test]
fn active_page_cache_is_no_working_set() {
    let text = include_str!("curves/6.18-v1-file-reader.json");
    let recorded: Recorded = serde_json::from_str(text).unwrap();
    let split = recorded.curve.split.unwrap().split;
    assert!(split.reclaimable_bytes >= 40 * MIB, "{split:?}");
    let working: Vec<u64> = recorded.curve.samples.iter().filter_map(|s| s.2).collect();
    assert!(
        working.iter().all(|working| *working < 10 * MIB),
        "{working:?}"
    );
}
