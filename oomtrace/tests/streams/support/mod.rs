//! What the tests share: recordings, made-up events, and the state machine run over them.

pub(crate) mod invariants;
pub(crate) mod make;
pub(crate) mod recordings;
pub(crate) mod table;

use oomtrace::{
    event::{Event, Group},
    provenance::{
        Config, Engine, Output,
        record::{Death, Record, Stopped},
        rules::Rules,
    },
};
use proptest::test_runner::Config as ProptestConfig;

/// All that came out of the state machine.
#[derive(Debug)]
pub(crate) struct Ran(pub Vec<Output>);

impl Ran {
    /// Every revision of every death.
    pub(crate) fn deaths(&self) -> Vec<&Death> {
        self.records()
            .filter_map(|record| match record {
                Record::Death(death) => Some(&**death),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.0.iter().filter_map(|output| match output {
            Output::Record(record) => Some(&**record),
            _ => None,
        })
    }

    /// Whose state was asked for.
    pub(crate) fn asked(&self) -> Vec<Group> {
        self.0
            .iter()
            .filter_map(|output| match output {
                Output::AskState(group) => Some(*group),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn stopped(&self) -> Option<&Stopped> {
        self.records().find_map(|record| match record {
            Record::Stopped(stopped) => Some(stopped),
            _ => None,
        })
    }

    /// The only death, in its only revision.
    pub(crate) fn the_death(&self) -> Death {
        match *self.deaths() {
            [death] => death.clone(),
            ref deaths => panic!("{} deaths instead of one: {deaths:#?}", deaths.len()),
        }
    }
}

pub(crate) fn engine() -> Engine {
    Engine::new(Config::default(), Rules::built_in().unwrap())
}

/// The events through a new state machine.
pub(crate) fn run(events: impl IntoIterator<Item = Event>) -> Ran {
    let mut engine = engine();
    let mut out = Vec::new();
    for event in events {
        engine.handle(event, &mut out);
    }
    Ran(out)
}

/// So many cases of a property. What fails is printed, not written into the tree.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// The codes of a death's evidence, in their order.
pub(crate) fn codes(death: &Death) -> Vec<&str> {
    death
        .evidence
        .iter()
        .map(|evidence| evidence.code.as_ref())
        .collect()
}

#[track_caller]
pub(crate) fn assert_code(death: &Death, code: &str) {
    assert!(
        codes(death).contains(&code),
        "no {code} in {:#?}",
        death.evidence
    );
}

#[track_caller]
pub(crate) fn assert_no_code(death: &Death, code: &str) {
    assert!(
        !codes(death).contains(&code),
        "{code} in {:#?}",
        death.evidence
    );
}
