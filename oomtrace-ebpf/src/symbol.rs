//! The name of a kernel function, from the kernel itself: for where /proc/kallsyms hides its
//! addresses even from root (`kernel.kptr_restrict` 2).
//!
//! The program hangs on nothing. It is run on demand (`BPF_PROG_TEST_RUN`, raw tracepoints
//! since 5.10), with the address as its only argument. `bpf_snprintf` is there since 5.13;
//! an older kernel refuses the program.

use aya_ebpf::{
    helpers::generated,
    macros::{map, raw_tracepoint},
    maps::Array,
    programs::RawTracePointContext,
};
use oomtrace_common::maps::MAX_SYMBOL_BYTES;

/// The answer: the name, with its NUL.
#[map]
static SYMBOL: Array<[u8; MAX_SYMBOL_BYTES]> = Array::with_max_entries(1, 0);

/// In read-only memory, where the helper wants it.
#[unsafe(no_mangle)]
static SYMBOL_FORMAT: [u8; 4] = *b"%ps\0";

#[raw_tracepoint]
pub(crate) fn name_symbol(ctx: RawTracePointContext) -> i32 {
    let Some(name) = SYMBOL.get_ptr_mut(0) else {
        return 1;
    };
    let address: u64 = ctx.arg(0);
    // SAFETY: the map's value is as long as said; the format is a constant string.
    let result = unsafe {
        generated::bpf_snprintf(
            name.cast(),
            MAX_SYMBOL_BYTES as u32,
            (&raw const SYMBOL_FORMAT).cast_mut().cast(),
            (&raw const address).cast_mut().cast(),
            size_of::<u64>() as u32,
        )
    };
    i32::from(result < 0)
}
