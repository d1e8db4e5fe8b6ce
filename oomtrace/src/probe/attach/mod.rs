//! Loading and attaching the programs, and reading their ring buffer.

mod fresh;
mod kept;
pub(super) mod object;
mod oom;
mod pinned;

use std::{
    collections::VecDeque,
    os::fd::{AsRawFd, RawFd},
    path::PathBuf,
};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
    programs::{KProbe, links::PinnedLink},
};
use aya_log::EbpfLogger;
use bytes::Bytes;
use oomtrace_common::wire;

pub use self::kept::Older;
use self::pinned::Start;
use super::{
    error::ProbeError,
    layout::Layout,
    losses::LossReader,
    namer::Namer,
    own_place::{ChildrenOf, OwnPlace, OwnPlaceReader},
    pins::{Pins, PinsError},
    plan::{self, OomHook},
    scope::ScopeMap,
    support::{Availability, KernelSupport},
};
use crate::{
    dying,
    event::entry::{Absent, Lost},
    identity::host,
};

/// What can be set.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of the ring buffer: a power of two, at least a page.
    pub ring_bytes: u32,
    /// One hook on the OOM killer, instead of the best.
    pub hook: Option<OomHook>,
    /// The programs write their own diagnostics to `log`.
    pub diagnostics: bool,
    /// What is to be traced.
    pub scope: ScopeKind,
    /// Programs and maps stay when this process ends.
    pub pins: Option<Pinned>,
}

/// Where programs and maps are pinned, and who reads them.
#[derive(Clone, Debug)]
pub struct Pinned {
    pub folder: PathBuf,
    /// The journal of this process: those of another have told what this one does not know.
    pub reader: Option<PathBuf>,
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
    let page_bytes = host::page_bytes();
    if bytes.is_power_of_two() && u64::from(bytes) >= page_bytes {
        Ok(())
    } else {
        Err(ProbeError::RingSize { bytes, page_bytes })
    }
}

/// What keeps programs attached.
struct Held {
    /// Owns programs, and links that are not pinned.
    _ebpf: Option<Ebpf>,
    _links: Vec<PinnedLink>,
    _oom: Option<KProbe>,
}

/// Programs that are attached, and what is read of them.
struct Loaded {
    _held: Held,
    ring: RingBuf<MapData>,
    losses: LossReader,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    hook: OomHook,
    symbols: bool,
    namer: Option<Namer>,
    own: Result<OwnPlaceReader, String>,
    scope: Option<ScopeMap>,
    absent: Vec<Absent>,
}

/// Programs that stay.
struct Stay {
    _pins: Pins,
    /// They, or those that handed over to them, were attached before this process was there, and
    /// whoever read them before has left us the rest: since then, `CLOCK_BOOTTIME`.
    since_ns: Option<u64>,
}

/// The attached programs. Dropping it detaches those that are not pinned.
pub struct Probe {
    loaded: Loaded,
    stay: Option<Stay>,
    /// Those before, whose records come first.
    older: VecDeque<Older>,
    /// Losses of those that are removed.
    late: Vec<Lost>,
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
        let Some(pinned) = &options.pins else {
            let loaded = fresh::attach(options, &support, &layout, plan, None)?;
            return Ok(Self::of(loaded, None));
        };
        let start = Start {
            options,
            support: &support,
            layout: &layout,
        };
        let attached = dying::patiently(
            |error| matches!(error, PinsError::Taken { .. }),
            || Pins::open(&pinned.folder),
        )
        .map_err(ProbeError::from)
        .and_then(|pins| start.attach(pins, pinned, &plan));
        match attached {
            Ok(probe) => Ok(probe),
            // To trace without is better than not at all.
            Err(error @ (ProbeError::Pin(_) | ProbeError::Pins(_))) => {
                log::error!(
                    "{error}\nmeanwhile: it is traced as long as oomtrace runs, and no longer"
                );
                let mut loaded = fresh::attach(options, &support, &layout, plan, None)?;
                loaded.absent.push(Absent {
                    what: "programs that stay when oomtrace ends (--pin)".to_owned(),
                    why: error.to_string(),
                });
                Ok(Self::of(loaded, None))
            }
            Err(error) => Err(error),
        }
    }

    fn of(loaded: Loaded, stay: Option<Stay>) -> Self {
        Self {
            loaded,
            stay,
            older: VecDeque::new(),
            late: Vec::new(),
        }
    }

    /// Whether the programs stay when this process ends.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.stay.is_some()
    }

    /// Since when programs have watched that were there before this process: `CLOCK_BOOTTIME`.
    #[must_use]
    pub fn resumed_since_ns(&self) -> Option<u64> {
        self.stay.as_ref()?.since_ns
    }

    /// Programs of another version, whose records cannot be read here.
    pub fn take_foreign(&mut self) -> Vec<Older> {
        let (foreign, older): (Vec<Older>, Vec<Older>) = std::mem::take(&mut self.older)
            .into_iter()
            .partition(|older| older.wire() != wire::VERSION);
        self.older = older.into();
        foreign
    }

    /// What the OOM killer is watched with.
    #[must_use]
    pub fn oom_hook(&self) -> OomHook {
        self.loaded.hook
    }

    /// What could not be had, and why.
    #[must_use]
    pub fn absent(&self) -> &[Absent] {
        &self.loaded.absent
    }

    /// Whether kernel functions can be named.
    #[must_use]
    pub fn has_symbols(&self) -> bool {
        self.loaded.symbols
    }

    /// What names kernel functions where /proc/kallsyms does not, if it could be had.
    pub fn take_namer(&mut self) -> Option<Namer> {
        self.loaded.namer.take()
    }

    /// What is held in scope.
    pub fn take_scope(&mut self) -> Option<ScopeMap> {
        self.loaded.scope.take()
    }

    /// Where this process runs, as the node sees it; with the cgroups below one, if asked for.
    pub fn own_place(&self, children: Option<ChildrenOf>) -> Result<OwnPlace, ProbeError> {
        let reader = self
            .loaded
            .own
            .as_ref()
            .map_err(|why| ProbeError::OwnPlace(why.clone()))?;
        reader
            .read(children)
            .map_err(|error| ProbeError::OwnPlace(error.to_string()))
    }

    /// The oldest record that waits, copied out. `keep` has it before its place is free.
    pub fn next_record(&mut self, keep: &mut dyn FnMut(&[u8])) -> Option<Bytes> {
        let mut take = |record: &[u8]| {
            keep(record);
            Bytes::copy_from_slice(record)
        };
        while let Some(older) = self.older.front_mut() {
            if let Some(record) = older.next_record(&mut take) {
                return Some(record);
            }
            if !older.is_over() {
                break;
            }
            if let Some(older) = self.older.pop_front() {
                match older.remove() {
                    Ok(lost) => self.late.extend(lost),
                    Err(error) => log::error!("programs of before cannot be removed: {error}"),
                }
            }
        }
        self.loaded.ring.next().map(|item| take(&item))
    }

    /// What came out of all calls of [`Self::lost`] has been told: it is not told again, by nobody.
    pub fn losses_are_told(&mut self) {
        if let Err(error) = self.loaded.losses.note() {
            log::error!("it cannot be noted what of lost events was told: {error}");
        }
    }

    /// What was lost since the last call.
    pub fn lost(&mut self) -> Vec<Lost> {
        let mut lost = std::mem::take(&mut self.late);
        match self.loaded.losses.read() {
            Ok(now) => lost.extend(now),
            Err(error) => log::error!("the counters of lost events cannot be read: {error}"),
        }
        lost
    }

    /// Passes on what the programs themselves had to say.
    pub fn flush_diagnostics(&mut self) {
        if let Some(logger) = &mut self.loaded.logger {
            logger.flush();
        }
    }
}

impl AsRawFd for Probe {
    /// Readable when the ring buffer has a record.
    fn as_raw_fd(&self) -> RawFd {
        self.loaded.ring.as_raw_fd()
    }
}

impl From<PinsError> for ProbeError {
    fn from(error: PinsError) -> Self {
        Self::Pins(error)
    }
}
