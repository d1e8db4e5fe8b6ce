//! All cases under one tracer, several at a time: most of each is waiting for a timeout.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use oomtrace_scenarios::{
    death,
    output::{detail, say},
    tally::{Outcome, Tally},
    tracer::Tracer,
};

use crate::{
    cases::{self, Case, Part},
    cli::Options,
    place::Place,
    scene::{Claims, Findings, Ground, Scene, Skipped, start_tracer},
};

const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Whether nothing failed.
pub(crate) fn all(options: Options) -> Result<bool> {
    let mut wanted: Vec<&'static Case> = cases::all()
        .filter(|case| options.wants(case.part, case.name))
        .collect();
    let mut parts: Vec<Part> = wanted.iter().map(|case| case.part).collect();
    parts.dedup();
    let place = Place::find(&options, &parts)?;
    let mut tally = Tally::default();
    wanted.retain(|case| match place.lacks(case.part) {
        Some(why) => {
            tally.case(case.name, &Outcome::Skipped(why.to_owned()));
            false
        }
        None => true,
    });
    let (tracer, started) = start_tracer(&options.tracer)?;
    say(format_args!("{started}"));
    let ground = Ground {
        options,
        place,
        tracer,
        claims: Claims::default(),
    };
    let tally = Mutex::new(tally);
    let queue = Mutex::new(wanted.into_iter());
    thread::scope(|scope| {
        for _ in 0..ground.options.jobs {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(case) = next else { break };
                    let begun = Instant::now();
                    let (outcome, findings) = one(&ground, case);
                    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    report(case, &outcome, &findings, begun.elapsed());
                    tally.case(case.name, &outcome);
                }
            });
        }
    });
    let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    let Ground {
        place,
        tracer,
        claims,
        ..
    } = ground;
    let outcome = match stop(tracer, &claims) {
        Ok(problems) => outcome_of(&problems),
        Err(error) => Outcome::Failed(format!("{error:#}")),
    };
    tally.case("stopped", &outcome);
    drop(place);
    say(&tally);
    Ok(!tally.any_failed())
}

fn one(ground: &Ground, case: &Case) -> (Outcome, Findings) {
    let scene = Scene::new(ground, case.name);
    // One that panics is one that failed: what is started must be ended.
    let ran = catch_unwind(AssertUnwindSafe(|| (case.run)(&scene)));
    let ran = ran.unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked")));
    let findings = scene.over();
    let outcome = match ran {
        Ok(()) => outcome_of(&findings.differences),
        Err(error) => match error.downcast::<Skipped>() {
            Ok(Skipped(why)) => Outcome::Skipped(why),
            Err(error) => Outcome::Failed(format!("{error:#}")),
        },
    };
    (outcome, findings)
}

fn report(case: &Case, outcome: &Outcome, findings: &Findings, took: Duration) {
    for summary in &findings.summaries {
        say(format_args!("[summary] {}: {summary}", case.name));
    }
    if *outcome != Outcome::Passed {
        findings
            .differences
            .iter()
            .for_each(|difference| detail(format_args!("differs: {difference}")));
        findings
            .records
            .iter()
            .for_each(|record| detail(format_args!("record: {record}")));
    }
    detail(format_args!("{}: {} ms", case.name, took.as_millis()));
}

fn stop(tracer: Tracer, claims: &Claims) -> Result<Vec<String>> {
    tracer.signal(libc::SIGTERM);
    let finished = tracer.wait(STOP_LIMIT)?;
    let mut problems = finished.problems();
    problems.extend(death::shared_ids(&finished.records));
    problems.extend(claims.late(&finished.records));
    Ok(problems)
}

fn outcome_of(problems: &[String]) -> Outcome {
    if problems.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Failed(problems.join("; "))
    }
}
