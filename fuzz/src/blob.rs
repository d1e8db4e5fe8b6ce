//! Mutations of BTF: of its types and names, with a header that fits.

use crate::dice::{Dice, any_mutation};

const MAGIC: u32 = 0x0001_eb9f;
const HEADER_WORDS: usize = 6;
/// More would be slow, and tell no more.
const MOST_WORDS: usize = 512;

/// Kinds of `include/uapi/linux/btf.h` that the sample is made of.
const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const FWD: u32 = 7;
const TYPEDEF: u32 = 8;
const CONST: u32 = 10;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const ENUM64: u32 = 19;
/// The first kind that is not known.
const KINDS: u32 = 21;

/// Other BTF, made of this one.
#[must_use]
pub fn mutate(blob: &[u8], dice: &mut Dice) -> Vec<u8> {
    if dice.once_in(8) {
        return any_mutation(blob, 32);
    }
    let (mut types, mut names) = match split(blob) {
        Some(parts) if !dice.once_in(64) => parts,
        _ => sample(),
    };
    let at = dice.below(types.len());
    match dice.below(8) {
        _ if types.is_empty() => types = sample().0,
        0 => names = any_mutation(&names, 16),
        1 => types.insert(at, types[dice.below(types.len())]),
        2 => drop(types.remove(at)),
        3 => types[at] = dice.below(names.len()) as u32,
        4 => types[at] = (dice.below(KINDS as usize) as u32) << 24 | types[at] & 0x80ff_ffff,
        5 => types[at] = dice.below(types.len() / 3) as u32,
        6 => types.extend(sample().0),
        _ => types[at] = dice.number(u64::from(types[at])) as u32,
    }
    types.truncate(MOST_WORDS);
    join(&types, &names)
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let words = bytes.as_chunks::<4>().0;
    words.iter().map(|word| u32::from_ne_bytes(*word)).collect()
}

fn split(blob: &[u8]) -> Option<(Vec<u32>, Vec<u8>)> {
    let (header, rest) = blob.split_at_checked(HEADER_WORDS * 4)?;
    let types_len = words(header)[3] as usize;
    let (types, names) = rest.split_at_checked(types_len)?;
    Some((words(types), names.to_vec()))
}

fn join(types: &[u32], names: &[u8]) -> Vec<u8> {
    let types_len = types.len() as u32 * 4;
    let header_len = HEADER_WORDS as u32 * 4;
    // The first name is the empty one, and the last one is ended, too.
    let mut names = names.to_vec();
    if names.first() != Some(&0) {
        names.insert(0, 0);
    }
    if names.last() != Some(&0) {
        names.push(0);
    }
    let header = [
        MAGIC,
        header_len,
        0,
        types_len,
        types_len,
        names.len() as u32,
    ];
    let words = header.iter().chain(types);
    let mut blob: Vec<u8> = words.flat_map(|word| word.to_ne_bytes()).collect();
    blob.extend(names);
    blob
}

/// A few types of a kernel's.
fn sample() -> (Vec<u32>, Vec<u8>) {
    let mut names = vec![0];
    let mut name = |text: &str| {
        let at = names.len() as u32;
        names.extend_from_slice(text.as_bytes());
        names.push(0);
        at
    };
    let info = |kind: u32, members: u32| kind << 24 | members;
    #[rustfmt::skip]
    let types = [
        &[name("int"), info(INT, 0), 4, 1 << 24 | 32][..], // 1
        &[name("atomic_t"), info(STRUCT, 1), 4, name("counter"), 1, 0],
        &[0, info(ARRAY, 0), 0, 1, 1, 16], // 3: int[16]
        &[0, info(UNION, 2), 8, name("count"), 1, 0, name("extra"), 4, 0],
        &[0, info(PTR, 0), 8], // 5
        &[0, info(PTR, 0), 7], // 6: task_struct *
        &[name("task_struct"), info(STRUCT, 6), 104,
            name("pid"), 1, 0, name("tgid"), 1, 32, name("comm"), 3, 64,
            name("signal"), 5, 576, 0, 4, 640, name("group_leader"), 6, 704],
        &[name("signal_struct"), info(STRUCT, 2) | 1 << 31, 8,
            name("live"), 2, 0, name("flags"), 1, 3 << 24 | 32], // 8
        &[name("memcg_stat"), info(ENUM, 2), 4, name("MEMCG_SWAP"), 3, name("MEMCG_OOM"), 4],
        &[name("wide"), info(ENUM64, 1), 8, name("WIDE"), 1, 2], // 10
        &[name("upid"), info(FWD, 0), 0],
        &[0, info(CONST, 0), 7], // 12
        &[0, info(FUNC_PROTO, 2), 0, 0, 5, 0, 6],
        &[0, info(PTR, 0), 13], // 14
        &[name("btf_trace_mark_victim"), info(TYPEDEF, 0), 14],
        &[name("oom_kill_process"), info(FUNC, 1), 13], // 16
    ];
    (types.concat(), names)
}
