//! Loading the programs and attaching them; and pinning them, so that they stay.

use std::path::Path;

use aya::{
    Ebpf,
    maps::{Map, RingBuf},
    programs::{
        ProgramError, RawTracePoint,
        links::{FdLink, PinnedLink},
    },
};
use aya_log::EbpfLogger;
use oomtrace_common::wire;

use super::{
    Held, Loaded, Options, ScopeKind,
    object::{
        GONE, MISSED, TRACEPOINTS, explain, load, load_tracepoint, load_tracepoints, map_error,
        program, take_map,
    },
    oom,
};
use crate::{
    event::entry::Absent,
    identity::host,
    probe::{
        error::ProbeError,
        layout::Layout,
        losses::{LossMaps, LossReader},
        namer::Namer,
        own_place::OwnPlaceReader,
        pins::{self, Generation},
        plan::{self, Plan},
        scope::ScopeMap,
        support::{Availability, KernelSupport},
    },
};

/// Maps without which nobody can take over.
pub(super) const MAPS: &[&str] = &["EVENTS", "STOPS", "KILLED", "LOSSES", "ROUND", "TOLD"];
/// Of them, those that hold what was seen before: the programs that come next go on with them.
const MEMORY: &[&str] = &["STOPS", "KILLED"];

/// Where programs are to be pinned.
pub(super) struct Pinning<'a> {
    /// The folder of the new generation.
    pub(super) folder: &'a Path,
    /// The one that it follows: what that remembers, these programs go on with.
    pub(super) before: Option<&'a Generation>,
}

/// Loads and attaches all that can be had.
pub(super) fn attach(
    options: &Options,
    support: &KernelSupport,
    layout: &Layout,
    plan: Plan,
    pinning: Option<&Pinning<'_>>,
) -> Result<Loaded, ProbeError> {
    let (mut ebpf, mut absent) = load_object(options, layout, pinning)?;
    let mut links = Vec::new();
    let folder = pinning.map(|pinning| pinning.folder);
    if let Some(folder) = folder {
        for name in MAPS {
            let map = ebpf
                .map(name)
                .ok_or_else(|| ProbeError::Internal(format!("the object has no map {name}")))?;
            map.pin(pins::map(folder, name))
                .map_err(|error| ProbeError::Pin(explain(&error)))?;
        }
    }
    let logger = options
        .diagnostics
        .then(|| EbpfLogger::init(&mut ebpf))
        .transpose()
        .map_err(|error| ProbeError::Internal(format!("aya-log: {error}")))?;
    let ring =
        RingBuf::try_from(take_map(&mut ebpf, "EVENTS")?).map_err(|error| map_error(&error))?;
    let maps = LossMaps {
        counters: take_map(&mut ebpf, "LOSSES")?,
        round: take_map(&mut ebpf, "ROUND")?,
        told: take_map(&mut ebpf, "TOLD")?,
    };
    let mut losses =
        LossReader::new(maps, host::now().boottime_ns).map_err(|error| map_error(&error))?;
    let found = oom::attach(
        &mut ebpf,
        plan,
        layout.oom_kill_process,
        options.hook,
        folder,
        &mut absent,
    )?;
    links.extend(found.link);
    let (namer, symbols) = names(support, &mut ebpf, &mut absent);
    // It costs as much time as any other, and only a scope asks for it.
    let own = match options.scope {
        ScopeKind::Node => Err("no scope was asked for".to_owned()),
        ScopeKind::Fixed | ScopeKind::Changing => OwnPlaceReader::load(&mut ebpf),
    };
    let scope = ScopeMap::take(take_map(&mut ebpf, "SCOPE")?).map_err(|error| map_error(&error))?;
    load_tracepoints(&mut ebpf)?;
    for (name, tracepoint) in TRACEPOINTS {
        links.extend(attach_tracepoint(&mut ebpf, name, tracepoint, folder)?);
    }
    if options.scope == ScopeKind::Changing {
        let (name, tracepoint) = GONE;
        let gone =
            program(&mut ebpf, name).map_err(|error| ProbeError::Internal(explain(&error)))?;
        load_tracepoint(name, gone)?;
        links.extend(attach_tracepoint(&mut ebpf, name, tracepoint, folder)?);
    }
    for missed in MISSED {
        let program: Result<&mut RawTracePoint, _> = program(&mut ebpf, missed.program);
        let watched = program.and_then(|program| program.fd()).and_then(|fd| {
            losses
                .watch(missed.kind, missed.place, fd)
                .map_err(ProgramError::from)
        });
        watched.map_err(|error| ProbeError::Internal(explain(&error)))?;
    }
    Ok(Loaded {
        _held: Held {
            _ebpf: Some(ebpf),
            _links: links,
            _oom: None,
        },
        ring,
        losses,
        logger,
        hook: found.hook,
        symbols,
        namer,
        own,
        scope: Some(scope),
        absent,
    })
}

/// The object, with what those before have remembered, where it is to be had.
fn load_object(
    options: &Options,
    layout: &Layout,
    pinning: Option<&Pinning<'_>>,
) -> Result<(Ebpf, Vec<Absent>), ProbeError> {
    let mut absent = layout.absent.clone();
    let Some(before) = pinning.and_then(|pinning| pinning.before) else {
        return Ok((load(options, layout, &[])?, absent));
    };
    if before.wire() == wire::VERSION {
        let reused: Vec<_> = MEMORY
            .iter()
            .map(|name| (*name, before.map(name)))
            .collect();
        match load(options, layout, &reused) {
            Ok(ebpf) => return Ok((ebpf, absent)),
            Err(error) => log::debug!("the maps of those before cannot be gone on with: {error}"),
        }
    }
    absent.push(Absent {
        what: "requests to stop from before these programs".to_owned(),
        why: "those before remembered them in another form".to_owned(),
    });
    Ok((load(options, layout, &[])?, absent))
}

/// What names kernel functions, and whether anything does.
pub(super) fn names(
    support: &KernelSupport,
    ebpf: &mut Ebpf,
    absent: &mut Vec<Absent>,
) -> (Option<Namer>, bool) {
    if support.symbols == Availability::Yes {
        return (None, true);
    }
    match Namer::load(ebpf) {
        Ok(namer) => {
            absent.retain(|absent| absent.what != plan::SYMBOLS);
            (Some(namer), true)
        }
        Err(error) => {
            absent.push(Absent {
                what: "names of kernel functions from the kernel itself (bpf_snprintf)".to_owned(),
                why: explain(&error),
            });
            (None, false)
        }
    }
}

/// Attaches a program; returns its link where that is pinned.
fn attach_tracepoint(
    ebpf: &mut Ebpf,
    name: &'static str,
    tracepoint: &str,
    folder: Option<&Path>,
) -> Result<Option<PinnedLink>, ProbeError> {
    let failed = |error: &ProgramError| ProbeError::Attach {
        program: name,
        error: explain(error),
    };
    let program: &mut RawTracePoint = program(ebpf, name).map_err(|error| failed(&error))?;
    let link = program.attach(tracepoint).map_err(|error| failed(&error))?;
    let Some(folder) = folder else {
        return Ok(None);
    };
    let pinned = |error: &dyn std::error::Error| ProbeError::Pin(explain(error));
    program
        .pin(pins::program(folder, name))
        .map_err(|error| pinned(&error))?;
    let link: FdLink = program
        .take_link(link)
        .map_err(|error| failed(&error))?
        .into();
    let link = link
        .pin(pins::link(folder, name))
        .map_err(|error| pinned(&error))?;
    Ok(Some(link))
}

/// A map that is pinned.
pub(super) fn pinned_map(generation: &Generation, name: &str) -> Result<Map, ProbeError> {
    use aya::maps::MapData;
    MapData::from_pin(generation.map(name))
        .and_then(Map::from_map_data)
        .map_err(|error| ProbeError::Pin(format!("{name}: {}", explain(&error))))
}
