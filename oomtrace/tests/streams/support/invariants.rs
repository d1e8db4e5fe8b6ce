//! What holds for every stream: each death has one line of revisions, and none is lost.

use std::collections::{HashMap, HashSet};

use oomtrace::{
    event::{Event, Group, SignalResult},
    provenance::record::Record,
};

use super::Ran;

/// Revisions count from 1, nothing comes after the final one, and the last record counts
/// each death once; what a death ended runs again once, and later. Says what is broken.
pub(crate) fn check(ran: &Ran) -> Result<(), String> {
    let written = check_revisions(ran)?;
    check_restarts(ran)?;
    match ran.stopped() {
        Some(stopped) if stopped.deaths != written => Err(format!(
            "{} deaths were counted, {written} written",
            stopped.deaths
        )),
        _ => Ok(()),
    }
}

fn check_restarts(ran: &Ran) -> Result<(), String> {
    let died: HashMap<&str, u64> = ran
        .deaths()
        .into_iter()
        .map(|death| (&*death.id, death.boottime_ns))
        .collect();
    let mut followed = HashSet::new();
    for record in ran.records() {
        let Record::Restart(restart) = record else {
            continue;
        };
        let is_later = died
            .get(&*restart.of)
            .is_some_and(|died_ns| *died_ns < restart.boottime_ns);
        if !is_later || !followed.insert(&restart.of) {
            return Err(format!("no restart, or one too many: {restart:?}"));
        }
    }
    Ok(())
}

/// The first half of [`check`]; gives the number of deaths.
pub(crate) fn check_revisions(ran: &Ran) -> Result<u64, String> {
    let mut last: HashMap<&str, (u32, bool)> = HashMap::new();
    for death in ran.deaths() {
        let before = last.insert(&death.id, (death.revision, death.is_final));
        match before {
            Some((_, true)) => return Err(format!("{} after its final revision", death.id)),
            Some((revision, false)) if death.revision <= revision => {
                return Err(format!(
                    "{}: revision {} after {revision}",
                    death.id, death.revision
                ));
            }
            None if death.revision != 1 => {
                return Err(format!("{} begins at {}", death.id, death.revision));
            }
            _ => {}
        }
    }
    Ok(last.len() as u64)
}

/// What must have come of a stream that begins with its session and ends with `Stopped`.
pub(crate) fn check_complete(events: &[Event], ran: &Ran) -> Result<(), String> {
    let mut finals: HashMap<(u32, u64), u32> = HashMap::new();
    let mut told = HashSet::new();
    for death in ran.deaths() {
        let group = group_of(&death.id)?;
        told.insert(group);
        if death.is_final {
            *finals.entry(group).or_default() += 1;
        }
    }
    let wanted = wanted(events);
    for (group, want) in &wanted {
        let found = finals
            .get(&(group.tgid, group.start_ns))
            .copied()
            .unwrap_or_default();
        match want {
            Want::Death if found != 1 => {
                return Err(format!("{found} final deaths of {group:?} instead of one"));
            }
            Want::Nothing if told.contains(&(group.tgid, group.start_ns)) => {
                return Err(format!("a death of {group:?}, which did not die so"));
            }
            _ => {}
        }
    }
    let known = |group: &(u32, u64)| {
        wanted.contains_key(&Group {
            tgid: group.0,
            start_ns: group.1,
        })
    };
    match told.iter().find(|group| !known(group)) {
        Some(group) => Err(format!("a death of {group:?}, of which nothing was seen")),
        None => Ok(()),
    }
}

/// What is to come of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Death,
    Nothing,
}

/// By the rules, not by the state machine: the first end that was seen decides; without
/// one, a SIGKILL that was delivered to a group with live threads.
fn wanted(events: &[Event]) -> HashMap<Group, Want> {
    let mut ends: HashMap<Group, Want> = HashMap::new();
    let mut kills: HashMap<Group, Want> = HashMap::new();
    for event in events {
        match event {
            Event::Exit(exit) => {
                let status = exit
                    .victim
                    .exit_code
                    .map(|code| (code & 0x7f, (code >> 8) & 0xff));
                let want = match status {
                    Some((9, _) | (0, 137)) => Want::Death,
                    _ => Want::Nothing,
                };
                ends.entry(exit.victim.group).or_insert(want);
            }
            Event::Sigkill(kill) => {
                let effective =
                    kill.result == SignalResult::Delivered && kill.victim.live_threads != Some(0);
                let want = kills.entry(kill.victim.group).or_insert(Want::Nothing);
                if effective {
                    *want = Want::Death;
                }
            }
            _ => {}
        }
    }
    kills.extend(ends);
    kills
}

/// An id ends with the thread group and its start.
fn group_of(id: &str) -> Result<(u32, u64), String> {
    let mut parts = id.rsplit('-');
    let mut number = || parts.next()?.parse::<u64>().ok();
    match (number(), number()) {
        (Some(start_ns), Some(tgid)) => Ok((tgid as u32, start_ns)),
        _ => Err(format!("{id} is no id")),
    }
}
