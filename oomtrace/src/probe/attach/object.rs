//! The BPF object: loaded with what this kernel's layout is, its programs found by name.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::PathBuf,
};

use aya::{
    Ebpf, EbpfError, EbpfLoader, VerifierLogLevel,
    maps::MapError,
    programs::{ProgramError, RawTracePoint},
};
use oomtrace_common::{
    maps::{MAX_TOLD, TOLD_PROGRAMS},
    offsets::{KernelFacts, Offsets, Settings},
    wire::kind,
};

use super::{Options, ScopeKind};
use crate::{
    identity::host,
    probe::{error::ProbeError, layout::Layout, plan::OomHook},
};

/// The BPF object, built by the build script.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/oomtrace-ebpf"));

/// Raw tracepoints: program and tracepoint. `sched_process_exit` comes first: a death is
/// then seen even if its SIGKILL fell between the attachments.
pub(super) const TRACEPOINTS: &[(&str, &str)] = &[
    ("process_exit", "sched_process_exit"),
    ("exit_notify", "signal_generate"),
    ("task_free", "sched_process_free"),
    ("cgroup_made", "cgroup_mkdir"),
    ("cgroup_emptied", "cgroup_notify_populated"),
    ("sig_deliver", "signal_deliver"),
    ("mark_victim", "mark_victim"),
    ("sig_generate", "signal_generate"),
];

/// Takes what is gone out of a scope that changes.
pub(super) const GONE: (&str, &str) = ("cgroup_gone", "cgroup_rmdir");

/// What is lost when the kernel passes a program over because it is at work already. What
/// `process_exit` misses is lost only if `task_free` misses it, too.
pub(super) const MISSED: &[Missed] = &[
    Missed::new("process_exit", kind::EXIT, 0),
    Missed::new("task_free", kind::EXIT, 1),
    Missed::new("cgroup_made", kind::CGROUP_MADE, 2),
    Missed::new("cgroup_emptied", kind::CGROUP_EMPTIED, 3),
    Missed::new("sig_deliver", kind::IMAGE, 4),
    Missed::new("mark_victim", kind::MARK_VICTIM, 5),
    Missed::new("sig_generate", kind::SIGKILL, 6),
];

/// A program that the kernel may pass over.
pub(super) struct Missed {
    pub(super) program: &'static str,
    /// What it would have sent.
    pub(super) kind: u16,
    /// Where it is noted what of this was told. Versions read each other's notes: a place that was
    /// a program's is no other's.
    pub(super) place: u32,
}

// Each has a place of its own.
const _: () = {
    let mut taken = 0_u64;
    let mut at = 0;
    while at < MISSED.len() {
        let place = MISSED[at].place;
        assert!(place < MAX_TOLD - TOLD_PROGRAMS && taken & (1 << place) == 0);
        taken |= 1 << place;
        at += 1;
    }
};

impl Missed {
    const fn new(program: &'static str, kind: u16, place: u32) -> Self {
        Self {
            program,
            kind,
            place,
        }
    }
}

/// The wire types, for aya.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Global<T>(T);

// SAFETY: plain data, every bit pattern valid.
unsafe impl aya::Pod for Global<Offsets> {}
// SAFETY: as above.
unsafe impl aya::Pod for Global<KernelFacts> {}
// SAFETY: as above.
unsafe impl aya::Pod for Global<Settings> {}

/// Loads the object: its maps are made then, its programs are not loaded yet. `reused`: maps that
/// are pinned already, with their paths.
pub(super) fn load(
    options: &Options,
    layout: &Layout,
    reused: &[(&'static str, PathBuf)],
) -> Result<Ebpf, ProbeError> {
    let offsets = Global(layout.offsets);
    let facts = Global(layout.facts);
    let settings = Global(Settings {
        scoped: u32::from(options.scope != ScopeKind::Node),
        candidates: u32::from(options.scope == ScopeKind::Changing),
        generation: generation(),
    });
    let log_level: u8 = if options.diagnostics { u8::MAX } else { 0 };
    let mut loader = EbpfLoader::new();
    loader
        .verifier_log_level(if options.diagnostics {
            VerifierLogLevel::DEBUG | VerifierLogLevel::STATS
        } else {
            VerifierLogLevel::DISABLE
        })
        .override_global("OFFSETS", &offsets, true)
        .override_global("FACTS", &facts, true)
        .override_global("SETTINGS", &settings, true)
        .override_global("AYA_LOG_LEVEL", &log_level, false)
        .map_max_entries("EVENTS", options.ring_bytes)
        .map_max_entries("STOPS", 4096.max(lru_entries()))
        .map_max_entries("KILLED", 16384.max(lru_entries()));
    for (name, path) in reused {
        loader.map_pin_path(name, path.as_path());
    }
    loader
        .load(OBJECT)
        .map_err(|error| load_error(error, options.ring_bytes))
}

/// Another one for each that is loaded, and never 0.
fn generation() -> u32 {
    // Milliseconds: no two share a map that were loaded in the same.
    let now_ms = host::now().boottime_ns / 1_000_000;
    (now_ms as u32).max(1)
}

/// A mark of the programs, and of what is set in them.
pub(super) fn mark(options: &Options) -> u64 {
    let mut hasher = DefaultHasher::new();
    OBJECT.hash(&mut hasher);
    options.ring_bytes.hash(&mut hasher);
    options.hook.map(OomHook::name).hash(&mut hasher);
    hasher.finish()
}

/// How large a map that forgets what was used least must be so that no processor starves: the
/// kernel hands out 128 entries at a time to each (`LOCAL_FREE_TARGET` of
/// kernel/bpf/bpf_lru_list.c), used or not.
fn lru_entries() -> u32 {
    const PER_CPU: u32 = 160;
    let cpus = aya::util::nr_cpus().map_or(1, std::num::NonZero::get);
    cpus.saturating_mul(PER_CPU)
}

/// Loads the programs of [`TRACEPOINTS`], side by side: the kernel's verifier takes most of
/// the time of the whole start.
pub(super) fn load_tracepoints(ebpf: &mut Ebpf) -> Result<(), ProbeError> {
    std::thread::scope(|scope| {
        let mut loads = Vec::new();
        for (name, program) in ebpf.programs_mut() {
            let Some((known, _)) = TRACEPOINTS.iter().find(|(known, _)| *known == name) else {
                continue;
            };
            let Ok(program) = <&mut RawTracePoint>::try_from(program) else {
                continue;
            };
            let thread = std::thread::Builder::new();
            loads.extend(thread.spawn_scoped(scope, move || load_tracepoint(known, program)));
        }
        loads.into_iter().try_for_each(|load| {
            load.join()
                .map_err(|_| ProbeError::Internal("loading a program panicked".to_owned()))?
        })
    })?;
    // Where no thread could be had: one after the other.
    for (name, _) in TRACEPOINTS {
        let program: &mut RawTracePoint =
            program(ebpf, name).map_err(|error| ProbeError::Internal(explain(&error)))?;
        if program.fd().is_err() {
            load_tracepoint(name, program)?;
        }
    }
    Ok(())
}

pub(super) fn load_tracepoint(
    name: &'static str,
    program: &mut RawTracePoint,
) -> Result<(), ProbeError> {
    program.load().map_err(|error| ProbeError::Load {
        program: name,
        error: explain(&error),
    })?;
    let info = program.info().ok();
    if let Some(verified) = info.and_then(|info| info.verified_instruction_count()) {
        log::debug!("{name}: {verified} instructions verified");
    }
    Ok(())
}

pub(in crate::probe) fn program<'a, P>(
    ebpf: &'a mut Ebpf,
    name: &str,
) -> Result<&'a mut P, ProgramError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    ebpf.program_mut(name)
        .ok_or_else(|| {
            ProgramError::IOError(std::io::Error::other(format!("the object has no {name}")))
        })?
        .try_into()
}

pub(super) fn take_map(ebpf: &mut Ebpf, name: &str) -> Result<aya::maps::Map, ProbeError> {
    ebpf.take_map(name)
        .ok_or_else(|| ProbeError::Internal(format!("the object has no map {name}")))
}

pub(super) fn map_error(error: &MapError) -> ProbeError {
    ProbeError::Internal(explain(error))
}

fn load_error(error: EbpfError, ring_bytes: u32) -> ProbeError {
    match error {
        EbpfError::MapError(error) => {
            if let MapError::CreateError { name, .. } = &error
                && name == "EVENTS"
            {
                return ProbeError::Ring {
                    bytes: ring_bytes,
                    error: explain(&error),
                };
            }
            map_error(&error)
        }
        error => ProbeError::Internal(explain(&error)),
    }
}

/// An error with all that caused it, on one line.
pub(super) fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    // The verifier's log is asked for in diagnostics only; its heading comes all the same.
    let text = text.trim().trim_end_matches("Verifier output:");
    text.trim().replace('\n', " ")
}
