//! Who held the memory of a node that ran out: when it is looked up, what becomes of the answer.

use oomtrace::{
    event::{
        Event, MemcgLevel, OomKill, Process, Rss, Sigkill,
        container::ContainerFacts,
        entry::{Entry, OomLine},
        memory::{CgroupUse, NodeMemory, OomReport, Resident},
        recording::{Reader, Writer},
    },
    provenance::{
        Output,
        record::{Death, OomMemory, OomRead, Record},
    },
    sinks::{Sink as _, pretty::Pretty},
};

use crate::support::{
    Ran, assert_code, assert_no_code, engine,
    make::{
        BY_SIGKILL, CGROUP_OOM, GLOBAL_OOM, KILLED_NS, MS, S, exit, kernels, level, opening,
        process, sigkill, stack, tick,
    },
};

const MIB: u64 = 1 << 20;
const CGROUP: &str = "/shop/web";

fn victim(tgid: u32, mib: u64) -> Process {
    Process {
        memory_cgroup: Some(CGROUP.to_owned()),
        memcg: vec![MemcgLevel {
            usage_pages: Some(mib * MIB / 4096),
            ..level(0xa, CGROUP)
        }],
        rss: Some(Rss {
            anon_pages: mib * MIB / 4096,
            ..Rss::default()
        }),
        ..process(tgid, "web")
    }
}

fn oom(tgid: u32) -> Sigkill {
    kernels(GLOBAL_OOM, &process(2000, "trigger"), &victim(tgid, 100))
}

fn resident(pid: u32, mib: u64) -> Resident {
    Resident {
        pid,
        comm: format!("p{pid}"),
        rss_bytes: mib * MIB,
    }
}

fn cgroup(path: &str, usage_mib: u64, own_mib: u64) -> CgroupUse {
    CgroupUse {
        cgroup: path.to_owned(),
        usage_bytes: usage_mib * MIB,
        own_bytes: own_mib * MIB,
    }
}

/// Read 20 ms after the kill: the victim has given most of its memory back.
fn node() -> NodeMemory {
    NodeMemory {
        boottime_ns: KILLED_NS + 20 * MS,
        total_bytes: Some(1000 * MIB),
        largest: vec![resident(7000, 600), resident(7001, 50), resident(4000, 3)],
        cgroups: vec![
            cgroup("/system.slice/hog.service", 610, 610),
            cgroup("/shop/other", 60, 60),
            cgroup("/", 700, 20),
            cgroup(CGROUP, 5, 5),
        ],
        processes_cut: false,
        cgroups_cut: true,
    }
}

/// What comes out, when each question gets this answer.
fn answered(events: impl IntoIterator<Item = Event>, node: Option<&NodeMemory>) -> Ran {
    let mut engine = engine();
    let mut all = Vec::new();
    for event in opening().into_iter().chain(events) {
        let mut out = Vec::new();
        engine.handle(event, &mut out);
        let asks = out.contains(&Output::AskNodeMemory);
        all.append(&mut out);
        if let (true, Some(node)) = (asks, node) {
            engine.handle(Event::NodeMemory(Box::new(node.clone())), &mut all);
        }
    }
    Ran(all)
}

fn of(kill: &Sigkill, node: Option<&NodeMemory>) -> Death {
    answered([sigkill(kill), exit(&kill.victim, BY_SIGKILL)], node).the_death()
}

fn asked(ran: &Ran) -> usize {
    let asks = ran.0.iter().filter(|out| **out == Output::AskNodeMemory);
    asks.count()
}

fn memory(death: &Death) -> &OomMemory {
    death.oom.as_ref().unwrap().memory.as_ref().unwrap()
}

fn line(of: &Sigkill, largest: Vec<Resident>) -> Event {
    Event::OomLine(OomLine {
        constraint: "CONSTRAINT_NONE".to_owned(),
        oom_memcg: None,
        task_memcg: None,
        tgid: of.victim.group.tgid,
        report: Some(Box::new(OomReport {
            split: None,
            largest,
        })),
    })
}

#[test]
fn where_the_log_is_silent_the_largest_are_looked_up() {
    let death = of(&oom(4000), Some(&node()));
    let memory = memory(&death);
    // The victim with what it held at the kill, among the others with what they hold now.
    let held: Vec<(u32, u64)> = memory
        .largest
        .iter()
        .map(|one| (one.pid, one.rss_bytes / MIB))
        .collect();
    assert_eq!(held, [(7000, 600), (4000, 100), (7001, 50)]);
    let read = |source: &'static str, complete| {
        Some(OomRead {
            source: source.into(),
            seconds_before: -0.02,
            complete: Some(complete),
        })
    };
    assert_eq!(memory.largest_read, read("proc", true));
    let cgroups: Vec<(&str, u64, u64)> = memory
        .cgroups
        .iter()
        .map(|one| {
            let mib = |bytes: u64| bytes / MIB;
            (
                one.cgroup.as_str(),
                mib(one.own_bytes),
                mib(one.usage_bytes),
            )
        })
        .collect();
    assert_eq!(
        cgroups,
        [
            ("/system.slice/hog.service", 610, 610),
            (CGROUP, 100, 100),
            ("/shop/other", 60, 60),
            ("/", 20, 700),
        ]
    );
    assert_eq!(memory.cgroups_read, read("cgroup", false));
    let unit = memory.cgroups[0].unit.as_ref().unwrap();
    assert_eq!(unit.name, "hog.service");
    assert_code(&death, "largest_other");
    let says = death
        .evidence
        .iter()
        .find(|one| one.code == "largest_other");
    let says = says.unwrap();
    assert_eq!(says.source, "/proc");
    assert!(
        says.text.starts_with("p7000[7000] held 600.0 MiB"),
        "{says:?}"
    );

    let mut page = Vec::new();
    let record = Record::Death(Box::new(death));
    Pretty::new(&mut page, false).write(&record).unwrap();
    let page = String::from_utf8(page).unwrap();
    assert!(
        page.contains("p7001[7001] 50.0 MiB (read 20 ms after the kill)"),
        "{page}"
    );
    assert!(
        page.contains("hog.service 610.0 MiB, /shop/web 100.0 MiB")
            && page.contains("(read 20 ms after the kill, not all of them)"),
        "{page}"
    );
}

/// Its processes are of the kill itself; of cgroups it says nothing.
#[test]
fn what_the_log_says_goes_before_what_is_looked_up() {
    let kill = oom(4000);
    let events = [
        line(&kill, vec![resident(9000, 500), resident(4000, 110)]),
        sigkill(&kill),
        exit(&kill.victim, BY_SIGKILL),
    ];
    let death = answered(events.clone(), Some(&node())).the_death();
    assert_eq!(memory(&death).largest[0].pid, 9000);
    let read = memory(&death).largest_read.clone().unwrap();
    assert_eq!((&*read.source, read.seconds_before), ("kernel_log", 0.0));
    assert_eq!(memory(&death).cgroups.len(), 4);
    let says = death
        .evidence
        .iter()
        .find(|one| one.code == "largest_other");
    assert_eq!(says.unwrap().source, "kernel log");

    // Without a look-up, the kernel's own count of all memory will do.
    let hook = Event::OomKill(Box::new(OomKill {
        boottime_ns: KILLED_NS - MS,
        sender_tid: 2000,
        chosen_tgid: Some(4000),
        constraint: None,
        points: None,
        total_pages: Some(1000 * MIB / 4096),
        gfp_mask: None,
        order: None,
        is_memcg: Some(false),
        limit: Vec::new(),
    }));
    let events = std::iter::once(hook).chain(events);
    let death = answered(events, None).the_death();
    assert!(memory(&death).cgroups.is_empty());
    assert_eq!(memory(&death).cgroups_read, None);
    assert_code(&death, "largest_other");
}

/// A pod without a request goes first, however small it is.
#[test]
fn a_small_victim_is_set_beside_the_largest_too() {
    let mut small = oom(4000);
    small.victim.rss = Some(Rss {
        anon_pages: 1,
        ..Rss::default()
    });
    let largest = (7000..7010).map(|pid| resident(pid, 90)).collect();
    let node = NodeMemory { largest, ..node() };
    let death = of(&small, Some(&node));
    assert!(memory(&death).largest.iter().all(|one| one.pid != 4000));
    assert_eq!(memory(&death).largest.len(), 10);
    assert_code(&death, "largest_other");
}

#[test]
fn the_victim_that_held_most_is_no_other() {
    let mut hog = oom(4000);
    hog.victim = victim(4000, 900);
    assert_no_code(&of(&hog, Some(&node())), "largest_other");
    // More, but not by much of all that the node has.
    let alike = NodeMemory {
        largest: vec![resident(7000, 149)],
        ..node()
    };
    assert_no_code(&of(&oom(4000), Some(&alike)), "largest_other");
}

/// Who told the kernel to kill is the story, and not who held most.
#[test]
fn a_key_that_was_pressed_is_no_want_of_memory() {
    let mut kill = oom(4000);
    let mut path = GLOBAL_OOM.to_vec();
    path.push("moom_callback");
    kill.stack = Some(stack(&path));
    let death = of(&kill, Some(&node()));
    assert_eq!(memory(&death).cgroups.len(), 4);
    assert_no_code(&death, "largest_other");
}

#[test]
fn only_a_kill_without_a_limit_asks_and_one_answer_serves_a_second() {
    let of_cgroup = kernels(CGROUP_OOM, &victim(2000, 1), &victim(4000, 100));
    let ran = answered([sigkill(&of_cgroup)], Some(&node()));
    assert_eq!(asked(&ran), 0);

    let at = |tgid: u32, after_ns: u64| {
        let mut kill = oom(tgid);
        kill.boottime_ns += after_ns;
        kill
    };
    let kills = [at(4000, 0), at(4001, S / 2), at(4002, 3 * S)];
    let mut events: Vec<Event> = kills.iter().map(sigkill).collect();
    events.insert(2, tick(KILLED_NS + 2 * S));
    events.extend(kills.iter().map(|kill| exit(&kill.victim, BY_SIGKILL)));
    let ran = answered(events, Some(&node()));
    assert_eq!(asked(&ran), 2);
    let deaths = ran.deaths();
    let before: Vec<f64> = deaths
        .iter()
        .map(|death| memory(death).cgroups_read.as_ref().unwrap().seconds_before)
        .collect();
    assert_eq!(before, [-0.02, 0.48, 2.98], "each by its own kill");
}

/// Nobody looks, or not in time: as in the recordings of older versions.
#[test]
fn without_an_answer_there_is_none() {
    let death = of(&oom(4000), None);
    assert_eq!(death.oom.unwrap().memory, None);
    // An answer that nobody asked for changes nothing.
    let kill = kernels(CGROUP_OOM, &victim(2000, 1), &victim(4000, 100));
    let events = [
        sigkill(&kill),
        Event::NodeMemory(Box::new(node())),
        exit(&kill.victim, BY_SIGKILL),
    ];
    let death = answered(events, None).the_death();
    assert!(death.oom.unwrap().memory.is_none());
}

/// A cgroup of v2 that the look-up found empty already, and one of v1 that may have others below.
#[test]
fn the_victims_own_cgroup_is_told_where_that_can_be_known() {
    let gone = NodeMemory {
        cgroups: vec![cgroup("/shop/other", 60, 60)],
        ..node()
    };
    let told = |v1: Option<bool>| {
        let mut kill = oom(4000);
        kill.victim.memcg[0].v1 = v1;
        let death = of(&kill, Some(&gone));
        memory(&death)
            .cgroups
            .iter()
            .any(|one| one.cgroup == CGROUP)
    };
    assert!(told(Some(false)));
    assert!(!told(Some(true)) && !told(None));
}

#[test]
fn it_survives_a_recording_and_names_containers() {
    let entries = [Entry::NodeMemory(Box::new(node()))];
    let mut writer = Writer::new(Vec::new()).unwrap();
    writer.write(&entries[0]).unwrap();
    let bytes = writer.finish().unwrap();
    let read: Result<Vec<Entry>, _> = Reader::new(&*bytes).unwrap().collect();
    assert_eq!(read.unwrap(), entries);

    let id = "3f2a".repeat(16);
    let facts = ContainerFacts {
        id: id.clone(),
        name: Some("db".to_owned()),
        ..ContainerFacts::default()
    };
    let node = NodeMemory {
        cgroups: vec![cgroup(&format!("/docker/{id}"), 60, 60)],
        ..node()
    };
    let kill = oom(4000);
    let events = [
        Event::ContainerFacts(Box::new(facts)),
        sigkill(&kill),
        exit(&kill.victim, BY_SIGKILL),
    ];
    let death = answered(events, Some(&node)).the_death();
    let found = memory(&death)
        .cgroups
        .iter()
        .find(|one| one.container.is_some());
    let container = found.unwrap().container.as_ref().unwrap();
    assert_eq!(container.id, id);
}
