//! One case at work: what it has done is compared with the tracer's records, and kept until the
//! case is over.

use std::{
    cell::RefCell,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use oomtrace_scenarios::tracer::{Start, Tracer};
use serde_json::Value;

use crate::{
    cli::Options,
    place::Place,
    subject::{self, Expected, Subject},
};

/// What all cases share.
pub(crate) struct Ground {
    pub(crate) options: Options,
    pub(crate) place: Place,
    pub(crate) tracer: Tracer,
    pub(crate) claims: Claims,
}

/// A tracer's records, from a mark on.
pub(crate) trait Records {
    fn records(&self, mark: usize) -> Vec<Value>;

    /// Waits until they are what is wanted.
    fn wait_for(&self, mark: usize, limit: Duration, wanted: &dyn Fn(&[Value]) -> bool) -> bool;
}

impl Records for Tracer {
    fn records(&self, mark: usize) -> Vec<Value> {
        self.records(mark)
    }

    fn wait_for(&self, mark: usize, limit: Duration, wanted: &dyn Fn(&[Value]) -> bool) -> bool {
        self.wait_for(mark, limit, wanted)
    }
}

/// Why a case cannot be run here.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Skipped(pub(crate) String);

/// Which deaths each case has expected: all others in its containers are wrong.
#[derive(Debug, Default)]
pub(crate) struct Claims(Mutex<Vec<Claim>>);

#[derive(Debug)]
struct Claim {
    case: &'static str,
    subject: Subject,
    deaths: Vec<String>,
    /// The case's own clean-up began at this record.
    until: Option<usize>,
}

impl Claims {
    /// A subject whose every death must be among those expected until its case is over.
    fn add(&self, case: &'static str, subject: &Subject, deaths: &[Value]) {
        let ids = deaths.iter().filter_map(|death| death["id"].as_str());
        let ids = ids.map(str::to_owned);
        let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |claim: &&mut Claim| claim.case == case && claim.subject.key == subject.key;
        match claims.iter_mut().find(same) {
            Some(claim) => claim.deaths.extend(ids),
            None => claims.push(Claim {
                case,
                subject: subject.clone(),
                deaths: ids.collect(),
                until: None,
            }),
        }
    }

    fn end(&self, case: &str, until: usize) {
        let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for claim in claims.iter_mut().filter(|claim| claim.case == case) {
            claim.until.get_or_insert(until);
        }
    }

    /// Deaths that came late and that nobody had expected.
    pub(crate) fn late(&self, records: &[Value]) -> Vec<String> {
        let claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut late = Vec::new();
        for claim in claims.iter() {
            let until = claim.until.unwrap_or(records.len()).min(records.len());
            for record in &records[..until] {
                let id = record["id"].as_str().unwrap_or_default();
                let known = claim.deaths.iter().any(|death| death == id);
                if claim.subject.holds(record) && !subject::is_helper(record) && !known {
                    let summary = &record["summary"];
                    late.push(format!("{}: not expected: {summary}", claim.case));
                }
            }
        }
        late
    }
}

/// What came out of a case.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) differences: Vec<String>,
    pub(crate) summaries: Vec<String>,
    /// The records that differ, for whoever looks for the reason.
    pub(crate) records: Vec<Value>,
}

pub(crate) struct Scene<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) name: &'static str,
    mark: usize,
    findings: RefCell<Findings>,
}

impl<'a> Scene<'a> {
    pub(crate) fn new(ground: &'a Ground, name: &'static str) -> Self {
        Self {
            ground,
            name,
            mark: ground.tracer.mark(),
            findings: RefCell::default(),
        }
    }

    pub(crate) fn limit(&self) -> Duration {
        self.ground.options.command_limit()
    }

    /// A name that no other run on this machine has.
    pub(crate) fn unique(&self) -> String {
        format!("oomtrace-{}-{}", self.name, std::process::id())
    }

    /// These deaths are there or come soon, and no others are there.
    pub(crate) fn deaths(&self, subject: &Subject, expected: &[Expected]) -> Vec<Value> {
        let deaths = self.deaths_by(&self.ground.tracer, self.mark, subject, expected);
        self.ground.claims.add(self.name, subject, &deaths);
        deaths
    }

    /// The same, by another tracer.
    pub(crate) fn deaths_by(
        &self,
        tracer: &dyn Records,
        mark: usize,
        subject: &Subject,
        expected: &[Expected],
    ) -> Vec<Value> {
        let fits = |records: &[Value]| {
            let compared = subject::compare(subject, expected, records);
            compared.differences.is_empty()
        };
        let limit = self.ground.options.record_limit();
        let started = Instant::now();
        tracer.wait_for(mark, limit, &fits);
        let records = tracer.records(mark);
        let compared = subject::compare(subject, expected, &records);
        let mut findings = self.findings.borrow_mut();
        for record in &compared.deaths {
            let summary = record["summary"].as_str().unwrap_or_default();
            if !findings.summaries.iter().any(|said| said == summary) {
                findings.summaries.push(summary.to_owned());
            }
        }
        if !compared.differences.is_empty() {
            let of_subject = |record: &&Value| subject.holds(record);
            let of_subject = records.iter().filter(of_subject).cloned();
            findings.records.extend(of_subject);
            findings
                .summaries
                .push(format!("(waited {} s)", started.elapsed().as_secs()));
        }
        findings.differences.extend(compared.differences);
        compared.deaths
    }

    /// What the death of this process has ended runs again, and that is told once, as this.
    pub(crate) fn runs_again(&self, deaths: &[Value], victim: i32, wanted: &[(&str, &str)]) {
        let of_victim = |death: &&Value| death["victim"]["pid"] == victim;
        let Some(death) = deaths.iter().find(of_victim) else {
            return self.differs(format!("no death of {victim}, that it could run again"));
        };
        let is_restart =
            |record: &&Value| record["type"] == "restart" && record["of"] == death["id"];
        let tracer = &self.ground.tracer;
        let is_told = |records: &[Value]| records.iter().any(|record| is_restart(&record));
        tracer.wait_for(self.mark, self.ground.options.record_limit(), is_told);
        let records = tracer.records(self.mark);
        let restarts: Vec<&Value> = records.iter().filter(is_restart).collect();
        let [restart] = restarts[..] else {
            return self.differs(format!("{} restarts: {restarts:?}", restarts.len()));
        };
        let summary = restart["summary"].as_str().unwrap_or_default().to_owned();
        for (pointer, value) in wanted {
            if restart.pointer(pointer).and_then(Value::as_str) != Some(value) {
                self.differs(format!("{pointer} is not {value}: {restart}"));
            }
        }
        self.findings.borrow_mut().summaries.push(summary);
    }

    /// The node's own records of this case so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        self.ground.tracer.records(self.mark)
    }

    /// Waits until the records of a subject are what is wanted.
    pub(crate) fn wait_for(&self, subject: &Subject, wanted: impl Fn(&[Value]) -> bool) -> bool {
        let limit = self.ground.options.record_limit();
        self.ground.tracer.wait_for(self.mark, limit, |records| {
            let of_subject = records.iter().filter(|record| subject.holds(record));
            wanted(&of_subject.cloned().collect::<Vec<_>>())
        })
    }

    pub(crate) fn differs(&self, what: String) {
        self.findings.borrow_mut().differences.push(what);
    }

    /// What dies from here on dies by the case's own clean-up.
    pub(crate) fn cleans_up(&self) {
        self.ground.claims.end(self.name, self.ground.tracer.mark());
    }

    pub(crate) fn over(self) -> Findings {
        self.cleans_up();
        self.findings.into_inner()
    }
}

pub(crate) fn start_tracer(path: &Path) -> Result<(Tracer, Value)> {
    match Tracer::start(path, "auto", None)? {
        Start::Running(tracer, started) => Ok((tracer, started)),
        Start::Lacking(reason) => bail!("the tracer cannot run here: {reason}"),
    }
}
