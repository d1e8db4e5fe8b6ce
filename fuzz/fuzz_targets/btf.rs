//! The reader of the kernel's types: whatever they are, it answers or says what is
//! damaged.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use oomtrace::probe::btf::{Btf, BtfError, Index, Wanted};
use oomtrace_common::offsets::PATHS;
use oomtrace_fuzz::{
    blob,
    dice::{Dice, put_back},
};

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let new = blob::mutate(&data[..size], &mut Dice::new(seed));
    put_back(&new, data, max_size)
});

fuzz_target!(|blob: &[u8]| {
    let Ok(btf) = Btf::parse(blob.to_vec()) else {
        return;
    };
    let mut wanted = Wanted::new();
    for (_, path) in PATHS {
        wanted.path(path).expect("it is a path");
    }
    wanted
        .type_name("upid")
        .type_name("task_struct")
        .enumerator("MEMCG_SWAP")
        .enumerator("WIDE")
        .func("oom_kill_process")
        .tracepoint("mark_victim");
    if let Ok(index) = btf.index(&wanted) {
        ask(&index);
    }
});

/// All that was announced, so that "not wanted" is no answer.
fn ask(index: &Index<'_>) {
    for (_, path) in PATHS {
        wanted(&index.lookup(path));
    }
    for name in ["upid", "task_struct"] {
        wanted(&index.size_of(name));
    }
    for name in ["MEMCG_SWAP", "WIDE"] {
        wanted(&index.enumerator(name));
    }
    wanted(&index.func("oom_kill_process"));
    wanted(&index.func_args("oom_kill_process"));
    wanted(&index.tracepoint_args("mark_victim"));
}

fn wanted<T>(answer: &Result<T, BtfError>) {
    assert!(!matches!(answer, Err(BtfError::NotWanted { .. })));
}
