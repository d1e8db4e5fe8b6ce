//! As many deaths as there are in an hour with one each second, in a minute and a half: nothing
//! is lost, all is stored once and counted, and the tracer holds no more at the end than before.

use std::{
    collections::BTreeMap,
    fmt, fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    Case,
    history::{Place, ask},
    listen::{free_address, get, within},
    storm::lost_nothing,
    watch::{Numbers, STORM_LIMIT, Seen, Watch, sender, storm},
};
use crate::{cli::Options, fixture, output::detail};

pub(crate) const CASES: &[Case] = &[Case {
    name: "soak",
    run: soak,
}];

/// 150 times 23 kills and an OOM kill: 3600 deaths, which is one each second for an hour. Busy
/// nodes have fewer.
const ROUNDS: usize = 150;
const KILLS: usize = 23;
/// From one round to the next. The kernel's log tells of two OOM kills a second at the most.
const ROUND: Duration = Duration::from_millis(500);
/// On a machine that is slower than that there are fewer rounds.
const KILLING: Duration = Duration::from_secs(85);
/// Caches have filled by then.
const WARM: usize = ROUNDS / 3;
/// What is known of a cgroup is held for half a minute after it went.
const SETTLED: Duration = Duration::from_secs(40);
/// As many descriptors as at the start, but for what comes and goes.
const SAME_FILES: u64 = 2;

/// So much more may be held at the end than when all was warm: less than 1 KiB a death. What is
/// remembered of those that are gone is bounded in number, and by ten minutes.
const MORE_KIB: u64 = 2048;
/// A descriptor a death, or an OOM kill, would be many more.
const MORE_FILES: u64 = 16;
/// Those that read files for the one that asks container runtimes come and go.
const MORE_THREADS: u64 = 4;

/// What the tracer holds, from proc(5).
#[derive(Clone, Copy, Debug)]
struct Held {
    anonymous_kib: u64,
    files: u64,
    threads: u64,
}

impl Held {
    fn by(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            number.with_context(|| format!("{name} in status"))
        };
        Ok(Self {
            anonymous_kib: field("RssAnon:")?,
            files: fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64,
            threads: field("Threads:")?,
        })
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} KiB RssAnon, {} descriptors, {} threads",
            self.anonymous_kib, self.files, self.threads
        )
    }
}

/// Who was killed.
#[derive(Debug, Default)]
struct Killed {
    by_others: Vec<i32>,
    senders: Vec<i32>,
    by_oom: Vec<i32>,
}

impl Killed {
    fn kill(&mut self, options: &Options) -> Result<()> {
        let report = storm(options, "storm", &["--count", &KILLS.to_string()])?;
        self.senders.push(sender(&report)?);
        self.by_others.extend(report.killed_pids());
        Ok(())
    }

    fn run_out_of_memory(&mut self, options: &Options) -> Result<()> {
        let report = fixture::run_within(options, "cgroup-oom", &[], STORM_LIMIT)?;
        if let Some(reason) = report.skipped {
            return Err(super::Skipped(reason).into());
        }
        self.by_oom
            .extend(report.victims().map(|victim| victim.pid));
        Ok(())
    }

    fn count(&self) -> usize {
        self.by_others.len() + self.by_oom.len()
    }

    /// What is missing among the deaths, or told twice.
    fn differ(&self, deaths: &BTreeMap<String, Seen>) -> Vec<String> {
        let of_others = deaths.values().filter(|death| {
            let by = death.sender.as_ref().map(|sender| sender.pid);
            death.cause == "app_kill" && by.is_some_and(|by| self.senders.contains(&by))
        });
        let of_oom = deaths
            .values()
            .filter(|death| death.cause == "cgroup_oom" && self.by_oom.contains(&death.victim.pid));
        let pids = |deaths: Vec<&Seen>| Numbers::of(deaths.iter().map(|death| death.victim.pid));
        let others = Numbers::of(self.by_others.iter().copied());
        let oom = Numbers::of(self.by_oom.iter().copied());
        let mut problems = others.differ(&pids(of_others.collect()));
        problems.extend(oom.differ(&pids(of_oom.collect())));
        problems
    }
}

/// The last revision of each death.
fn last_revisions(seen: &[Seen]) -> BTreeMap<String, Seen> {
    let deaths = seen.iter().filter(|seen| seen.kind == "death");
    deaths
        .map(|death| (death.id.clone(), death.clone()))
        .collect()
}

fn soak(options: &Options) -> Result<Vec<String>> {
    let place = Place::new("soak")?;
    let at = free_address()?;
    let store = place.store();
    let listen = format!("--listen={at}");
    let watch = Watch::start_as(options, &["--store", &store, &listen])?;
    let page = || get(at, "/metrics").unwrap_or_default();
    let mut killed = Killed::default();
    let began = Instant::now();
    killed.kill(options)?;
    // With the store open, and nothing yet that is held for a while.
    let stored = || sum(&page(), "oomtrace_store_deaths_total", "") >= KILLS as u64;
    within(options.record_limit(), stored);
    let first = Held::by(watch.id())?;
    let mut warm = first;
    let mut rounds = 0;
    while rounds < ROUNDS && began.elapsed() < KILLING {
        let next = Instant::now() + ROUND;
        if rounds > 0 {
            killed.kill(options)?;
        }
        killed.run_out_of_memory(options)?;
        // Prometheus comes by.
        page();
        rounds += 1;
        if rounds == WARM {
            warm = Held::by(watch.id())?;
        }
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let took = began.elapsed();
    let all_there = watch.wait_until(STORM_LIMIT, |seen| {
        let first = |seen: &&Seen| seen.kind == "death" && seen.revision == 1;
        seen.iter().any(Seen::is_loss) || seen.iter().filter(first).count() >= killed.count()
    });
    let last = Held::by(watch.id())?;
    let is_settled = |held: Held| held.files <= first.files + SAME_FILES;
    within(SETTLED, || Held::by(watch.id()).is_ok_and(is_settled));
    let after = Held::by(watch.id())?;
    let mut miscounted = Vec::new();
    within(options.record_limit(), || {
        // What is told is stored and counted a little later.
        let told = last_revisions(&watch.seen());
        miscounted = metrics_differ(&page(), &told);
        miscounted.is_empty()
    });
    let (seen, mut problems) = watch.finish(options)?;
    let deaths = last_revisions(&seen);
    if !all_there {
        problems.push("not all deaths arrived".to_owned());
    }
    problems.extend(killed.differ(&deaths));
    problems.extend(lost_nothing(&seen));
    problems.extend(stored_once(options, &store, &deaths)?);
    problems.extend(miscounted);
    if rounds > WARM {
        problems.extend(has_grown(
            "RssAnon, KiB",
            warm.anonymous_kib,
            last.anonymous_kib,
            MORE_KIB,
        ));
    }
    problems.extend(has_grown(
        "descriptors",
        first.files,
        after.files,
        MORE_FILES,
    ));
    problems.extend(has_grown(
        "threads",
        first.threads,
        after.threads,
        MORE_THREADS,
    ));
    detail(format_args!(
        "{} deaths, {} of them OOM kills, in {:.0} s; {} told in all, {} lost",
        killed.count(),
        killed.by_oom.len(),
        took.as_secs_f32(),
        deaths.len(),
        seen.last().map_or(0, |stopped| stopped.lost),
    ));
    for (when, held) in [
        ("first", first),
        ("warm", warm),
        ("last", last),
        ("after", after),
    ] {
        detail(format_args!("{when}: {held}"));
    }
    Ok(problems)
}

fn has_grown(what: &str, before: u64, after: u64, most: u64) -> Option<String> {
    let has = after > before + most;
    has.then(|| format!("{what}: {before} before, {after} at the end"))
}

/// Each death that was told is stored, as it was told last, and once.
fn stored_once(
    options: &Options,
    store: &str,
    deaths: &BTreeMap<String, Seen>,
) -> Result<Vec<String>> {
    let args = [
        "list", "--all", "--limit", "0", "--store", store, "--output", "json",
    ];
    let listed = ask(options, &args)?;
    let mut stored: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for line in &listed.stdout {
        let death: Seen = serde_json::from_str(line).with_context(|| line.clone())?;
        stored.entry(death.id).or_default().push(death.revision);
    }
    let is_wrong = |(id, death): &(&String, &Seen)| {
        stored
            .get(*id)
            .is_none_or(|revisions| *revisions != [death.revision])
    };
    let wrong: Vec<&String> = deaths.iter().filter(is_wrong).map(|(id, _)| id).collect();
    let mut problems = Vec::new();
    if let Some(id) = wrong.first() {
        let count = wrong.len();
        let as_what = stored.get(*id);
        problems.push(format!("{count} are not stored once: {id} as {as_what:?}"));
    }
    if let Some(id) = stored.keys().find(|id| !deaths.contains_key(*id)) {
        problems.push(format!("stored, and not told: {id}"));
    }
    Ok(problems)
}

/// The sum of a metric's samples; `with`: those that have this among their labels.
fn sum(page: &str, metric: &str, with: &str) -> u64 {
    let of_it = |line: &&str| {
        let rest = line.strip_prefix(metric);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(with))
    };
    let value = |line: &str| line.rsplit(' ').next()?.parse::<u64>().ok();
    page.lines().filter(of_it).filter_map(value).sum()
}

/// Metrics count what was told, and nothing of it twice.
fn metrics_differ(page: &str, deaths: &BTreeMap<String, Seen>) -> Vec<String> {
    let told = |is_counted: &dyn Fn(&Seen) -> bool| {
        let counted = deaths.values().filter(|death| {
            let is_helper = death.victim.role.as_deref() == Some("runtime_helper");
            !is_helper && is_counted(death)
        });
        counted.count() as u64
    };
    let mut rows = vec![
        ("oomtrace_events_lost_total", "", 0),
        ("oomtrace_store_dropped_total", "", 0),
        ("oomtrace_store_errors_total", "", 0),
        ("oomtrace_store_deaths_total", "", deaths.len() as u64),
    ];
    for cause in ["app_kill", "cgroup_oom"] {
        let count = told(&|death| death.cause == cause);
        rows.push(("oomtrace_deaths_total", cause, count));
    }
    let is_chosen = told(&|death| death.cause == "cgroup_oom" && death.oom_role() == "chosen");
    rows.push(("oomtrace_ooms_total", "cgroup_oom", is_chosen));
    let differs = |(metric, cause, told): (&str, &str, u64)| {
        let counted = sum(page, metric, cause);
        (counted != told).then(|| format!("{metric} {cause}: {counted}, and not {told}"))
    };
    rows.into_iter().filter_map(differs).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::watch::SeenProcess, *};

    #[test]
    fn samples_are_added_up_by_metric_and_label() {
        let page = "# HELP a_total a\na_total{cause=\"x\",n=\"1\"} 2\na_total{cause=\"y\"} 3\n\
                    a_total{cause=\"x\"} 4\na_total_more 9\nb_total 5\n";
        assert_eq!(sum(page, "a_total", ""), 9);
        assert_eq!(sum(page, "a_total", "x"), 6);
        assert_eq!(sum(page, "b_total", ""), 5);
        assert_eq!(sum(page, "c_total", ""), 0);
    }

    #[test]
    fn what_has_grown_is_said() {
        assert_eq!(has_grown("x", 5, 9, 4), None);
        assert_eq!(has_grown("x", 5, 1, 4), None);
        assert!(has_grown("x", 5, 10, 4).is_some_and(|text| text.contains("10")));
    }

    #[test]
    fn a_death_that_lacks_or_is_told_twice_differs() {
        let killed = Killed {
            by_others: vec![7, 8],
            senders: vec![3],
            by_oom: vec![9],
        };
        let death = |id: &str, cause: &str, pid, sender| {
            let seen = Seen {
                kind: "death".to_owned(),
                id: id.to_owned(),
                cause: cause.to_owned(),
                victim: SeenProcess {
                    pid,
                    ..SeenProcess::default()
                },
                sender: Some(SeenProcess {
                    pid: sender,
                    ..SeenProcess::default()
                }),
                ..Seen::default()
            };
            (id.to_owned(), seen)
        };
        let mut deaths = BTreeMap::from([
            death("a", "app_kill", 7, 3),
            death("b", "app_kill", 8, 3),
            death("c", "cgroup_oom", 9, 9),
            death("d", "app_kill", 10, 4),
        ]);
        assert_eq!(killed.differ(&deaths), Vec::<String>::new());
        deaths.extend([death("e", "app_kill", 8, 3)]);
        assert_eq!(killed.differ(&deaths).len(), 1);
        deaths.remove("c");
        assert_eq!(killed.differ(&deaths).len(), 2);
    }
}
