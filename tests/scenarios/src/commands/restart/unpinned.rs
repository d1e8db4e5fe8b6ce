//! Tracers that follow one another without pins.

use std::{
    fs::{self, File},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::ground::{end, is_stretch, kill, once, stored};
use crate::{
    cli::Options,
    commands::{
        Skipped,
        history::{Place, ask, start_with},
        lacks,
    },
    death, fixture,
    output::detail,
};

/// Without pins nobody watches in between: that is said, and what others know of it.
pub(super) fn unpinned(options: &Options) -> Result<Vec<String>> {
    let place = Place::new("restart-unpinned")?;
    let store = place.store();
    let first = end(options, start_with(options, &store, &[])?)?;
    let mut problems = first.problems();
    let report = fixture::run(options, "cgroup-oom", &[])?;
    if let Some(reason) = report.skipped {
        bail!(Skipped(reason));
    }
    let victim = report.victim.as_ref().context("a victim")?.pid;
    let finished = end(options, start_with(options, &store, &[])?)?;
    problems.extend(finished.problems());
    let started = finished.records.first().context("a record")?;
    let gaps: Vec<&Value> = finished
        .records
        .iter()
        .filter(|record| is_stretch(record))
        .collect();
    let [gap] = gaps.as_slice() else {
        problems.push(format!("one gap is wanted: {gaps:?}"));
        return Ok(problems);
    };
    if gap["lost"] != 0 || gap["certain"] != false || gap["to"] != started["time"] {
        problems.push(format!("the gap: {gap}"));
    }
    let no_log = started["absent"].to_string().contains("/dev/kmsg");
    let logged = gap["inferred"].as_array().is_some_and(|kills| {
        kills.iter().any(|kill| {
            kill["pid"] == victim
                && kill["code"] == "oom_kill_logged"
                && kill["text"]
                    .as_str()
                    .is_some_and(|text| text.starts_with("inferred, not seen"))
        })
    });
    if !logged && !no_log {
        problems.push(format!("the kernel's log names {victim}: {gap}"));
    }
    if !death::of(&finished.records, victim).is_empty() {
        problems.push("a death that nobody saw is told as one".to_owned());
    }
    // Who asks for the victim is told, and who looks at all.
    if logged {
        let target = format!("pid:{victim}");
        let why = ask(options, &["why", &target, "--store", &store])?;
        let words = [
            "nobody traced from",
            "inferred, not seen",
            &victim.to_string(),
        ];
        problems.extend(lacks("why", &why.stderr, &words));
    }
    // A third one has nothing to say of the same stretch.
    let third = end(options, start_with(options, &store, &[])?)?;
    let again = third.records.iter().any(|record| {
        record["type"] == "gap"
            && record["inferred"]
                .to_string()
                .contains(&format!(":{victim},"))
    });
    if again {
        problems.push(format!("it is told twice: {:?}", third.records));
    }
    Ok(problems)
}

/// A tracer without pins that is killed: what it had taken is in the journal.
pub(super) fn journal_alone(options: &Options) -> Result<Vec<String>> {
    let place = Place::new("restart-journal")?;
    let store = place.store();
    let tracer = start_with(options, &store, &[])?;
    // It dies between the record and the store, if at all that soon.
    let report = fixture::run(options, "app-kill", &[])?;
    let pids: Vec<i32> = report.victims().map(|victim| victim.pid).collect();
    let told = |records: &[Value]| pids.iter().all(|pid| !death::of(records, *pid).is_empty());
    if !tracer.wait_for(0, options.record_limit(), told) {
        bail!("no death of {pids:?}");
    }
    kill(options, tracer)?;
    let finished = end(options, start_with(options, &store, &[])?)?;
    let mut problems = finished.problems();
    let stored = stored(options, &store)?;
    problems.extend(once(&stored, &pids, "app_kill"));
    Ok(problems)
}

/// The node goes down with a tracer that has stored nothing yet: what its journal holds is told as
/// that boot's.
pub(super) fn other_boot(options: &Options) -> Result<Vec<String>> {
    const OTHER: &str = "00000000-1111-2222-3333-444444444444";
    let place = Place::new("restart-boot")?;
    let store = place.store();
    // Another one writes to the store for as long as this one is there.
    let lock = File::create(format!("{store}.lock"))?;
    lock.lock()?;
    let tracer = start_with(options, &store, &[])?;
    let report = fixture::run(options, "app-kill", &[])?;
    let pids: Vec<i32> = report.victims().map(|victim| victim.pid).collect();
    // What is still in the ring goes down with the node.
    let told = |records: &[Value]| pids.iter().all(|pid| !death::of(records, *pid).is_empty());
    if !tracer.wait_for(0, options.record_limit(), told) {
        bail!("no death of {pids:?}");
    }
    kill(options, tracer)?;
    drop(lock);
    // By its journal it was another one.
    let journal = format!("{store}.events");
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let boot_id = boot_id.trim();
    let mut bytes = fs::read(&journal)?;
    for at in 0..bytes.len().saturating_sub(boot_id.len()) {
        let here = bytes.get_mut(at..at + boot_id.len()).context("a place")?;
        if here == boot_id.as_bytes() {
            here.copy_from_slice(OTHER.as_bytes());
        }
    }
    fs::write(&journal, bytes)?;
    let finished = end(options, start_with(options, &store, &[])?)?;
    let mut problems = finished.problems();
    let stored = stored(options, &store)?;
    problems.extend(once(&stored, &pids, "app_kill"));
    if finished.records.iter().any(is_stretch) {
        problems.push("the time between boots is told as a gap".to_owned());
    }
    Ok(problems)
}

/// More kills than the kernel's log names (`oom_kill_process` of mm/oom_kill.c: ten in five
/// seconds) in a cgroup that is still there: its own count tells of the rest.
pub(super) fn counted(options: &Options) -> Result<Vec<String>> {
    const KILLS: u64 = 14;
    let Some(cgroup) = Starving::make() else {
        bail!(Skipped("no memory controller is mounted here".into()));
    };
    let place = Place::new("restart-counted")?;
    let store = place.store();
    let first = start_with(options, &store, &[])?;
    let seen = cgroup.starve()?;
    let told = |records: &[Value]| !death::of(records, seen).is_empty();
    if !first.wait_for(0, options.record_limit(), told) {
        bail!("no death of {seen}");
    }
    let mut problems = end(options, first)?.problems();
    for _ in 0..KILLS {
        cgroup.starve()?;
    }
    let second = end(options, start_with(options, &store, &[])?)?;
    problems.extend(second.problems());
    let kills: Vec<&Value> = second
        .records
        .iter()
        .filter(|record| record["type"] == "gap")
        .filter_map(|gap| gap["inferred"].as_array())
        .flatten()
        .filter(|kill| {
            let path = kill["cgroup"].as_str().unwrap_or_default();
            path.ends_with(&cgroup.name)
        })
        .collect();
    let sum: u64 = kills.iter().filter_map(|kill| kill["kills"].as_u64()).sum();
    if sum != KILLS {
        problems.push(format!("{sum} of {KILLS} kills are inferred: {kills:?}"));
    }
    // A slow machine kills so seldom that the log names all.
    let named = kills
        .iter()
        .filter(|kill| kill["code"] == "oom_kill_logged")
        .count();
    detail(format_args!("{named} of {sum} kills are named in the log"));
    Ok(problems)
}

/// A memory cgroup with little room. It goes with this.
struct Starving {
    folder: PathBuf,
    name: String,
}

impl Starving {
    fn make() -> Option<Self> {
        const LIMIT: &str = "8388608";
        // On v2 those below have the controller only if it is handed down.
        let _ = fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
        let name = format!("oomtrace-starving-{}", std::process::id());
        for (top, limit) in [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ] {
            let folder = Path::new(top).join(&name);
            if !Path::new(top).join("cgroup.procs").exists() || fs::create_dir(&folder).is_err() {
                continue;
            }
            let made = Self {
                folder,
                name: name.clone(),
            };
            if fs::write(made.folder.join(limit), LIMIT).is_ok() {
                return Some(made);
            }
        }
        None
    }

    /// Has a process take more than there is; returns who that was.
    fn starve(&self) -> Result<i32> {
        let procs = self.folder.join("cgroup.procs");
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ >\"$1\" && exec tail /dev/zero", "sh"]);
        let mut child = command
            .arg(procs)
            .stderr(Stdio::null())
            .spawn()
            .context("sh")?;
        let pid = child.id() as i32;
        let status = child.wait()?;
        if status.signal() != Some(libc::SIGKILL) {
            bail!("it ended with {status}");
        }
        Ok(pid)
    }
}

impl Drop for Starving {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.folder);
    }
}
