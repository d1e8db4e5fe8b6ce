//! The reader of kernel symbols: each address gets the name of a function that starts at
//! or before it, or none.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use oomtrace::probe::kallsyms::search;
use oomtrace_fuzz::{
    dice::{Dice, put_back},
    lines,
};

const SAMPLES: &[&str] = &[
    "ffffffff81000000 T _stext",
    "ffffffff810c2a30 t __send_signal_locked",
    "ffffffff810c2a30 W do_send_sig_info",
    "ffffffff82000000 D some_data",
    "ffffffffc0001000 t module_function\t[module]",
    "0000000000000000 T hidden",
    "ffffffffffffffff T last",
    "10000000000000000 T too_long",
    "+1 T signed",
];
/// Each is looked for in the whole text.
const MOST_ADDRESSES: usize = 16;

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let new = lines::mutate(&data[..size], SAMPLES, &mut Dice::new(seed));
    put_back(&new, data, max_size)
});

fuzz_target!(|text: &[u8]| {
    let starts: Vec<(u64, &str)> = text
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
            let start = u64::from_str_radix(words.next()?, 16).ok()?;
            Some((start, words.nth(1)?))
        })
        .collect();
    let near = |(start, _): &(u64, &str)| {
        [
            start.wrapping_sub(1),
            *start,
            start.wrapping_add(0x10),
            start.wrapping_add(1 << 20),
        ]
    };
    let mut addresses: Vec<u64> = starts.iter().flat_map(near).take(MOST_ADDRESSES).collect();
    addresses.extend([0, u64::MAX]);

    let found = search(text, &addresses).expect("memory can be read");
    assert_eq!(found.len(), addresses.len());
    for (symbol, address) in found.iter().zip(&addresses) {
        assert_eq!(symbol.address, *address);
        if let Some(name) = &symbol.name {
            let fits = |(start, named): &(u64, &str)| {
                named == name && start <= address && address - start < 1 << 20
            };
            assert!(starts.iter().any(fits), "{address:#x} in {name}");
        }
    }
});
