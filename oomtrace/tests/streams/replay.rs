//! What real kernels sent, replayed: the deaths that were reviewed, and always the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use oomtrace::{
    event::entry::Entry,
    pipeline::{NoLookups, Pipeline, Source},
    provenance::{Config, record::Cause, rules::Rules},
    sinks::json::Json,
};

use crate::support::{
    invariants,
    recordings::{self, ALL, Recording},
    run, table,
};

/// Set to write the tables anew, for review.
const ACCEPT: &str = "OOMTRACE_ACCEPT_TABLES";

/// What the fixture behind each victim brings about (`tests/fixtures`), on every kernel.
const FIXTURES: &[(Cause, &[&str])] = &[
    (
        Cause::ManualKill,
        &[
            "fx-kill-victim",
            "fx-login-victim",
            "fx-pkill-victim",
            "fx-script-vict",
            "fx-shell-vict",
            "fx-tty-victim",
        ],
    ),
    (
        Cause::SelfKill,
        &[
            "fx-137-command",
            "fx-137-worker",
            "fx-self-tgkill",
            "fx-self-tkill",
        ],
    ),
    (
        Cause::StopTimeout,
        &[
            "fx-blocked",
            "fx-deaf",
            "fx-deaf-init",
            "fx-frozen",
            "fx-frozen-v1",
            "fx-runit-deaf",
            "fx-slow",
            "fx-stopped",
            "fx-stopped-late",
            "fx-stuck-worker",
            "fx-usr1",
            "fx-vfork",
        ],
    ),
    (Cause::SupervisorKill, &["fx-runit-killed"]),
    (Cause::UserspaceOom, &["fx-earlyoom"]),
    (
        Cause::AppKill,
        &[
            "fx-137-killed",
            "fx-by-thread",
            "fx-cgroup-kill",
            "fx-crashing",
            "fx-deaf-to-one",
            "fx-debuggee",
            "fx-deep-cgroup",
            "fx-deep-exe",
            "fx-empty",
            "fx-exit-race",
            "fx-full-cgroup",
            "fx-gone-exe",
            "fx-half",
            "fx-leaderless",
            "fx-leaving-lone",
            "fx-login-script",
            "fx-long-arg",
            "fx-longer",
            "fx-many",
            "fx-many-args",
            "fx-no-argv",
            "fx-ns-init",
            "fx-odd-cgroup",
            "fx-overthrown",
            "fx-padded",
            "fx-peer-victim",
            "fx-pidfd",
            "fx-reuse-one",
            "fx-reuse-two",
            "fx-shot-twice",
            "fx-sigqueue",
            "fx-suite",
            "fx-suite-test",
            "fx-tgkill",
            "fx-tgsigqueue",
            "fx-threads",
            "fx-tkill",
            "fx-unreadable",
            "fx-wide",
            "fx-worker",
        ],
    ),
    (Cause::NamespaceExit, &["fx-ns-child"]),
    (Cause::ParentDeath, &["fx-orphan"]),
    (Cause::TracerExit, &["fx-traced"]),
    (
        Cause::CpuLimit,
        &["fx-cpu", "fx-cpu-both", "fx-rt", "fx-rt-both"],
    ),
    (
        Cause::OwnTimer,
        &["fx-cpu-timer", "fx-exit-parent", "fx-sigio", "fx-timer"],
    ),
    (Cause::Bpf, &["fx-bpf", "fx-bpf-switch"]),
    (
        Cause::Kernel,
        &["fx-injected", "fx-on-console", "fx-seccomp"],
    ),
    (
        Cause::ExitCode,
        &[
            "fx-137-entry",
            "fx-137-inner",
            "fx-137-outer",
            "fx-137-shell",
            "fx-137-sibling",
            "fx-exit-137",
        ],
    ),
    (
        Cause::CgroupOom,
        &[
            "fx-big",
            "fx-bystander",
            "fx-group-big",
            "fx-group-member",
            "fx-lowered",
            "fx-oom",
            "fx-parent-oom",
        ],
    ),
    (Cause::GlobalOom, &["fx-global-oom", "fx-sysrq-f"]),
    (Cause::NumaOom, &["fx-cpuset-oom", "fx-numa-oom"]),
];

/// Processes of fixtures that live, or end otherwise.
const NO_DEATH: &[&str] = &["fx-zombie", "fx-polite", "fx-parent"];

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `oomtrace replay --output json` prints.
fn json(entries: &[Entry]) -> Vec<u8> {
    let written = Written::default();
    let mut pipeline = Pipeline::new(
        Source::Recorded,
        NoLookups,
        Config::default(),
        Rules::built_in().unwrap(),
        vec![Box::new(Json(written.clone()))],
    );
    for entry in entries {
        pipeline.push(entry).unwrap();
    }
    drop(pipeline);
    Arc::into_inner(written.0).unwrap().into_inner().unwrap()
}

/// A recording's deaths in the order in which they were written.
fn render(recording: &Recording) -> String {
    table::render(&run(recording.events.iter().cloned()).deaths())
}

#[test]
fn the_recordings_are_there() {
    let names: Vec<&str> = ALL.iter().map(|recording| &*recording.name).collect();
    for kernel in ["5.10", "6.1", "6.12", "6.18", "7.2"] {
        for hooks in ["fentry", "kprobe", "tracepoint"] {
            let name = format!("{kernel}-v2-{hooks}");
            assert!(names.contains(&&*name), "no {name} in {names:?}");
        }
    }
}

#[test]
fn each_recording_gives_the_deaths_that_were_reviewed() {
    let accept = env::var_os(ACCEPT).is_some();
    let mut differ = Vec::new();
    for recording in &*ALL {
        let path = recordings::folder().join(format!("{}.expected", recording.name));
        let found = render(recording);
        if accept {
            fs::write(&path, &found).unwrap();
        }
        let reviewed = fs::read_to_string(&path).unwrap_or_default();
        if found != reviewed {
            differ.push(format!(
                "{}\n{}",
                recording.name,
                changes(&reviewed, &found)
            ));
        }
    }
    assert!(
        differ.is_empty(),
        "set {ACCEPT}=1 to write the tables anew, and review what changes:\n{}",
        differ.join("\n")
    );
}

/// The lines that are in one table only.
fn changes(reviewed: &str, found: &str) -> String {
    // Widths follow from the other lines.
    let plain = |text: &str| -> Vec<String> {
        text.lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    };
    let (reviewed, found) = (plain(reviewed), plain(found));
    let gone = reviewed.iter().filter(|line| !found.contains(line));
    let new = found.iter().filter(|line| !reviewed.contains(line));
    gone.map(|line| format!("- {line}\n"))
        .chain(new.map(|line| format!("+ {line}\n")))
        .collect()
}

#[test]
fn every_fixture_died_of_what_it_is_made_for() {
    let causes: BTreeMap<&str, Cause> = FIXTURES
        .iter()
        .flat_map(|(cause, comms)| comms.iter().map(|comm| (*comm, *cause)))
        .collect();
    let mut seen = BTreeSet::new();
    for recording in &*ALL {
        let ran = run(recording.events.iter().cloned());
        for death in ran.deaths() {
            let comm = death.victim.comm.as_deref().unwrap_or("?");
            assert!(
                !NO_DEATH.contains(&comm),
                "{}: a death of {comm}",
                recording.name
            );
            if let Some((comm, cause)) = causes.get_key_value(comm) {
                assert_eq!(death.cause, *cause, "{}: {death:#?}", recording.name);
                seen.insert(*comm);
            }
        }
    }
    let missing: Vec<&&str> = causes.keys().filter(|comm| !seen.contains(*comm)).collect();
    assert!(missing.is_empty(), "no death of {missing:?}");
}

#[test]
fn a_replay_is_the_same_byte_for_byte() {
    for recording in &*ALL {
        let first = json(&recording.entries);
        assert!(first.len() > 10_000, "{}: too little", recording.name);
        assert!(
            first == json(&recording.entries),
            "{}: a second replay differs",
            recording.name
        );
    }
}

#[test]
fn each_recording_keeps_the_rules_of_revisions() {
    for recording in &*ALL {
        let ran = run(recording.events.iter().cloned());
        invariants::check(&ran).unwrap_or_else(|broken| panic!("{}: {broken}", recording.name));
        invariants::check_complete(&recording.events, &ran)
            .unwrap_or_else(|broken| panic!("{}: {broken}", recording.name));
    }
}

#[test]
fn ids_are_the_same_with_every_hook_of_one_boot() {
    // Three passes of one boot: other processes, and never the same id.
    let mut ids = BTreeSet::new();
    for hooks in ["fentry", "kprobe", "tracepoint"] {
        let recording = recordings::named(&format!("6.12-v2-{hooks}"));
        let ran = run(recording.events.iter().cloned());
        for death in ran.deaths().iter().filter(|death| death.revision == 1) {
            assert!(ids.insert(death.id.clone()), "{} twice", death.id);
        }
    }
    assert!(ids.len() > 100);
}
