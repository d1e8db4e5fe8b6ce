//! Tracers that follow one another: whether killed or ended, what dies meanwhile is told by the
//! next one, once; and where nobody could watch, that is said.

use std::{
    ffi::CString,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

use super::{
    Case, Skipped,
    history::{Place, ask, start_with},
    lacks,
    watch::{Numbers, sender, storm},
};
use crate::{
    cli::Options,
    death, fixture,
    output::detail,
    tracer::{Finished, Tracer},
};

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
        name: "restart-other-version",
        run: other_version,
    },
    Case {
        name: "restart-unpinned",
        run: unpinned,
    },
    Case {
        name: "restart-journal-alone",
        run: journal_alone,
    },
    Case {
        name: "pins-taken",
        run: taken,
    },
    Case {
        name: "pins-nowhere",
        run: nowhere,
    },
    Case {
        name: "pins-detached",
        run: detached,
    },
];

/// While nobody reads, the ring must have room for what happens.
const PAUSE: Duration = Duration::from_millis(200);

/// A BPF file system of its own. With it all that is pinned goes.
struct Pins(PathBuf);

impl Pins {
    fn mount(place: &Place) -> Result<Self> {
        let top = place.path().join("bpf");
        fs::create_dir_all(&top)?;
        let path = CString::new(top.as_os_str().as_bytes())?;
        // SAFETY: all strings end with their NUL, and no data is passed.
        let failed = unsafe {
            libc::mount(
                c"bpf".as_ptr(),
                path.as_ptr(),
                c"bpf".as_ptr(),
                0,
                std::ptr::null(),
            )
        } != 0;
        if failed {
            bail!(Skipped(format!(
                "no BPF file system can be mounted: {}",
                std::io::Error::last_os_error()
            )));
        }
        Ok(Self(top))
    }

    /// Where tracers pin.
    fn folder(&self) -> PathBuf {
        self.0.join("oomtrace")
    }

    fn name(&self) -> String {
        self.folder().to_string_lossy().into_owned()
    }

    /// The sets of programs that are there.
    fn sets(&self) -> Vec<String> {
        let names = fs::read_dir(self.folder()).into_iter().flatten().flatten();
        let mut names: Vec<String> = names
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if let Ok(path) = CString::new(self.0.as_os_str().as_bytes()) {
            // SAFETY: the path ends with its NUL.
            unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
        }
    }
}

/// A store and a place for pins. Dropped in this order: the mount goes before its folder.
struct Ground {
    pins: Pins,
    place: Place,
}

impl Ground {
    fn new(name: &str) -> Result<Self> {
        let place = Place::new(name)?;
        Ok(Self {
            pins: Pins::mount(&place)?,
            place,
        })
    }

    fn start(&self, options: &Options, args: &[&str]) -> Result<Tracer> {
        let name = self.pins.name();
        let args = [&["--pin", &name], args].concat();
        start_with(options, &self.place.store(), &args)
    }

    /// All that is stored.
    fn stored(&self, options: &Options) -> Result<Vec<Value>> {
        let store = self.place.store();
        let args = ["list", "--all", "--store", &store, "--output", "json"];
        let listed = ask(options, &args)?;
        let read = |line: &String| serde_json::from_str(line).with_context(|| format!("{listed}"));
        listed.stdout.iter().map(read).collect()
    }
}

/// Ends a tracer as nobody should.
fn kill(options: &Options, tracer: Tracer) -> Result<()> {
    tracer.signal(libc::SIGKILL);
    tracer.wait(options.program_limit()).map(drop)
}

fn end(options: &Options, tracer: Tracer) -> Result<Finished> {
    tracer.signal(libc::SIGTERM);
    tracer.wait(options.program_limit())
}

/// Each death of these victims, once, and of this cause.
fn once(deaths: &[Value], pids: &[i32], cause: &str) -> Vec<String> {
    let of = |pid: &i32| {
        deaths
            .iter()
            .filter(|death| death["victim"]["pid"] == *pid)
            .collect::<Vec<_>>()
    };
    pids.iter()
        .filter_map(|pid| match of(pid).as_slice() {
            [death] if death["cause"] == cause && death["outcome"].is_object() => None,
            found => Some(format!(
                "{cause} of {pid}: {} deaths are stored: {found:?}",
                found.len()
            )),
        })
        .collect()
}

fn no_losses(finished: &Finished) -> Vec<String> {
    let lost = |record: &&Value| record["type"] == "gap";
    let gaps = finished.records.iter().filter(lost);
    gaps.map(|gap| format!("something was missed: {gap}"))
        .collect()
}

/// The tracer is killed again and again while processes die as fast as they can.
fn in_a_storm(options: &Options) -> Result<Vec<String>> {
    const COUNT: usize = 6000;
    const RESTARTS: usize = 4;
    let ground = Ground::new("restart-storm")?;
    let mut problems = Vec::new();
    let mut tracer = ground.start(options, &[])?;
    let report = thread::scope(|scope| -> Result<_> {
        let number = COUNT.to_string();
        let storm = scope.spawn(move || storm(options, "storm", &["--count", &number]));
        for _ in 0..RESTARTS {
            thread::sleep(PAUSE);
            tracer.signal(libc::SIGKILL);
            thread::sleep(PAUSE / 2);
            let next = ground.start(options, &[])?;
            std::mem::replace(&mut tracer, next).wait(options.program_limit())?;
        }
        storm.join().map_err(|_| anyhow!("the storm panicked"))?
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
    let ground = Ground::new("restart-hand-over")?;
    let tracer = ground.start(options, &[])?;
    let before = ground.pins.sets();
    let victim = Ignoring::start()?;
    victim.signal(libc::SIGTERM);
    kill(options, tracer)?;
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
    let mut left = ground.pins.sets();
    for _ in 0..50 {
        if left.len() == 1 {
            break;
        }
        thread::sleep(PAUSE);
        left = ground.pins.sets();
    }
    if left.len() != 1 || left == before {
        problems.push(format!("there was {before:?}, and now {left:?}"));
    }
    let finished = end(options, tracer)?;
    problems.extend(finished.problems());
    problems.extend(no_losses(&finished));
    let stored = ground.stored(options)?;
    problems.extend(once(&stored, &pids, "app_kill"));
    problems.extend(once(&stored, &[pid], "stop_timeout"));
    Ok(problems)
}

/// Programs whose records cannot be read: what they have seen is saved for those who can.
fn other_version(options: &Options) -> Result<Vec<String>> {
    let ground = Ground::new("restart-version")?;
    kill(options, ground.start(options, &[])?)?;
    let report = fixture::run(options, "app-kill", &[])?;
    let sets = ground.pins.sets();
    let [set] = sets.as_slice() else {
        bail!("one set of programs: {sets:?}");
    };
    // By its name it is another version's.
    let (version, rest) = set.split_once('-').context("a version")?;
    let version = version.trim_start_matches('v').parse()?;
    let folder = ground.pins.folder();
    fs::rename(folder.join(set), folder.join(format!("v1-{rest}")))?;
    let tracer = ground.start(options, &[])?;
    let finished = end(options, tracer)?;
    let mut problems = finished.problems();
    let saved = format!("{}.v1.rec", ground.place.store());
    let gap = finished
        .records
        .iter()
        .find(|record| record["type"] == "gap");
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

/// Without pins nobody watches in between: that is said, and what others know of it.
fn unpinned(options: &Options) -> Result<Vec<String>> {
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
        .filter(|record| record["type"] == "gap")
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
fn journal_alone(options: &Options) -> Result<Vec<String>> {
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
    let args = ["list", "--all", "--store", &store, "--output", "json"];
    let listed = ask(options, &args)?;
    let stored: Vec<Value> = listed
        .stdout
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    problems.extend(once(&stored, &pids, "app_kill"));
    Ok(problems)
}

/// A second tracer on the same pins works without.
fn taken(options: &Options) -> Result<Vec<String>> {
    let ground = Ground::new("pins-taken")?;
    let first = ground.start(options, &[])?;
    let other = Place::new("pins-taken-2")?;
    let name = ground.pins.name();
    let second = start_with(options, &other.store(), &["--pin", &name])?;
    let report = fixture::run(options, "self-kill", &[])?;
    let pid = report.victim.as_ref().context("a victim")?.pid;
    let told = |records: &[Value]| !death::of(records, pid).is_empty();
    let mut problems = Vec::new();
    for (who, tracer) in [("first", &first), ("second", &second)] {
        if !tracer.wait_for(0, options.record_limit(), told) {
            problems.push(format!("the {who} tracer does not tell it"));
        }
    }
    let finished = end(options, second)?;
    problems.extend(finished.problems());
    let said = ["another oomtrace has the pins", "stop that one first"];
    problems.extend(lacks("the second", &finished.ended.stderr, &said));
    let detach = ask(options, &["detach", &name])?;
    if detach.status.code() != Some(1) {
        problems.push(format!("detach under a tracer: {detach}"));
    }
    problems.extend(lacks("detach", &detach.stderr, &said));
    problems.extend(end(options, first)?.problems());
    Ok(problems)
}

/// Where nothing can be pinned it is traced all the same.
fn nowhere(options: &Options) -> Result<Vec<String>> {
    let place = Place::new("pins-nowhere")?;
    let folder = place.path().join("pins");
    let name = folder.to_string_lossy().into_owned();
    let tracer = start_with(options, &place.store(), &["--pin", &name])?;
    let report = fixture::run(options, "self-kill", &[])?;
    let finished = end(options, tracer)?;
    let mut problems = finished.problems();
    let words = ["is not in a BPF file system", "mount -t bpf"];
    problems.extend(lacks("the tracer", &finished.ended.stderr, &words));
    let absent = finished
        .records
        .first()
        .map(|started| started["absent"].to_string());
    problems.extend(lacks("absent", &[absent.unwrap_or_default()], &["--pin"]));
    if finished
        .records
        .last()
        .is_some_and(|stopped| stopped["pinned"] == true)
    {
        problems.push("its programs stay nowhere".to_owned());
    }
    let pid = report.victim.as_ref().context("a victim")?.pid;
    if death::of(&finished.records, pid).is_empty() {
        problems.push("it did not trace".to_owned());
    }
    let scoped = ask(options, &["run", "--pin", "--scope", "pod:a/b"])?;
    if scoped.status.code() != Some(2) {
        problems.push(format!("--pin with --scope: {scoped}"));
    }
    Ok(problems)
}

/// Nothing stays when it is told to go.
fn detached(options: &Options) -> Result<Vec<String>> {
    let ground = Ground::new("pins-detached")?;
    let name = ground.pins.name();
    let mut problems = end(options, ground.start(options, &[])?)?.problems();
    fixture::run(options, "self-kill", &[])?;
    for (what, words) in [
        (
            "detach",
            &["is detached and removed", "nobody had read"][..],
        ),
        ("detach again", &["nothing is pinned"]),
    ] {
        let detach = ask(options, &["detach", &name])?;
        if detach.status.code() != Some(0) {
            problems.push(format!("{what}: {detach}"));
        }
        problems.extend(lacks(what, &detach.stdout, words));
        if ground.pins.folder().exists() {
            problems.push(format!("{what}: {:?} is left", ground.pins.sets()));
        }
    }
    Ok(problems)
}

/// A process that ignores SIGTERM.
struct Ignoring(std::process::Child);

impl Ignoring {
    fn start() -> Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let mut command = std::process::Command::new("sleep");
        command.arg("1000");
        // SAFETY: signal(2) may be called between fork and exec, and is inherited as it is set.
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGTERM, libc::SIG_IGN);
                Ok(())
            });
        }
        let child = command.spawn().context("sleep")?;
        Ok(Self(child))
    }

    fn signal(&self, signal: i32) {
        // SAFETY: kill(2) takes numbers only; the child is not reaped yet.
        unsafe { libc::kill(self.0.id() as i32, signal) };
    }

    /// Returns whom it was.
    fn kill(mut self) -> i32 {
        let _ = self.0.kill();
        let _ = self.0.wait();
        self.0.id() as i32
    }
}
