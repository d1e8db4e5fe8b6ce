//! One pass: the tracer with one hook tier, all scenarios under it, and its end.

use std::fs;

use anyhow::Result;
use oomtrace_fixtures::{Process, Report};
use serde_json::Value;

use crate::{
    check::{self, Differences, Slack},
    cli::Options,
    death, fixture,
    output::{detail, say},
    scenarios::{Expect, Scenario},
    tally::{Outcome, Tally},
    tracer::{Start, Tracer},
};

pub(crate) fn run(options: &Options, hooks: &str, scenarios: &[&Scenario], tally: &mut Tally) {
    let (tracer, started) = match start(options, hooks) {
        Ok(Start::Running(tracer, started)) => (tracer, started),
        Ok(Start::Lacking(reason)) => {
            let outcome = if options.require_hooks {
                Outcome::Failed(reason)
            } else {
                Outcome::Skipped(reason)
            };
            tally.case(format_args!("started@{hooks}"), &outcome);
            return;
        }
        Err(error) => {
            let outcome = Outcome::Failed(format!("{error:#}"));
            tally.case(format_args!("started@{hooks}"), &outcome);
            return;
        }
    };
    say(format_args!("[{hooks}] {started}"));
    let differences = check_started(&started, hooks);
    tally.case(format_args!("started@{hooks}"), &outcome_of(&differences));

    let mut quiet = Vec::new();
    for scenario in scenarios {
        let outcome = match run_scenario(options, &tracer, scenario, &mut quiet) {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed(format!("{error:#}")),
        };
        tally.case(format_args!("{}@{hooks}", scenario.name), &outcome);
    }

    let outcome = match stop(options, tracer, &quiet) {
        Ok(problems) => outcome_of(&problems),
        Err(error) => Outcome::Failed(format!("{error:#}")),
    };
    tally.case(format_args!("stopped@{hooks}"), &outcome);
}

fn start(options: &Options, hooks: &str) -> Result<Start> {
    let record = match &options.record {
        Some(folder) => {
            fs::create_dir_all(folder)?;
            Some(folder.join(format!("{hooks}.rec")))
        }
        None => None,
    };
    Tracer::start(&options.tracer, hooks, record.as_deref())
}

fn check_started(started: &Value, hooks: &str) -> Vec<String> {
    let mut differences = Differences::default();
    differences.expect(started, "/schema", 1);
    if hooks == "auto" {
        differences.one_of(started, "/hooks/oom", &["fentry", "kprobe", "tracepoint"]);
    } else {
        differences.expect(started, "/hooks/oom", hooks);
    }
    for path in ["/version", "/kernel"] {
        if !started.pointer(path).is_some_and(Value::is_string) {
            differences.add(format!("{path} is not there"));
        }
    }
    differences.into_list()
}

/// Once, or until nothing is left out that needs its time.
fn run_scenario(
    options: &Options,
    tracer: &Tracer,
    scenario: &Scenario,
    quiet: &mut Vec<i32>,
) -> Result<Outcome> {
    const TRIES: usize = 3;
    let mut left_out = Vec::new();
    for _ in 0..TRIES {
        let mark = tracer.mark();
        let outcome = run_once(options, tracer, scenario, quiet)?;
        if !matches!(outcome, Outcome::Passed) {
            return Ok(outcome);
        }
        left_out = missing_in_time(scenario, &tracer.records(mark));
        if left_out.is_empty() {
            break;
        }
    }
    Ok(outcome_of(&left_out))
}

/// Of the fields that are there in time, those that no death has.
fn missing_in_time(scenario: &Scenario, records: &[Value]) -> Vec<String> {
    if scenario.in_time.is_empty() {
        return Vec::new();
    }
    let deaths = records.iter().filter(|record| record["type"] == "death");
    let lacking = deaths.map(|death| {
        let mut differences = Differences::default();
        check::check_fields(scenario.in_time, death, &mut differences);
        differences.into_list()
    });
    lacking.min_by_key(Vec::len).unwrap_or_default()
}

fn run_once(
    options: &Options,
    tracer: &Tracer,
    scenario: &Scenario,
    quiet: &mut Vec<i32>,
) -> Result<Outcome> {
    let mark = tracer.mark();
    let report = fixture::run(options, scenario.fixture, scenario.args)?;
    if let Some(reason) = report.skipped {
        return Ok(Outcome::Skipped(reason));
    }
    let differences = match &scenario.expect {
        Expect::Deaths { victims, others } => {
            check_all(options, tracer, mark, (victims, others.as_ref()), &report)
        }
        Expect::DeathIfKilled(victims) if was_killed(&report) => {
            check_all(options, tracer, mark, (victims, None), &report)
        }
        Expect::DeathIfKilled(_) | Expect::NoDeath => {
            quiet.extend(report.victims().map(|victim| victim.pid));
            check_silence(options, tracer, &report, mark)?
        }
    };
    if !differences.is_empty() {
        explain(&report, &tracer.records(mark), &differences);
    }
    Ok(outcome_of(&differences))
}

/// The deaths of the victims, and those of the others, if the row has any.
fn check_all(
    options: &Options,
    tracer: &Tracer,
    mark: usize,
    (victims, others): (&check::Death, Option<&check::Death>),
    report: &Report,
) -> Vec<String> {
    tracer.wait_for(mark, options.record_limit(), |records| {
        report
            .dead()
            .all(|victim| death::is_complete(&deaths_of(report, victim, records)))
    });
    let slack = Slack {
        ms: options.slack_ms(),
    };
    let records = tracer.records(mark);
    let mut differences = check_deaths(victims, report.victims(), report, &records, slack);
    if !died_of(report) {
        differences.push(format!("the victim ended with {:?}", report.status));
    }
    match others {
        Some(wanted) => {
            let others = check_deaths(wanted, report.others.iter(), report, &records, slack);
            differences.extend(others);
        }
        None if report.others.is_empty() => {}
        None => differences.push("others died, and the row does not say how".to_owned()),
    }
    differences
}

/// The deaths of one that died: by its pid, and by its comm too where two share a pid.
fn deaths_of<'a>(report: &Report, dead: &Process, records: &'a [Value]) -> Vec<&'a Value> {
    let sharing = |other: &&Process| other.pid == dead.pid;
    let is_shared = report.dead().filter(sharing).count() > 1;
    let mut deaths = death::of(records, dead.pid);
    deaths.retain(|death| !is_shared || death["victim"]["comm"] == dead.comm);
    deaths
}

/// Exactly one such death for each of those that died, and somebody did.
fn check_deaths<'a>(
    wanted: &check::Death,
    dead: impl Iterator<Item = &'a Process>,
    report: &Report,
    records: &[Value],
    slack: Slack,
) -> Vec<String> {
    let mut all = Vec::new();
    let mut dead = dead.peekable();
    if dead.peek().is_none() {
        all.push("the fixture does not name all that died".to_owned());
    }
    for victim in dead {
        let mut differences = Differences::default();
        let deaths = deaths_of(report, victim, records);
        let one = death::the_one(&deaths, &mut differences);
        all.extend(differences.into_list());
        match one {
            Some(record) => {
                let first = deaths.first().copied();
                all.extend(check::first_revision(wanted, first.unwrap_or(record)));
                all.extend(check::death(wanted, report, victim, record, slack));
            }
            None => all.push(format!("no death of pid {} arrived", victim.pid)),
        }
    }
    all.extend(death::links(records, &report.links));
    all
}

/// Whether the victim ended in a way that is always reported.
fn was_killed(report: &Report) -> bool {
    report
        .status
        .is_some_and(|status| status.signal == Some(libc::SIGKILL) || status.code == Some(137))
}

/// Whether the victim ended as the fixture was made for: by the signal that it sent,
/// or with the status 137.
fn died_of(report: &Report) -> bool {
    let Some(status) = report.status else {
        return false;
    };
    match report.signal {
        Some(_) => status.signal == report.signal,
        None => status.code == Some(137),
    }
}

/// A death that comes after the fixture's, and none of the fixture's: what was to say
/// about it would have been said.
fn check_silence(
    options: &Options,
    tracer: &Tracer,
    report: &Report,
    mark: usize,
) -> Result<Vec<String>> {
    let sentinel = fixture::run(options, "app-kill", &[])?;
    let arrived = tracer.wait_for(mark, options.record_limit(), |records| {
        sentinel
            .victims()
            .all(|victim| death::is_complete(&death::of(records, victim.pid)))
    });
    let mut differences = Vec::new();
    if was_killed(report) {
        differences.push(format!("the victim ended with {:?}", report.status));
    }
    if !arrived {
        differences.push("the death of the process killed next did not arrive".to_owned());
    }
    let records = tracer.records(mark);
    for victim in report.victims() {
        if !death::of(&records, victim.pid).is_empty() {
            differences.push(format!("a death of pid {} was reported", victim.pid));
        }
    }
    Ok(differences)
}

/// What is wrong with the whole of what the tracer said.
fn stop(options: &Options, tracer: Tracer, quiet: &[i32]) -> Result<Vec<String>> {
    tracer.signal(libc::SIGTERM);
    let finished = tracer.wait(options.program_limit())?;
    let mut problems = finished.problems();
    problems.extend(death::shared_ids(&finished.records));
    for pid in quiet {
        if !death::of(&finished.records, *pid).is_empty() {
            problems.push(format!("a death of pid {pid} was reported late"));
        }
    }
    Ok(problems)
}

fn explain(report: &Report, records: &[Value], differences: &[String]) {
    for difference in differences {
        detail(format_args!("differs: {difference}"));
    }
    detail(format_args!(
        "report: {}",
        serde_json::to_string(report).unwrap_or_default()
    ));
    for record in records {
        detail(format_args!("record: {record}"));
    }
}

fn outcome_of(problems: &[String]) -> Outcome {
    if problems.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Failed(problems.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use oomtrace_fixtures::Status;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_tier_must_be_the_one_asked_for() {
        let started = json!({"type": "started", "schema": 1, "version": "0.1.0",
                             "kernel": "6.18", "hooks": {"oom": "kprobe"}});
        assert_eq!(check_started(&started, "kprobe"), Vec::<String>::new());
        assert_eq!(check_started(&started, "auto"), Vec::<String>::new());
        assert_eq!(check_started(&started, "fentry").len(), 1);
    }

    #[test]
    fn a_fixture_must_have_died_as_it_should() {
        let status = |signal, code| Some(Status { signal, code });
        let mut report = Report {
            signal: Some(9),
            status: status(Some(9), None),
            ..Report::new("x")
        };
        assert!(died_of(&report));
        report.status = status(None, Some(0));
        assert!(!died_of(&report));
        report.signal = None;
        report.status = status(None, Some(137));
        assert!(died_of(&report));
        report.status = None;
        assert!(!died_of(&report));
    }

    #[test]
    fn one_death_with_what_needs_its_time_is_enough() -> Result<()> {
        let mut all = crate::scenarios::all();
        let scenario = all.find(|scenario| scenario.name == "global-oom");
        let scenario = scenario.context("global-oom")?;
        let mut deaths = vec![json!({"type": "death", "oom": {"memory": null}})];
        assert_eq!(missing_in_time(scenario, &deaths).len(), 2);
        let memory = json!({"largest_read": 3, "cgroups_read": {"source": "cgroup"}});
        deaths.push(json!({"type": "death", "oom": {"memory": memory}}));
        assert!(missing_in_time(scenario, &deaths).is_empty());
        Ok(())
    }

    #[test]
    fn some_ends_are_always_reported() {
        let mut report = Report::new("x");
        assert!(!was_killed(&report));
        for (signal, code, killed) in [
            (Some(9), None, true),
            (None, Some(137), true),
            (Some(11), None, false),
            (None, Some(3), false),
        ] {
            report.status = Some(Status { signal, code });
            assert_eq!(was_killed(&report), killed);
        }
    }

    #[test]
    fn who_shares_a_pid_differs_by_comm() {
        let process = |comm: &str| Process {
            pid: 7,
            comm: comm.into(),
            argv: None,
        };
        let death = |comm: &str| json!({"type": "death", "victim": {"pid": 7, "comm": comm}});
        let records = [death("fx-one"), death("fx-two")];
        let mut report = Report {
            victim: Some(process("fx-two")),
            ..Report::new("x")
        };
        assert_eq!(deaths_of(&report, &process("fx-two"), &records).len(), 2);
        report.others.push(process("fx-one"));
        assert_eq!(
            deaths_of(&report, &process("fx-two"), &records),
            [&records[1]]
        );
    }
}
