//! Loading and attaching the programs, and reading their ring buffer.

use std::os::fd::{AsRawFd, RawFd};

use aya::{
    Ebpf, EbpfError, EbpfLoader, VerifierLogLevel,
    maps::{MapData, MapError, RingBuf},
    programs::{FEntry, KProbe, ProgramError, RawTracePoint},
};
use aya_log::EbpfLogger;
use aya_obj::btf::{Btf, BtfType, Float, Func, FuncLinkage};
use bytes::Bytes;
use oomtrace_common::{
    offsets::{KernelFacts, Offsets, Settings},
    wire::kind,
};

use super::{
    error::ProbeError,
    layout::Layout,
    losses::LossReader,
    namer::Namer,
    own_place::{ChildrenOf, OwnPlace, OwnPlaceReader},
    plan::{self, OomHook, Plan},
    scope::ScopeMap,
    support::{Availability, KernelSupport},
};
use crate::event::entry::{Absent, Lost};

/// The BPF object, built by the build script.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/oomtrace-ebpf"));

/// Raw tracepoints: program and tracepoint. `sched_process_exit` comes first: a death is
/// then seen even if its SIGKILL fell between the attachments.
const TRACEPOINTS: &[(&str, &str)] = &[
    ("process_exit", "sched_process_exit"),
    ("process_exit_2", "sched_process_exit"),
    ("process_exit_3", "sched_process_exit"),
    ("cgroup_made", "cgroup_mkdir"),
    ("cgroup_emptied", "cgroup_notify_populated"),
    ("sig_deliver", "signal_deliver"),
    ("mark_victim", "mark_victim"),
    ("sig_generate", "signal_generate"),
];

/// Takes what is gone out of a scope that changes.
const GONE: (&str, &str) = ("cgroup_gone", "cgroup_rmdir");

/// What is lost when the kernel passes a program over because it is at work already. What one
/// of the programs on `sched_process_exit` misses, the next one sees.
const MISSED: &[(&str, u16)] = &[
    ("process_exit", kind::EXIT),
    ("process_exit_2", kind::EXIT),
    ("process_exit_3", kind::EXIT),
    ("cgroup_made", kind::CGROUP_MADE),
    ("cgroup_emptied", kind::CGROUP_EMPTIED),
    ("sig_deliver", kind::IMAGE),
    ("mark_victim", kind::MARK_VICTIM),
    ("sig_generate", kind::SIGKILL),
];

/// What can be set.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Size of the ring buffer: a power of two, at least a page.
    pub ring_bytes: u32,
    /// One hook on the OOM killer, instead of the best.
    pub hook: Option<OomHook>,
    /// The programs write their own diagnostics to `log`.
    pub diagnostics: bool,
    /// What is to be traced.
    pub scope: ScopeKind,
}

/// What is to be traced, as far as the programs must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeKind {
    /// Everything on the node.
    Node,
    /// Cgroups that are known from the start, and what is below them.
    Fixed,
    /// Cgroups that come and go: every new one is traced until it is said that it is not.
    Changing,
}

/// Whether a ring buffer can have this size: the kernel takes powers of two, and whole pages.
pub fn check_ring_bytes(bytes: u32) -> Result<(), ProbeError> {
    let page_bytes = crate::identity::host::page_bytes();
    if bytes.is_power_of_two() && u64::from(bytes) >= page_bytes {
        Ok(())
    } else {
        Err(ProbeError::RingSize { bytes, page_bytes })
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

/// The attached programs. Dropping it detaches them.
pub struct Probe {
    /// Owns programs and links.
    _ebpf: Ebpf,
    ring: RingBuf<MapData>,
    losses: LossReader,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    hook: OomHook,
    absent: Vec<Absent>,
    symbols: bool,
    namer: Option<Namer>,
    own: Result<OwnPlaceReader, String>,
    scope: Option<ScopeMap>,
}

/// What this kernel allows, without attaching anything; and the layout, where BTF could be
/// read.
fn survey() -> Result<(KernelSupport, Option<Layout>), ProbeError> {
    let (btf, layout) = match Layout::from_kernel() {
        Ok(layout) => (Availability::Yes, Some(layout)),
        Err(error @ ProbeError::NoBtf) => (Availability::No(error.to_string()), None),
        Err(error) => (Availability::Unknown(error.to_string()), None),
    };
    let oom_function = layout
        .as_ref()
        .is_some_and(|layout| layout.oom_kill_process.is_some());
    let support = KernelSupport::ask(btf, oom_function)
        .map_err(|error| ProbeError::Internal(format!("/proc/self/status: {error}")))?;
    Ok((support, layout))
}

/// What this kernel and these privileges allow.
pub fn support() -> Result<KernelSupport, ProbeError> {
    Ok(survey()?.0)
}

impl Probe {
    /// Loads and attaches all that can be had.
    pub fn attach(options: &Options) -> Result<Self, ProbeError> {
        check_ring_bytes(options.ring_bytes)?;
        let (support, layout) = survey()?;
        let plan = plan::decide(&support, options.hook)?;
        let Some(layout) = layout else {
            // Decided above, unless BTF is there and cannot be read: then that is the error.
            return Err(Layout::from_kernel().err().unwrap_or(ProbeError::NoBtf));
        };
        let offsets = Global(layout.offsets);
        let facts = Global(layout.facts);
        let settings = Global(Settings {
            scoped: u32::from(options.scope != ScopeKind::Node),
            candidates: u32::from(options.scope == ScopeKind::Changing),
        });
        let log_level: u8 = if options.diagnostics { u8::MAX } else { 0 };
        let mut ebpf = EbpfLoader::new()
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
            .map_max_entries("KILLED", 16384.max(lru_entries()))
            .load(OBJECT)
            .map_err(|error| load_error(error, options.ring_bytes))?;
        let logger = options
            .diagnostics
            .then(|| EbpfLogger::init(&mut ebpf))
            .transpose()
            .map_err(|error| ProbeError::Internal(format!("aya-log: {error}")))?;
        let ring =
            RingBuf::try_from(take_map(&mut ebpf, "EVENTS")?).map_err(|error| map_error(&error))?;
        let mut losses = LossReader::new(
            take_map(&mut ebpf, "LOSSES")?,
            take_map(&mut ebpf, "ROUND")?,
        )
        .map_err(|error| map_error(&error))?;

        let mut absent = layout.absent;
        let hook = attach_oom(
            &mut ebpf,
            plan,
            layout.oom_kill_process,
            options,
            &mut absent,
        )?;
        let closed = support.symbols != Availability::Yes;
        let namer = closed.then(|| {
            Namer::load(&mut ebpf).inspect_err(|error| {
                absent.push(Absent {
                    what: "names of kernel functions from the kernel itself (bpf_snprintf)"
                        .to_owned(),
                    why: explain(error),
                });
            })
        });
        let namer = namer.and_then(Result::ok);
        if namer.is_some() {
            absent.retain(|absent| absent.what != plan::SYMBOLS);
        }
        // It costs as much time as any other, and only a scope asks for it.
        let own = match options.scope {
            ScopeKind::Node => Err("no scope was asked for".to_owned()),
            ScopeKind::Fixed | ScopeKind::Changing => OwnPlaceReader::load(&mut ebpf),
        };
        let scope =
            ScopeMap::take(take_map(&mut ebpf, "SCOPE")?).map_err(|error| map_error(&error))?;
        load_tracepoints(&mut ebpf)?;
        for (program, tracepoint) in TRACEPOINTS {
            attach_tracepoint(&mut ebpf, program, tracepoint)?;
        }
        if options.scope == ScopeKind::Changing {
            let (program, tracepoint) = GONE;
            let gone = self::program(&mut ebpf, program)
                .map_err(|error| ProbeError::Internal(explain(&error)))?;
            load_tracepoint(program, gone)?;
            attach_tracepoint(&mut ebpf, program, tracepoint)?;
        }
        for (name, kind) in MISSED {
            let program: Result<&mut RawTracePoint, _> = program(&mut ebpf, name);
            let watched = program
                .and_then(|program| program.fd())
                .and_then(|fd| losses.watch(*kind, fd).map_err(ProgramError::from));
            watched.map_err(|error| ProbeError::Internal(explain(&error)))?;
        }
        Ok(Self {
            _ebpf: ebpf,
            ring,
            losses,
            logger,
            hook,
            absent,
            symbols: !closed || namer.is_some(),
            namer,
            own,
            scope: Some(scope),
        })
    }

    /// What the OOM killer is watched with.
    #[must_use]
    pub fn oom_hook(&self) -> OomHook {
        self.hook
    }

    /// What could not be had, and why.
    #[must_use]
    pub fn absent(&self) -> &[Absent] {
        &self.absent
    }

    /// Whether kernel functions can be named.
    #[must_use]
    pub fn has_symbols(&self) -> bool {
        self.symbols
    }

    /// What names kernel functions where /proc/kallsyms does not, if it could be had.
    pub fn take_namer(&mut self) -> Option<Namer> {
        self.namer.take()
    }

    /// What is held in scope.
    pub fn take_scope(&mut self) -> Option<ScopeMap> {
        self.scope.take()
    }

    /// Where this process runs, as the node sees it; with the cgroups below one, if asked for.
    pub fn own_place(&self, children: Option<ChildrenOf>) -> Result<OwnPlace, ProbeError> {
        let reader = self
            .own
            .as_ref()
            .map_err(|why| ProbeError::OwnPlace(why.clone()))?;
        reader
            .read(children)
            .map_err(|error| ProbeError::OwnPlace(error.to_string()))
    }

    /// The oldest record in the ring buffer, copied out: its place is free then.
    pub fn next_record(&mut self) -> Option<Bytes> {
        self.ring.next().map(|item| Bytes::copy_from_slice(&item))
    }

    /// What was lost since the last call.
    pub fn lost(&mut self) -> Vec<Lost> {
        self.losses.read().unwrap_or_else(|error| {
            log::error!("the counters of lost events cannot be read: {error}");
            Vec::new()
        })
    }

    /// Passes on what the programs themselves had to say.
    pub fn flush_diagnostics(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }
}

impl AsRawFd for Probe {
    /// Readable when the ring buffer has a record.
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

/// How large a map that forgets what was used least must be so that no processor starves: the
/// kernel hands out 128 entries at a time to each (`LOCAL_FREE_TARGET` of
/// kernel/bpf/bpf_lru_list.c), used or not.
fn lru_entries() -> u32 {
    const PER_CPU: u32 = 160;
    let cpus = aya::util::nr_cpus().map_or(1, std::num::NonZero::get);
    cpus.saturating_mul(PER_CPU)
}

/// Tries the hooks of the plan, the best first; says of each that failed why.
fn attach_oom(
    ebpf: &mut Ebpf,
    plan: Plan,
    oom_kill_process: Option<u32>,
    options: &Options,
    absent: &mut Vec<Absent>,
) -> Result<OomHook, ProbeError> {
    absent.extend(plan.absent);
    for hook in plan.hooks {
        let attached = match hook {
            OomHook::Fentry => attach_fentry(ebpf, oom_kill_process),
            OomHook::Kprobe => attach_kprobe(ebpf),
            OomHook::Tracepoint => Ok(()),
        };
        match attached {
            Ok(()) => return Ok(hook),
            Err(error) => {
                let why = explain(&error);
                if options.hook == Some(hook) {
                    return Err(ProbeError::Hook {
                        asked: hook.name(),
                        why,
                    });
                }
                absent.push(Absent {
                    what: format!("{} on oom_kill_process", hook.name()),
                    why,
                });
            }
        }
    }
    Ok(OomHook::Tracepoint)
}

fn attach_fentry(ebpf: &mut Ebpf, id: Option<u32>) -> Result<(), ProgramError> {
    let Some(id) = id else {
        return Err(ProgramError::IOError(std::io::Error::other(
            "BTF has no function oom_kill_process",
        )));
    };
    let btf = btf_with("oom_kill_process", id);
    let program: &mut FEntry = program(ebpf, "oom_fentry")?;
    program.load("oom_kill_process", &btf)?;
    if let Err(error) = program.attach() {
        let _ = program.unload();
        return Err(error);
    }
    Ok(())
}

fn attach_kprobe(ebpf: &mut Ebpf) -> Result<(), ProgramError> {
    let program: &mut KProbe = program(ebpf, "oom_kprobe")?;
    program.load()?;
    if let Err(error) = program.attach("oom_kill_process", 0) {
        let _ = program.unload();
        return Err(error);
    }
    Ok(())
}

/// Type information with one function, at the id that it has in the kernel's. aya asks it
/// for that id and for nothing else; reading the kernel's own once more would take longer
/// and need more memory than all the rest of the start.
fn btf_with(function: &str, id: u32) -> Btf {
    let mut btf = Btf::new();
    for _ in 1..id {
        btf.add_type(BtfType::Float(Float::new(0, 0)));
    }
    let name = btf.add_string(function);
    btf.add_type(BtfType::Func(Func::new(name, 0, FuncLinkage::Static)));
    btf
}

/// Loads the programs of [`TRACEPOINTS`], side by side: the kernel's verifier takes most of
/// the time of the whole start.
fn load_tracepoints(ebpf: &mut Ebpf) -> Result<(), ProbeError> {
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

fn load_tracepoint(name: &'static str, program: &mut RawTracePoint) -> Result<(), ProbeError> {
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

fn attach_tracepoint(
    ebpf: &mut Ebpf,
    name: &'static str,
    tracepoint: &str,
) -> Result<(), ProbeError> {
    let attach = |error: &ProgramError| ProbeError::Attach {
        program: name,
        error: explain(error),
    };
    let program: &mut RawTracePoint = program(ebpf, name).map_err(|error| attach(&error))?;
    program.attach(tracepoint).map_err(|error| attach(&error))?;
    Ok(())
}

pub(super) fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, ProgramError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    ebpf.program_mut(name)
        .ok_or_else(|| {
            ProgramError::IOError(std::io::Error::other(format!("the object has no {name}")))
        })?
        .try_into()
}

fn take_map(ebpf: &mut Ebpf, name: &str) -> Result<aya::maps::Map, ProbeError> {
    ebpf.take_map(name)
        .ok_or_else(|| ProbeError::Internal(format!("the object has no map {name}")))
}

fn map_error(error: &MapError) -> ProbeError {
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
fn explain(error: &dyn std::error::Error) -> String {
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
