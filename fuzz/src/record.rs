//! Mutations of a record of the kernel's: of its sections, of fields, of any bytes. Its
//! frame mostly stays right.

use bytemuck::{bytes_of, pod_read_unaligned};
use oomtrace_common::wire::{
    ALIGN, ExitBody, MarkVictimBody, OomKillBody, RecordHeader, SectionHeader, SigkillBody,
    VERSION, kind,
};

use crate::{
    dice::{Dice, any_mutation},
    samples,
};

const HEADER: usize = size_of::<RecordHeader>();

/// Another record, made of this one.
#[must_use]
pub fn mutate(record: &[u8], dice: &mut Dice) -> Vec<u8> {
    if record.len() < HEADER || dice.once_in(64) {
        return dice.pick(&samples::RECORDS).to_vec();
    }
    let mut new = match dice.below(8) {
        0..=2 => sections(record, dice),
        3 | 4 => a_number(record, dice),
        5 => header(record, dice),
        _ => any_mutation(record, 64),
    };
    if !dice.once_in(32) {
        frame(&mut new);
    }
    new
}

/// Makes the header fit the length.
fn frame(record: &mut [u8]) {
    let len = record.len() as u32;
    let Some(bytes) = record.first_chunk_mut::<HEADER>() else {
        return;
    };
    let header = RecordHeader {
        version: VERSION,
        len,
        ..pod_read_unaligned(&*bytes)
    };
    bytes.copy_from_slice(bytes_of(&header));
}

fn header(record: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut header: RecordHeader = pod_read_unaligned(&record[..HEADER]);
    if dice.once_in(2) {
        header.kind = dice.below(kind::COUNT + 1) as u16;
    } else {
        header.boottime_ns = dice.number(header.boottime_ns);
    }
    [bytes_of(&header), &record[HEADER..]].concat()
}

/// Another number in one place of 4 or 8 bytes.
fn a_number(record: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut new = record.to_vec();
    let at = HEADER + dice.below(record.len() - HEADER + 1) / 4 * 4;
    if let Some(word) = new.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<4>) {
        let number = dice.number(u64::from(u32::from_le_bytes(*word)));
        *word = (number as u32).to_le_bytes();
    }
    if dice.once_in(2)
        && let Some(word) = new.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<8>)
    {
        *word = dice.number(u64::from_le_bytes(*word)).to_le_bytes();
    }
    new
}

fn body_bytes(record: &[u8]) -> usize {
    match pod_read_unaligned::<RecordHeader>(&record[..HEADER]).kind {
        kind::SIGKILL => size_of::<SigkillBody>(),
        kind::MARK_VICTIM => size_of::<MarkVictimBody>(),
        kind::EXIT => size_of::<ExitBody>(),
        kind::OOM_KILL => size_of::<OomKillBody>(),
        _ => 0,
    }
}

type Section = (SectionHeader, Vec<u8>);

/// What comes before the sections, and the sections as far as they can be read.
fn split(record: &[u8]) -> (&[u8], Vec<Section>) {
    let start = (HEADER + body_bytes(record)).min(record.len());
    let (head, mut rest) = record.split_at(start);
    let mut sections = Vec::new();
    while let Some((header, after)) = rest.split_at_checked(size_of::<SectionHeader>()) {
        let header: SectionHeader = pod_read_unaligned(header);
        let len = (header.len as usize).min(after.len());
        sections.push((header, after[..len].to_vec()));
        rest = after.get(len.next_multiple_of(ALIGN)..).unwrap_or_default();
    }
    (head, sections)
}

/// Other sections: one moved, doubled, taken out, exchanged for a recorded one, or
/// changed.
fn sections(record: &[u8], dice: &mut Dice) -> Vec<u8> {
    let (head, mut all) = split(record);
    let other = dice.pick(&samples::RECORDS);
    let (_, others) = split(other);
    let at = dice.below(all.len());
    match dice.below(6) {
        0 if !others.is_empty() => all.insert(at, dice.pick(&others).clone()),
        _ if all.is_empty() => {}
        1 => all.insert(at, all[at].clone()),
        2 => drop(all.remove(at)),
        3 => {
            let to = dice.below(all.len());
            all.swap(at, to);
        }
        4 => {
            let (header, _) = &mut all[at];
            header.who = dice.below(6) as u16;
            if dice.once_in(2) {
                header.tag = dice.below(20) as u16;
            }
        }
        _ => {
            let (_, payload) = &mut all[at];
            *payload = any_mutation(payload, 400);
        }
    }
    let mut new = head.to_vec();
    for (header, payload) in all {
        let header = SectionHeader {
            len: payload.len() as u32,
            ..header
        };
        new.extend_from_slice(bytes_of(&header));
        new.extend_from_slice(&payload);
        new.resize(new.len().next_multiple_of(ALIGN), 0);
    }
    new
}
