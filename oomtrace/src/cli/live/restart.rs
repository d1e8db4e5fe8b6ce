//! From the tracer before to this one: what it has left in the journal, whether its programs have
//! watched meanwhile, and what is known of the time in which nobody did.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};

use super::node::Node;
use crate::{
    dying,
    event::{
        decode,
        entry::{Entry, Tick, Unwatched},
        frame,
        recording::Writer,
        text::printable,
    },
    identity::{
        host,
        memory::{Hierarchy, kills},
    },
    journal::{Journal, JournalError, OomCounts, Recovered},
    pipeline::{Pipeline, PipelineError},
    probe::{
        attach::{Older, Pinned, Probe},
        kmsg::KernelLog,
    },
    store::{self, AskProgress},
    vitals::Vitals,
};

/// Why nothing is known of a stretch.
const NOBODY: &str = "no oomtrace ran that keeps its deaths here, and none had left its programs attached (--pin does)";

/// Why something is missing though somebody traced.
const NOT_KEPT: &str = "the oomtrace before was killed, and its journal could not be written: deaths that it had not stored by then are lost";

/// Kinds and payloads.
type Frames = Vec<(u8, Vec<u8>)>;

/// What is to outlive this process.
#[derive(Clone, Default)]
pub(in crate::cli) struct Keeping {
    /// Where programs and maps are pinned.
    pub(in crate::cli) pins: Option<PathBuf>,
    /// The store, beside which the journal is, and what tells how far all is stored.
    pub(in crate::cli) store: Option<(PathBuf, AskProgress)>,
}

impl Keeping {
    /// Where programs are pinned, and whose journal has what they have seen.
    pub(super) fn pinned(&self) -> Option<Pinned> {
        let folder = self.pins.clone()?;
        let journal = |(store, _): &(PathBuf, _)| Journal::of_store(store);
        let journal = self.store.as_ref().map(journal);
        Some(Pinned {
            folder,
            reader: journal.map(|journal| std::path::absolute(&journal).unwrap_or(journal)),
        })
    }
}

/// What the tracer before has left, and the journal to go on with.
pub(super) struct Left {
    store: PathBuf,
    stored: AskProgress,
    pub(super) journal: Arc<Journal>,
    recovered: Recovered,
}

impl Left {
    /// Opens the journal. Without one, what is half known when this process is killed is lost:
    /// that is said, and tracing goes on.
    pub(super) fn open(keeping: &Keeping) -> Option<Self> {
        let (store, stored) = keeping.store.clone()?;
        let path = Journal::of_store(&store);
        let is_taken = |error: &JournalError| matches!(error, JournalError::Taken);
        match dying::patiently(is_taken, || Journal::open(&path)) {
            Ok((journal, recovered)) => Some(Self {
                store,
                stored,
                journal,
                recovered,
            }),
            Err(error) => {
                let path = printable(&path.display().to_string());
                // The store says the same of itself, and what to do.
                if matches!(error, JournalError::Taken) {
                    log::info!("no journal: {path}: {error}");
                } else {
                    log::error!(
                        "no journal of events can be kept in {path}: {error}\n\
                         meanwhile: tracing goes on; deaths that are not stored yet are lost if oomtrace is killed"
                    );
                }
                None
            }
        }
    }

    /// When the tracer before was there for the last time, if it was since the node was started:
    /// `CLOCK_BOOTTIME`.
    pub(super) fn seen_ns(&self) -> Option<u64> {
        let session = self.recovered.session()?;
        if session.boot_id != host::session().boot_id {
            return None;
        }
        let seen = self.recovered.seen.map(|seen| seen.boottime_ns);
        let last = self.recovered.last.as_deref().and_then(decode::boottime_ns);
        seen.max(last)
    }

    /// From when on the kernel's log is read: what it says of an OOM kill stands there before the
    /// SIGKILL. `CLOCK_BOOTTIME`.
    pub(super) fn log_since_ns(&self) -> Option<u64> {
        const BEFORE_NS: u64 = 30_000_000_000;
        self.seen_ns()
            .map(|seen_ns| seen_ns.saturating_sub(BEFORE_NS))
    }

    /// The record that was written down last: it may be in the ring still.
    pub(super) fn last(&self) -> Option<bytes::Bytes> {
        self.recovered.last.clone()
    }

    /// Saves what another version has left, in a form that it can read.
    pub(super) fn save_foreign(&mut self, older: Vec<Older>) -> Vec<Unwatched> {
        let mut saved = Vec::new();
        let mut seen_ns = self.seen_ns();
        let mut aside = None;
        let mut parts: BTreeMap<u32, (Frames, Vec<Older>)> = BTreeMap::new();
        if let Some(journal) = self.recovered.foreign.take() {
            seen_ns = seen_ns.max(journal.seen.map(|seen| seen.boottime_ns));
            aside = Some(journal.path);
            parts.entry(journal.version).or_default().0 = journal.frames;
        }
        for older in older {
            let version = u32::from(older.wire());
            parts.entry(version).or_default().1.push(older);
        }
        for (version, (frames, older)) in parts {
            match save(&self.store, version, &frames, older, seen_ns) {
                Ok(unwatched) => {
                    saved.push(unwatched);
                    // All that it held is saved.
                    if let Some(aside) = aside.iter().find(|_| !frames.is_empty()) {
                        let _ = fs::remove_file(aside);
                    }
                }
                Err(error) => log::error!(
                    "what an oomtrace of another version has left cannot be saved: {error:#}"
                ),
            }
        }
        saved
    }

    /// What the second thread does first.
    pub(super) fn resumption(self, probe: &Probe, attached: Tick) -> Resumption {
        let seen_ns = self.seen_ns();
        // Programs of before that were read to the end for this store leave no stretch out.
        let unwatched = seen_ns
            .filter(|_| probe.resumed_since_ns().is_none())
            .map(|seen_ns| (seen_ns, attached.boottime_ns));
        let broken = self.recovered.broken.as_ref();
        let broken = broken.filter(|broken| broken.boot_id == host::session().boot_id);
        Resumption {
            is_of_this_boot: seen_ns.is_some(),
            broken: broken.map(|broken| BrokenOff {
                since_ns: broken.since.boottime_ns,
                is_watched: probe.resumed_since_ns().is_some() || unwatched.is_some(),
                attached,
            }),
            unwatched,
            left: self,
        }
    }
}

/// See [`Left::resumption`].
pub(super) struct Resumption {
    left: Left,
    is_of_this_boot: bool,
    /// Nobody traced from the one moment to the other.
    unwatched: Option<(u64, u64)>,
    /// What had been seen could not be kept.
    broken: Option<BrokenOff>,
}

/// A journal that could not be written to the end.
#[derive(Clone, Copy)]
struct BrokenOff {
    since_ns: u64,
    /// Something else tells what was watched between the two tracers.
    is_watched: bool,
    /// When this tracer began.
    attached: Tick,
}

impl BrokenOff {
    /// What is told of it: until when the tracer before was there is known by the store alone.
    fn told(self, reader: Option<&store::Reader>) -> Vec<Unwatched> {
        let attached_ns = self.attached.boottime_ns;
        let stretch = |from_ns, to_ns, was_traced: bool| Unwatched {
            from_ns,
            to_ns,
            why: if was_traced { NOT_KEPT } else { NOBODY }.to_owned(),
            was_traced,
            kills: Vec::new(),
        };
        if self.is_watched {
            return vec![stretch(self.since_ns, attached_ns, true)];
        }
        let watches = reader.and_then(|reader| reader.watches(1).ok());
        let seen_ns = watches.iter().flatten().next().and_then(|watch| {
            let ago_ns = self.attached.realtime_ns.checked_sub(watch.seen_ns)?;
            attached_ns.checked_sub(u64::try_from(ago_ns).ok()?)
        });
        let seen_ns = seen_ns.unwrap_or_default().max(self.since_ns);
        vec![
            stretch(self.since_ns, seen_ns, true),
            Unwatched {
                kills: reconcile(seen_ns, attached_ns, None, &BTreeMap::new()),
                ..stretch(seen_ns, attached_ns, false)
            },
        ]
    }
}

impl Resumption {
    /// Puts what was left through the pipeline. Returns what is known of the time in which nobody
    /// traced, to be told once this tracer has begun.
    pub(super) fn run(
        self,
        pipeline: &mut Pipeline<Node>,
        vitals: &Vitals,
    ) -> Result<Vec<Unwatched>, PipelineError> {
        let Self {
            left,
            is_of_this_boot,
            unwatched,
            broken,
        } = self;
        pipeline.keep_in(left.journal, left.stored);
        let mut recovered = left.recovered;
        if recovered.unreadable > 0 {
            log::error!(
                "{} entries of the journal cannot be read by this version, and are left out",
                recovered.unreadable
            );
        }
        let reader = || {
            let reader = store::Reader::open_for_revisions(&left.store).inspect_err(|error| {
                log::debug!("what is stored cannot be looked at before it is told again: {error}");
            });
            reader.ok()
        };
        let mut told = broken.map_or_else(Vec::new, |broken| broken.told(reader().as_ref()));
        if recovered.taken.is_empty() && recovered.rest.is_empty() {
            return Ok(told);
        }
        let beat = &mut || vitals.resumed();
        let reader = reader();
        let mut stored = |id: &str| reader.as_ref()?.revision(id).ok().flatten();
        let rest = std::mem::take(&mut recovered.rest);
        let mut rest: Vec<Entry> = rest.into_iter().map(Entry::Kernel).collect();
        let counts = recovered.counts.take();
        let mut boots = recovered.boots();
        let last = if is_of_this_boot { boots.pop() } else { None };
        // What is left of earlier boots, the last records among it if nothing is of this one.
        if last.is_none()
            && let Some(boot) = boots.last_mut()
        {
            boot.append(&mut rest);
        }
        for boot in boots {
            let end = boot.iter().rev().find_map(|entry| match entry {
                Entry::Tick(tick) | Entry::Paused(tick) | Entry::Stopped(tick) => Some(*tick),
                _ => None,
            });
            pipeline.resume_ended(boot, end.unwrap_or_default(), &mut stored, beat)?;
        }
        let Some(last) = last else {
            return Ok(told);
        };
        let seen = pipeline.resume(&last, rest, &mut stored, beat)?;
        if let Some((from_ns, to_ns)) = unwatched {
            told.push(Unwatched {
                from_ns,
                to_ns,
                why: NOBODY.to_owned(),
                was_traced: false,
                kills: reconcile(from_ns, to_ns, counts.as_ref(), &seen),
            });
        }
        Ok(told)
    }
}

/// What others say of the time in which nobody traced. `seen`: how many OOM kills of each cgroup
/// were, since they were counted.
fn reconcile(
    from_ns: u64,
    to_ns: u64,
    before: Option<&OomCounts>,
    seen: &BTreeMap<String, u64>,
) -> Vec<crate::event::entry::InferredKill> {
    let mut found = KernelLog::kills_between(from_ns, to_ns).unwrap_or_default();
    let Some(before) = before else {
        return found;
    };
    if let Ok(hierarchy) = Hierarchy::find(host::page_bytes()) {
        let now = kills::oom_kills(&hierarchy);
        let counted = kills::unseen(&hierarchy, &before.kills, &now, seen, &found);
        found.extend(counted);
    }
    found
}

/// How often the OOM killer has come so far.
pub(super) fn oom_counts() -> Option<OomCounts> {
    let hierarchy = Hierarchy::find(host::page_bytes()).ok()?;
    Some(OomCounts {
        boottime_ns: host::now().boottime_ns,
        kills: kills::oom_kills(&hierarchy),
    })
}

/// Writes a recording that the version which knows these records can read, beside the store.
fn save(
    store: &Path,
    version: u32,
    frames: &[(u8, Vec<u8>)],
    mut older: Vec<Older>,
    seen_ns: Option<u64>,
) -> Result<Unwatched> {
    let path = free_name(store, version);
    let name = printable(&path.display().to_string());
    store::make_folder(&path)?;
    let file = store::open_private(&path).with_context(|| name.clone())?;
    // Without a buffer: what is taken from a ring is on its way to the disk then.
    let mut writer = Writer::of_version(file, version)?;
    let mut count = 0u64;
    let mut write = |kind: u8, payload: &[u8]| -> io::Result<()> {
        count += 1;
        writer.write_raw(kind, payload)
    };
    for (kind, payload) in frames {
        write(*kind, payload)?;
    }
    // It must begin like any.
    if frames.is_empty() {
        for entry in [Entry::Session(host::session()), Entry::Tick(host::now())] {
            let (kind, payload) = frame::encode(&entry)?;
            write(kind, &payload)?;
        }
    }
    // Without programs of its own it has left nothing that watched until now.
    let was_traced = !older.is_empty();
    let mut from_ns = None;
    for older in &mut older {
        from_ns = from_ns.or(Some(older.since_ns()));
        while !older.is_over() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        while let Some(written) = older.next_record(|record| write(frame::KERNEL, record)) {
            written?;
        }
    }
    let now = host::now();
    let end = Entry::Stopped(now);
    let (kind, payload) = frame::encode(&end)?;
    write(kind, &payload)?;
    writer.finish()?.sync_all()?;
    let mut lost = 0;
    for older in older {
        lost += older.remove()?.iter().map(|lost| lost.count).sum::<u64>();
    }
    let lost = match lost {
        0 => String::new(),
        lost => format!("; {lost} more events were lost for want of room"),
    };
    let why = format!(
        "an oomtrace of another version was at work: {count} entries that it has left are kept in {name}{lost}; the version that reads recordings of version {version} tells them (oomtrace replay)"
    );
    log::warn!("{why}");
    Ok(Unwatched {
        from_ns: from_ns.max(seen_ns).unwrap_or(now.boottime_ns),
        to_ns: now.boottime_ns,
        why,
        was_traced,
        kills: Vec::new(),
    })
}

/// No recording is written over.
fn free_name(store: &Path, version: u32) -> PathBuf {
    let name = |suffix: &str| store::beside(store, &format!(".v{version}{suffix}.rec"));
    let numbered = (1..).map(|number| name(&format!(".{number}")));
    std::iter::once(name(""))
        .chain(numbered)
        .find(|path| !path.exists())
        .unwrap_or_else(|| name(""))
}
