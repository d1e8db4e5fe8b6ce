//! Mutations of a recording: of its entries, of what is in them, of any bytes.

use bytes::Bytes;
use oomtrace::event::{
    entry::{Entry, Tick},
    memory::{MemorySample, MemorySplit, Resident, SplitAt},
    recording::{Reader, Writer},
};

use crate::{
    dice::{Dice, any_mutation},
    record, samples,
};

/// More would be slow, and tell no more.
const MOST_ENTRIES: usize = 64;

/// Another recording, made of this one.
#[must_use]
pub fn mutate(recording: &[u8], dice: &mut Dice) -> Vec<u8> {
    if dice.once_in(8) {
        return any_mutation(recording, 64);
    }
    let mut entries = read(recording);
    if entries.is_empty() || dice.once_in(64) {
        entries = window(dice);
    }
    for _ in 0..=dice.below(3) {
        change(&mut entries, dice);
    }
    entries.truncate(MOST_ENTRIES);
    write(&entries).unwrap_or_else(|| recording.to_vec())
}

/// The entries before the first that is damaged.
fn read(recording: &[u8]) -> Vec<Entry> {
    Reader::new(recording).map_or_else(
        |_| Vec::new(),
        |reader| reader.map_while(Result::ok).collect(),
    )
}

/// The entries as a recording.
#[must_use]
pub fn write(entries: &[Entry]) -> Option<Vec<u8>> {
    let mut writer = Writer::new(Vec::new()).ok()?;
    for entry in entries {
        writer.write(entry).ok()?;
    }
    writer.finish().ok()
}

/// The start of a recorded stream, a stretch of it, and its end.
fn window(dice: &mut Dice) -> Vec<Entry> {
    let stream = dice.pick(&samples::STREAMS);
    let from = 2 + dice.below(stream.len() - 2);
    let to = (from + 1 + dice.below(24)).min(stream.len());
    let symbols = stream
        .iter()
        .take(from)
        .filter(|entry| matches!(entry, Entry::Symbols(_)) && dice.once_in(2));
    let mut entries: Vec<Entry> = stream[..2].iter().chain(symbols).cloned().collect();
    entries.extend_from_slice(&stream[from..to]);
    entries.extend(stream.last().cloned());
    entries
}

fn change(entries: &mut Vec<Entry>, dice: &mut Dice) {
    let at = dice.below(entries.len());
    let stream = dice.pick(&samples::STREAMS);
    match dice.below(10) {
        0 => entries.insert(at, dice.pick(stream).clone()),
        1 => {
            let tick = Tick {
                boottime_ns: dice.number(entries.iter().find_map(moment).unwrap_or(0)),
                realtime_ns: dice.number(0) as i64,
            };
            entries.insert(at, Entry::Tick(tick));
        }
        _ if entries.is_empty() => {}
        2 => entries.insert(at, entries[at].clone()),
        3 => drop(entries.remove(at)),
        4 => {
            let to = dice.below(entries.len());
            entries.swap(at, to);
        }
        _ => inside(&mut entries[at], dice),
    }
}

fn moment(entry: &Entry) -> Option<u64> {
    match entry {
        Entry::Attached(attached) => Some(attached.boottime_ns),
        Entry::Tick(tick) => Some(tick.boottime_ns),
        _ => None,
    }
}

fn inside(entry: &mut Entry, dice: &mut Dice) {
    match entry {
        Entry::Kernel(bytes) => *bytes = Bytes::from(record::mutate(bytes, dice)),
        Entry::Session(session) => {
            session.page_bytes = dice.number(session.page_bytes);
            text(&mut session.node, dice);
            text(&mut session.kernel, dice);
        }
        Entry::Attached(attached) => {
            attached.boottime_ns = dice.number(attached.boottime_ns);
            attached.realtime_ns = dice.number(attached.realtime_ns as u64) as i64;
            text(&mut attached.oom_hook, dice);
        }
        Entry::Symbols(symbols) => {
            if let Some(symbol) = symbols.first_mut() {
                let known = symbol.name.get_or_insert_default();
                text(known, dice);
            }
            let to = dice.below(symbols.len());
            symbols.rotate_left(to);
        }
        Entry::Lost(lost) => {
            lost.count = dice.number(lost.count);
            lost.from_ns = dice.number(lost.from_ns);
            lost.to_ns = dice.number(lost.to_ns);
            text(&mut lost.kind, dice);
        }
        Entry::EndedRun(run) => {
            run.died_ns = dice.number(run.died_ns);
            run.emptied_ns = dice.once_in(2).then(|| dice.number(run.died_ns));
            text(&mut run.path, dice);
        }
        Entry::Unwatched(unwatched) => {
            unwatched.from_ns = dice.number(unwatched.from_ns);
            unwatched.to_ns = dice.number(unwatched.to_ns);
            text(&mut unwatched.why, dice);
        }
        Entry::Tick(tick) | Entry::Paused(tick) | Entry::Stopped(tick) => {
            tick.boottime_ns = dice.number(tick.boottime_ns);
            tick.realtime_ns = dice.number(tick.realtime_ns as u64) as i64;
        }
        Entry::ProcessState(state) => {
            state.boottime_ns = dice.number(state.boottime_ns);
            text(state.state.get_or_insert_default(), dice);
        }
        Entry::OomLine(line) => {
            line.tgid = dice.number(u64::from(line.tgid)) as u32;
            text(&mut line.constraint, dice);
            text(line.oom_memcg.get_or_insert_default(), dice);
            if dice.once_in(2) {
                let report = line.report.get_or_insert_default();
                resident(&mut report.largest, dice);
                let split = report.split.get_or_insert_default();
                split.reclaimable_bytes = dice.number(split.reclaimable_bytes);
            }
        }
        Entry::Cgroup(change) => text(&mut change.path, dice),
        Entry::ContainerFacts(facts) => {
            facts.boottime_ns = dice.number(facts.boottime_ns);
            text(&mut facts.id, dice);
            text(facts.name.get_or_insert_default(), dice);
        }
        Entry::ContainerState(state) => {
            state.boottime_ns = dice.number(state.boottime_ns);
            text(&mut state.id, dice);
            text(&mut state.words, dice);
        }
        Entry::ContainerUnknown(unknown) => {
            unknown.boottime_ns = dice.number(unknown.boottime_ns);
            text(&mut unknown.id, dice);
        }
        Entry::MemoryCurve(curve) => {
            curve.boottime_ns = dice.number(curve.boottime_ns);
            text(&mut curve.cgroup, dice);
            resident(&mut curve.largest, dice);
            let to = dice.below(curve.samples.len());
            curve.samples.rotate_left(to);
            if let Some(MemorySample(at_ns, usage, working)) = curve.samples.first_mut() {
                *at_ns = dice.number(*at_ns);
                *usage = dice.number(*usage);
                *working = dice.once_in(2).then(|| dice.number(working.unwrap_or(0)));
            }
            let split = curve.split.get_or_insert(SplitAt {
                boottime_ns: 0,
                split: MemorySplit::default(),
            });
            split.boottime_ns = dice.number(split.boottime_ns);
        }
        Entry::NodeMemory(node) => {
            node.boottime_ns = dice.number(node.boottime_ns);
            resident(&mut node.largest, dice);
            for one in &mut node.cgroups {
                text(&mut one.cgroup, dice);
                one.usage_bytes = dice.number(one.usage_bytes);
                one.own_bytes = dice.number(one.own_bytes);
            }
        }
    }
}

fn resident(all: &mut Vec<Resident>, dice: &mut Dice) {
    let mut one = all.pop().unwrap_or(Resident {
        pid: 1,
        comm: String::new(),
        rss_bytes: 1,
    });
    one.pid = dice.number(u64::from(one.pid)) as u32;
    one.rss_bytes = dice.number(one.rss_bytes);
    text(&mut one.comm, dice);
    all.push(one);
}

fn text(text: &mut String, dice: &mut Dice) {
    if dice.once_in(2) {
        let new = any_mutation(text.as_bytes(), 32);
        *text = String::from_utf8_lossy(&new).into_owned();
    }
}
