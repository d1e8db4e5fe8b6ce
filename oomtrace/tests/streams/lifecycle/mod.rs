//! From the SIGKILL to the last revision.
//!
//! | module | what it holds |
//! |---|---|
//! | `ends` | when a death is written: hangs, ends seen twice or not at all, ids used twice |
//! | `past` | ends that were seen late |
//! | `sigkills` | which of several SIGKILLs counts, and which do nothing |
//! | `chains` | deaths that lead to others |

mod chains;
mod ends;
mod past;
mod sigkills;

use oomtrace::{
    event::{Argv, Event, Image, Process, Sigkill, SignalResult},
    provenance::record::{Death, Record},
};

use crate::support::{
    Ran,
    make::{
        BY_SIGKILL, KILLED_NS, S, exit, kill, lost, opening, process, sigkill, stopped, stream,
    },
    run,
};

fn victim() -> Process {
    process(4000, "victim")
}

fn sender() -> Process {
    process(2000, "bash")
}

fn events(events: impl IntoIterator<Item = Event>) -> Ran {
    run(opening().into_iter().chain(events))
}

fn with_result(result: SignalResult) -> Sigkill {
    Sigkill {
        result,
        ..kill(&sender(), &victim())
    }
}

#[test]
fn the_victims_own_words_come_from_its_own_image() {
    let image = Event::Image(Image {
        boottime_ns: KILLED_NS + 1,
        victim: victim().group,
        argv: Some(Argv {
            args: vec!["victim".into(), "--all".into()],
            truncated: false,
        }),
    });
    let death: Death = run(stream([
        sigkill(&kill(&sender(), &victim())),
        image,
        exit(&victim(), BY_SIGKILL),
    ]))
    .the_death();
    assert_eq!(death.victim.argv.unwrap(), ["victim", "--all"]);
}

#[test]
fn losses_are_told_and_counted() {
    let ran = run(stream([
        lost("exit", 3, KILLED_NS, KILLED_NS + S),
        lost("sigkill", 4, KILLED_NS, KILLED_NS + S),
    ]));
    let gaps: Vec<u64> = ran
        .records()
        .filter_map(|record| match record {
            Record::Gap(gap) => Some(gap.lost),
            _ => None,
        })
        .collect();
    assert_eq!(gaps, [3, 4]);
    assert_eq!(ran.stopped().unwrap().lost, 7);
}

#[test]
fn without_a_session_there_is_nobody_to_write_for() {
    let ran = run([
        sigkill(&kill(&sender(), &victim())),
        exit(&victim(), BY_SIGKILL),
        stopped(KILLED_NS + S),
    ]);
    assert_eq!(ran.deaths().len(), 0);
}
