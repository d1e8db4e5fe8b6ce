//! The decoder: no record makes it panic, and it says the same of the same record.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use oomtrace::event::{
    Event, Process,
    decode::Decoder,
    entry::{Entry, Session, Symbol},
};
use oomtrace_fuzz::{
    dice::{Dice, put_back},
    record,
};

/// What may stand on a call path.
const NAMES: [&str; 7] = [
    "__send_signal_locked",
    "send_sigqueue",
    "do_send_sig_info",
    "kill_pid_info.part.0",
    "oom_kill_process",
    ".",
    "",
];

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let new = record::mutate(&data[..size], &mut Dice::new(seed));
    put_back(&new, data, max_size)
});

fuzz_target!(|record: &[u8]| {
    let mut decoder = Decoder::default();
    let session = Session {
        version: String::new(),
        node: String::new(),
        boot_id: String::new(),
        kernel: String::new(),
        page_bytes: 4096,
    };
    decoder
        .decode(&Entry::Session(session))
        .expect("a session can be decoded");
    let needs = decoder.needs(record);
    let symbols = needs.symbols.iter().map(|address| Symbol {
        address: *address,
        name: NAMES
            .get((address % 8) as usize)
            .map(|name| (*name).to_owned()),
    });
    let _ = decoder.decode(&Entry::Symbols(symbols.collect()));
    assert!(decoder.needs(record).symbols.is_empty());

    let entry = Entry::Kernel(Bytes::copy_from_slice(record));
    let decoded = decoder.decode(&entry);
    assert_eq!(decoded, decoder.decode(&entry));
    match decoded {
        Ok(Some(Event::Sigkill(kill))) => {
            process(&kill.sender);
            process(&kill.victim);
            // Of a stop request's sender the executable's name is kept, not its path.
            kill.stops.iter().for_each(|stop| names(&stop.sender));
            assert!(kill.stack.is_none_or(|stack| !stack.is_empty()));
        }
        Ok(Some(Event::Exit(exit))) => process(&exit.victim),
        _ => {}
    }
});

fn process(process: &Process) {
    names(process);
    let paths = [
        &process.exe,
        &process.memory_cgroup,
        &process.unified_cgroup,
    ];
    assert!(
        paths
            .into_iter()
            .flatten()
            .all(|path| path.starts_with(['/', '…']))
    );
}

fn names(process: &Process) {
    let Process {
        comm,
        tty,
        exe,
        memory_cgroup,
        unified_cgroup,
        ..
    } = process;
    let ancestors = process.ancestry.iter();
    let mut names = [comm, tty, exe, memory_cgroup, unified_cgroup]
        .into_iter()
        .chain(ancestors.clone().map(|ancestor| &ancestor.exe))
        .flatten()
        .chain(ancestors.map(|ancestor| &ancestor.comm));
    assert!(names.all(|name| !name.contains('\0')));
}
