//! Tracers that follow one another: whether killed or ended, what dies meanwhile is told by the
//! next one, once; and where nobody could watch, that is said.

mod again;
mod ends;
mod ground;
mod pins;
mod unpinned;

use std::{fs, path::Path, thread, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use serde_json::Value;

use self::ground::{Ground, Ignoring, end, is_stretch, kill, no_losses, once};
use super::{
    Case,
    history::ask,
    lacks,
    listen::within,
    watch::{Numbers, sender, storm},
};
use crate::{cli::Options, death, fixture, output::detail};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "restart-in-a-storm",
        run: in_a_storm,
    },
    Case {
        name: "restart-half-known",
        run: half_known,
    },
    Case {
        name: "restart-ended",
        run: ended,
    },
    Case {
        name: "restart-hand-over",
        run: hand_over,
    },
    Case {
        name: "restart-other-programs",
        run: other_programs,
    },
    Case {
        name: "restart-unreadable",
        run: unreadable,
    },
    Case {
        name: "restart-other-version",
        run: other_version,
    },
    Case {
        name: "restart-unpinned",
        run: unpinned::unpinned,
    },
    Case {
        name: "restart-counted",
        run: unpinned::counted,
    },
    Case {
        name: "restart-journal-alone",
        run: unpinned::journal_alone,
    },
    Case {
        name: "restart-other-boot",
        run: unpinned::other_boot,
    },
    Case {
        name: "restart-of-a-unit",
        run: again::told,
    },
    Case {
        name: "ends-told",
        run: ends::told_to_the_parent,
    },
    Case {
        name: "ends-freed",
        run: ends::freed,
    },
    Case {
        name: "pins-taken",
        run: pins::taken,
    },
    Case {
        name: "pins-nowhere",
        run: pins::nowhere,
    },
    Case {
        name: "pins-detached",
        run: pins::detached,
    },
];

/// While nobody reads, the ring must have room for what happens.
const PAUSE: Duration = Duration::from_millis(200);

/// The tracer is killed again and again while processes die as fast as they can.
fn in_a_storm(options: &Options) -> Result<Vec<String>> {
    const RESTARTS: usize = 4;
    // An emulated processor is ten times as slow.
    let count = if options.guest.is_some() { 1500 } else { 6000 };
    // With room for all of it, however long it takes until the next one reads.
    let room = ["--ring-bytes", "67108864"];
    let ground = Ground::new("restart-storm")?;
    let mut problems = Vec::new();
    let mut tracer = ground.start(options, &room)?;
    let (report, tracer) = thread::scope(|scope| -> Result<_> {
        let number = usize::to_string(&count);
        let storm = scope.spawn(move || storm(options, "storm", &["--count", &number]));
        for _ in 0..RESTARTS {
            thread::sleep(PAUSE);
            // The next one finds the pins taken for as long as this one is there.
            kill(options, tracer)?;
            thread::sleep(PAUSE / 2);
            tracer = ground.start(options, &room)?;
        }
        let report = storm.join().map_err(|_| anyhow!("the storm panicked"))?;
        Ok((report?, tracer))
    })?;
    let killer = sender(&report)?;
    let is_of_storm = |death: &&Value| death["sender"]["pid"] == killer;
    let finished = end(options, tracer)?;
    problems.extend(finished.problems());
    problems.extend(no_losses(&finished));
    let stored = ground.stored(options)?;
    let found = stored.iter().filter(is_of_storm);
    let found =
        Numbers::of(found.filter_map(|death| death["victim"]["pid"].as_i64()?.try_into().ok()));
    problems.extend(Numbers::of(report.killed_pids()).differ(&found));
    let half = stored
        .iter()
        .filter(is_of_storm)
        .find(|death| death["outcome"]["exit_code"] != 137 || death["cause"] != "app_kill");
    if let Some(half) = half {
        problems.push(format!("it is half known only: {half}"));
    }
    detail(format_args!(
        "{} deaths are stored, each once, by {} tracers",
        found.total(),
        RESTARTS + 1
    ));
    Ok(problems)
}

/// A process that is asked to stop under one tracer and killed under none.
fn half_known(options: &Options) -> Result<Vec<String>> {
    let ground = Ground::new("restart-half")?;
    let tracer = ground.start(options, &[])?;
    let victim = Ignoring::start()?;
    victim.signal(libc::SIGTERM);
    kill(options, tracer)?;
    thread::sleep(PAUSE);
    let pid = victim.kill();
    // What the kernel's log says of this one was said before the next tracer.
    let oom = fixture::run(options, "cgroup-oom", &[])?;
    let others = fixture::run(options, "self-kill", &[])?;
    let tracer = ground.start(options, &[])?;
    let last = others.victim.as_ref().context("a victim")?.pid;
    let told = |records: &[Value]| !death::of(records, last).is_empty();
    let mut problems = Vec::new();
    if !tracer.wait_for(0, options.record_limit(), told) {
        problems.push("what died meanwhile is not told".to_owned());
    }
    let finished = end(options, tracer)?;
    problems.extend(finished.problems());
    problems.extend(no_losses(&finished));
    let started = finished.records.first();
    if started.is_none_or(|started| !started["tracing_since"].is_string()) {
        problems.push(format!("it does not say since when: {started:?}"));
    }
    let stored = ground.stored(options)?;
    problems.extend(once(&stored, &[pid], "stop_timeout"));
    let pids: Vec<i32> = others.victims().map(|victim| victim.pid).collect();
    problems.extend(once(&stored, &pids, "self_kill"));
    let starved = oom.victim.iter().filter(|_| oom.skipped.is_none());
    let starved: Vec<i32> = starved.map(|victim| victim.pid).collect();
    problems.extend(once(&stored, &starved, "cgroup_oom"));
    let of_limit = |death: &&Value| starved.iter().any(|pid| death["victim"]["pid"] == *pid);
    if let Some(death) = stored.iter().find(of_limit)
        && death["oom"]["limit_cgroup"] != oom.limit_cgroup.as_deref().unwrap_or_default()
    {
        problems.push(format!(
            "another limit than {:?}: {death}",
            oom.limit_cgroup
        ));
    }
    Ok(problems)
}

/// A tracer that is ended leaves its programs, too, and says so.
fn ended(options: &Options) -> Result<Vec<String>> {
    let ground = Ground::new("restart-ended")?;
    let first = end(options, ground.start(options, &[])?)?;
    let mut problems = first.problems();
    if first
        .records
        .last()
        .is_none_or(|stopped| stopped["pinned"] != true)
    {
        problems.push("it does not say that its programs stay".to_owned());
    }
    let sets = ground.pins.sets();
    let report = fixture::run(options, "app-kill", &[])?;
    let tracer = ground.start(options, &[])?;
    let pids: Vec<i32> = report.victims().map(|victim| victim.pid).collect();
    let told = |records: &[Value]| pids.iter().all(|pid| !death::of(records, *pid).is_empty());
    if !tracer.wait_for(0, options.record_limit(), told) {
        problems.push("what died meanwhile is not told".to_owned());
    }
    let finished = end(options, tracer)?;
    problems.extend(finished.problems());
    problems.extend(no_losses(&finished));
    problems.extend(once(&ground.stored(options)?, &pids, "app_kill"));
    if ground.pins.sets() != sets || sets.len() != 1 {
        problems.push(format!(
            "other programs: {sets:?}, {:?}",
            ground.pins.sets()
        ));
    }
    Ok(problems)
}

/// The next tracer brings programs of its own.
fn hand_over(options: &Options) -> Result<Vec<String>> {
    handed_over(options, &Ground::new("restart-hand-over")?, |_| Ok(()))
}

/// Those before had not all that the next one's have.
fn other_programs(options: &Options) -> Result<Vec<String>> {
    let ground = Ground::new("restart-other-programs")?;
    handed_over(options, &ground, |set| {
        for pin in ["link_task_free", "program_task_free"] {
            fs::remove_file(set.join(pin)).with_context(|| pin.to_owned())?;
        }
        Ok(())
    })
}

/// `alter`: makes of the set of programs that is left what it should be.
fn handed_over(
    options: &Options,
    ground: &Ground,
    alter: impl FnOnce(&Path) -> Result<()>,
) -> Result<Vec<String>> {
    let tracer = ground.start(options, &[])?;
    let before = ground.pins.sets();
    let victim = Ignoring::start()?;
    victim.signal(libc::SIGTERM);
    kill(options, tracer)?;
    alter(&ground.pins.only_set()?)?;
    let meanwhile = fixture::run(options, "app-kill", &[])?;
    // Another size of the ring makes them others.
    let tracer = ground.start(options, &["--ring-bytes", "1048576"])?;
    let pid = victim.kill();
    let after = fixture::run(options, "app-kill", &[])?;
    let pids: Vec<i32> = meanwhile
        .victims()
        .chain(after.victims())
        .map(|victim| victim.pid)
        .collect();
    let told = |records: &[Value]| {
        let all = pids.iter().chain([&pid]);
        all.clone().all(|pid| !death::of(records, *pid).is_empty())
    };
    let mut problems = Vec::new();
    if !tracer.wait_for(0, options.record_limit(), told) {
        problems.push("not all that died is told".to_owned());
    }
    // Those before go once no program of them can be at work.
    within(options.record_limit(), || ground.pins.sets().len() == 1);
    let left = ground.pins.sets();
    if left.len() != 1 || left == before {
        problems.push(format!("there was {before:?}, and now {left:?}"));
    }
    let finished = end(options, tracer)?;
    problems.extend(finished.problems());
    problems.extend(no_losses(&finished));
    let started = finished.records.first();
    if started.is_none_or(|started| started["tracing_since"].is_null()) {
        problems.push(format!("it does not say since when: {started:?}"));
    }
    let stored = ground.stored(options)?;
    problems.extend(once(&stored, &pids, "app_kill"));
    problems.extend(once(&stored, &[pid], "stop_timeout"));
    Ok(problems)
}

/// What those before have seen is out of reach: nobody is told that it was watched.
fn unreadable(options: &Options) -> Result<Vec<String>> {
    let ground = Ground::new("restart-unreadable")?;
    kill(options, ground.start(options, &[])?)?;
    let set = ground.pins.only_set()?;
    fs::remove_file(set.join("map_EVENTS"))?;
    fixture::run(options, "app-kill", &[])?;
    let finished = end(options, ground.start(options, &[])?)?;
    let mut problems = finished.problems();
    let said = ["what programs of before have seen cannot be read", "EVENTS"];
    problems.extend(lacks("the tracer", &finished.ended.stderr, &said));
    let left = fs::read_dir(&set)?;
    let is_link = |pin: &fs::DirEntry| pin.file_name().as_encoded_bytes().starts_with(b"link_");
    if let Some(link) = left.flatten().find(is_link) {
        problems.push(format!("hooked still: {link:?}"));
    }
    // It is said once: the next one takes over what has watched since.
    let next = end(options, ground.start(options, &[])?)?;
    let since = next.records.first().map(|record| &record["tracing_since"]);
    if since.is_none_or(Value::is_null) {
        problems.push(format!("the next one watched since {since:?}"));
    }
    let since = finished
        .records
        .first()
        .map(|record| &record["tracing_since"]);
    if since.is_none_or(|since| !since.is_null()) {
        problems.push(format!("watched since {since:?}"));
    }
    if !finished
        .records
        .iter()
        .any(|record| record["type"] == "gap")
    {
        problems.push("no gap is told".to_owned());
    }
    Ok(problems)
}

/// Programs whose records cannot be read: what they have seen is saved for those who can.
fn other_version(options: &Options) -> Result<Vec<String>> {
    let ground = Ground::new("restart-version")?;
    kill(options, ground.start(options, &[])?)?;
    let report = fixture::run(options, "app-kill", &[])?;
    let set = ground.pins.only_set()?;
    let name = set.file_name().and_then(|name| name.to_str());
    // By its name it is another version's.
    let (version, rest) = name
        .and_then(|name| name.split_once('-'))
        .context("a version")?;
    let version = version.trim_start_matches('v').parse()?;
    fs::rename(&set, set.with_file_name(format!("v1-{rest}")))?;
    let tracer = ground.start(options, &[])?;
    let finished = end(options, tracer)?;
    let mut problems = finished.problems();
    let saved = format!("{}.v1.rec", ground.place.store());
    let gap = finished.records.iter().find(|record| is_stretch(record));
    let why = gap.and_then(|gap| gap["why"].as_str()).unwrap_or_default();
    problems.extend(lacks(
        "the gap",
        &[why.to_owned()],
        &["another version", &saved],
    ));
    let left = ground.pins.sets();
    if left.len() != 1 || left.iter().any(|left| left.starts_with("v1-")) {
        problems.push(format!("it is still there: {left:?}"));
    }
    problems.extend(replays(options, Path::new(&saved), version, &report)?);
    Ok(problems)
}

/// What was saved is a recording, of the version that it says.
fn replays(
    options: &Options,
    saved: &Path,
    version: u8,
    report: &oomtrace_fixtures::Report,
) -> Result<Vec<String>> {
    let name = saved.to_string_lossy().into_owned();
    let refused = ask(options, &["replay", &name])?;
    let mut problems = lacks("replay", &refused.stderr, &["has version 1"]);
    // It is this version's but for its name: then it can be read here.
    let mut bytes = fs::read(saved)?;
    let own = bytes.get_mut(8).context("a version")?;
    *own = version;
    fs::write(saved, bytes)?;
    let told = ask(options, &["replay", "--output", "json", &name])?;
    for victim in report.victims() {
        let word = format!("\"pid\":{},", victim.pid);
        problems.extend(lacks("the replay", &told.stdout, &[&word]));
    }
    Ok(problems)
}
