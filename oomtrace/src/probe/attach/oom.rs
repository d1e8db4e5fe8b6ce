//! The hook on the OOM killer: the best that can be had.

use std::{io, path::Path};

use aya::{
    Ebpf,
    programs::{
        FEntry, KProbe, ProbeKind, ProgramError,
        links::{FdLink, PinnedLink},
    },
};
use aya_obj::btf::{Btf, BtfType, Float, Func, FuncLinkage};

use super::object::{explain, program};
use crate::{
    event::entry::Absent,
    probe::{
        error::ProbeError,
        pins::{self, Generation},
        plan::{OomHook, Plan},
    },
};

const FUNCTION: &str = "oom_kill_process";
/// The programs, whose hooks cannot be pinned everywhere.
pub(super) const PROGRAMS: [&str; 2] = [FENTRY, KPROBE];
const FENTRY: &str = "oom_fentry";
const KPROBE: &str = "oom_kprobe";

/// The hook that was found, and its link where that is pinned.
pub(super) struct Found {
    pub(super) hook: OomHook,
    pub(super) link: Option<PinnedLink>,
}

/// Tries the hooks of the plan, the best first; says of each that failed why. `folder`: where the
/// programs are pinned, and their links where the kernel can.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    plan: Plan,
    oom_kill_process: Option<u32>,
    asked: Option<OomHook>,
    folder: Option<&Path>,
    absent: &mut Vec<Absent>,
) -> Result<Found, ProbeError> {
    absent.extend(plan.absent);
    for hook in plan.hooks {
        let attached = match hook {
            OomHook::Fentry => attach_fentry(ebpf, oom_kill_process, folder),
            OomHook::Kprobe => attach_kprobe(ebpf, folder),
            OomHook::Tracepoint => Ok(None),
        };
        match attached {
            Ok(link) => return Ok(Found { hook, link }),
            Err(error) => {
                let why = explain(&error);
                if asked == Some(hook) {
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
    Ok(Found {
        hook: OomHook::Tracepoint,
        link: None,
    })
}

fn attach_fentry(
    ebpf: &mut Ebpf,
    id: Option<u32>,
    folder: Option<&Path>,
) -> Result<Option<PinnedLink>, ProgramError> {
    let Some(id) = id else {
        return Err(ProgramError::IOError(std::io::Error::other(
            "BTF has no function oom_kill_process",
        )));
    };
    let btf = btf_with(FUNCTION, id);
    let program: &mut FEntry = program(ebpf, FENTRY)?;
    program.load(FUNCTION, &btf)?;
    let attached = program.attach().and_then(|link| {
        let Some(folder) = folder else {
            return Ok(None);
        };
        program
            .pin(pins::program(folder, FENTRY))
            .map_err(io::Error::other)?;
        let link: FdLink = program.take_link(link)?.into();
        let link = link
            .pin(pins::link(folder, FENTRY))
            .map_err(io::Error::other)?;
        Ok(Some(link))
    });
    if attached.is_err() {
        let _ = program.unload();
    }
    attached
}

/// Before 5.15 a link to a kprobe cannot be pinned: it ends with the tracer, and the next one
/// attaches the program anew.
fn attach_kprobe(
    ebpf: &mut Ebpf,
    folder: Option<&Path>,
) -> Result<Option<PinnedLink>, ProgramError> {
    let program: &mut KProbe = program(ebpf, KPROBE)?;
    program.load()?;
    let attached = program.attach(FUNCTION, 0).and_then(|link| {
        let Some(folder) = folder else {
            return Ok(None);
        };
        program
            .pin(pins::program(folder, KPROBE))
            .map_err(io::Error::other)?;
        let Ok(link) = FdLink::try_from(program.take_link(link)?) else {
            program.attach(FUNCTION, 0)?;
            return Ok(None);
        };
        let link = link
            .pin(pins::link(folder, KPROBE))
            .map_err(io::Error::other)?;
        Ok(Some(link))
    });
    if attached.is_err() {
        let _ = program.unload();
    }
    attached
}

/// A hook that was taken over.
pub(super) struct Kept {
    pub(super) hook: OomHook,
    pub(super) link: Option<PinnedLink>,
    /// Attached anew, for its link could not be pinned: for as long as this lives.
    pub(super) program: Option<KProbe>,
}

/// Takes over what a generation has hooked to the OOM killer.
pub(super) fn take_over(generation: &Generation) -> Kept {
    for (name, hook) in [(FENTRY, OomHook::Fentry), (KPROBE, OomHook::Kprobe)] {
        if let Ok(link) = PinnedLink::from_pin(generation.link(name)) {
            return Kept {
                hook,
                link: Some(link),
                program: None,
            };
        }
    }
    let mut kprobe = KProbe::from_pin(generation.program(KPROBE), ProbeKind::Entry).ok();
    let attached = kprobe
        .as_mut()
        .is_some_and(|program| program.attach(FUNCTION, 0).is_ok());
    Kept {
        hook: if attached {
            OomHook::Kprobe
        } else {
            OomHook::Tracepoint
        },
        link: None,
        program: kprobe.filter(|_| attached),
    }
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
