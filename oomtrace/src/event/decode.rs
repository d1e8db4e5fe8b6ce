//! From the bytes of a record to an [`Event`]: first the length is checked, then the
//! kind, then the rest is built. No input makes it panic.

use std::{collections::HashMap, sync::Arc};

use bytemuck::{AnyBitPattern, pod_read_unaligned};
use oomtrace_common::wire::{
    self, ALIGN, CgroupBody, MarkVictimBody, OomKillBody, RecordHeader, SectionHeader, SigkillBody,
    StopSlot, TaskFacts, info_kind, kind, oom_present, tag, who,
};
use thiserror::Error;

use super::{
    Ancestor, CpuLimits, Event, Exit, Image, InfoKind, MarkVictim, MemcgLevel, OomKill, Process,
    Sigkill,
    container::{CgroupChange, CgroupChangeKind},
    entry::{Entry, Symbol},
    facts, text,
};

/// A record that is not what the programs write.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    #[error("a record of {got} bytes is too short for {what}")]
    Short { what: &'static str, got: usize },
    #[error("a record of {got} bytes says that it has {said}")]
    Length { said: u32, got: usize },
    #[error(
        "a record has layout version {got}; this oomtrace reads {}",
        wire::VERSION
    )]
    Version { got: u16 },
    #[error("a record has the unknown kind {0}")]
    Kind(u16),
    #[error("a section of {len} bytes does not fit into its record")]
    Section { len: u32 },
    #[error("a record lacks its section about the {0}")]
    Missing(&'static str),
}

/// Reads a `T` at the start of `bytes`, and what follows it.
pub(super) fn take<'a, T: AnyBitPattern>(
    bytes: &'a [u8],
    what: &'static str,
) -> Result<(T, &'a [u8]), DecodeError> {
    let short = DecodeError::Short {
        what,
        got: bytes.len(),
    };
    let (head, rest) = bytes.split_at_checked(size_of::<T>()).ok_or(short)?;
    Ok((pod_read_unaligned(head), rest))
}

/// Each whole `T` in `bytes`.
fn all<T: AnyBitPattern>(bytes: &[u8]) -> impl Iterator<Item = T> {
    bytes.chunks_exact(size_of::<T>()).map(pod_read_unaligned)
}

/// The sections of one record, by tag and owner.
#[derive(Default)]
struct Sections<'a>(Vec<(SectionHeader, &'a [u8])>);

impl<'a> Sections<'a> {
    fn read(mut bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut sections = Self::default();
        while !bytes.is_empty() {
            let (header, rest) = take::<SectionHeader>(bytes, "a section")?;
            let bad = DecodeError::Section { len: header.len };
            let len = header.len as usize;
            let (payload, _) = rest.split_at_checked(len).ok_or(bad)?;
            sections.0.push((header, payload));
            // The last one's padding may be cut off.
            bytes = rest.get(len.next_multiple_of(ALIGN)..).unwrap_or_default();
        }
        Ok(sections)
    }

    fn get(&self, tag: u16, who: u16) -> Option<&'a [u8]> {
        self.0
            .iter()
            .find(|(header, _)| header.tag == tag && header.who == who)
            .map(|(_, payload)| *payload)
    }
}

/// The kinds of records that are in the stream, and their names.
pub const KINDS: [(u16, &str); 7] = [
    (kind::SIGKILL, "sigkill"),
    (kind::MARK_VICTIM, "mark_victim"),
    (kind::EXIT, "exit"),
    (kind::OOM_KILL, "oom_kill"),
    (kind::IMAGE, "image"),
    (kind::CGROUP_MADE, "cgroup_made"),
    (kind::CGROUP_EMPTIED, "cgroup_emptied"),
];

/// The name of a kind.
#[must_use]
pub fn kind_name(kind: u16) -> &'static str {
    let known = KINDS.iter().find(|(known, _)| *known == kind);
    known.map_or("unknown", |(_, name)| name)
}

/// The kind of a record, as an index; `None` if it is too short to have one.
#[must_use]
pub fn kind(record: &[u8]) -> Option<usize> {
    let (header, _) = take::<RecordHeader>(record, "its header").ok()?;
    Some(usize::from(header.kind))
}

/// When a record was written, `CLOCK_BOOTTIME`; `None` if it is too short to tell.
#[must_use]
pub fn boottime_ns(record: &[u8]) -> Option<u64> {
    let (header, _) = take::<RecordHeader>(record, "its header").ok()?;
    Some(header.boottime_ns)
}

/// Look-ups that a record needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Addresses on its call path that have no name yet.
    pub symbols: Vec<u64>,
    /// It is a SIGKILL of the kernel's own, and may be the OOM killer's.
    pub kernel_log: bool,
}

/// Call paths that are kept. A signal in interrupt context can come from anywhere.
const MOST_STACKS: usize = 1024;
/// Symbols that are kept; then all are looked up anew as they are needed.
const MOST_SYMBOLS: usize = 16 * 1024;

/// Turns entries into events. It keeps the symbols that came with the stream.
#[derive(Debug, Default)]
pub struct Decoder {
    page_bytes: u64,
    symbols: HashMap<u64, Option<String>>,
    /// Call paths are few: each is put together once.
    stacks: HashMap<Vec<u64>, Option<Arc<[String]>>>,
}

impl Decoder {
    /// The event of an entry; `None` for one that only adds to what is known.
    pub fn decode(&mut self, entry: &Entry) -> Result<Option<Event>, DecodeError> {
        Ok(Some(match entry {
            Entry::Session(session) => {
                self.page_bytes = session.page_bytes;
                Event::Session(session.clone())
            }
            Entry::Attached(attached) => Event::Attached(attached.clone()),
            Entry::Kernel(bytes) => self.record(bytes)?,
            Entry::Symbols(symbols) => {
                self.learn(symbols);
                return Ok(None);
            }
            Entry::Lost(lost) => Event::Lost(lost.clone()),
            Entry::Tick(tick) => Event::Tick(*tick),
            Entry::ProcessState(state) => Event::ProcessState(state.clone()),
            Entry::OomLine(line) => Event::OomLine(line.clone()),
            Entry::Cgroup(change) => Event::Cgroup(change.clone()),
            Entry::ContainerFacts(facts) => Event::ContainerFacts(facts.clone()),
            Entry::ContainerState(state) => Event::ContainerState(state.clone()),
            Entry::ContainerUnknown(unknown) => Event::ContainerUnknown(unknown.clone()),
            Entry::MemoryCurve(curve) => Event::MemoryCurve(curve.clone()),
            Entry::Unwatched(unwatched) => Event::Unwatched(unwatched.clone()),
            Entry::Paused(tick) => Event::Paused(*tick),
            Entry::NodeMemory(node) => Event::NodeMemory(node.clone()),
            Entry::Stopped(tick) => Event::Stopped(*tick),
        }))
    }

    /// The symbols that are known, for a stream that begins anew: so many at a time.
    pub(crate) fn known(&self, at_a_time: usize) -> Vec<Entry> {
        let symbols: Vec<Symbol> = self
            .symbols
            .iter()
            .map(|(address, name)| Symbol {
                address: *address,
                name: name.clone(),
            })
            .collect();
        let parts = symbols.chunks(at_a_time.max(1));
        parts.map(|part| Entry::Symbols(part.to_vec())).collect()
    }

    fn learn(&mut self, symbols: &[Symbol]) {
        for symbol in symbols {
            self.symbols.insert(symbol.address, symbol.name.clone());
        }
        self.stacks.clear();
    }

    /// What a record needs to have been looked up before it is decoded.
    #[must_use]
    pub fn needs(&mut self, record: &[u8]) -> Needs {
        if self.symbols.len() > MOST_SYMBOLS {
            self.symbols.clear();
            self.stacks.clear();
        }
        let Ok((header, sections)) = split(record) else {
            return Needs::default();
        };
        let body = record.get(size_of::<RecordHeader>()..).unwrap_or_default();
        let from_kernel = header.kind == kind::SIGKILL
            && take::<SigkillBody>(body, "a SIGKILL")
                .is_ok_and(|(body, _)| body.info_kind == info_kind::PRIV);
        let stack = sections.get(tag::STACK, who::EVENT).unwrap_or_default();
        let unknown = |address: &u64| !self.symbols.contains_key(address);
        Needs {
            symbols: all::<u64>(stack).filter(unknown).collect(),
            kernel_log: from_kernel,
        }
    }

    fn record(&mut self, bytes: &[u8]) -> Result<Event, DecodeError> {
        let (header, sections) = split(bytes)?;
        let body = bytes.get(size_of::<RecordHeader>()..).unwrap_or_default();
        let boottime_ns = header.boottime_ns;
        Ok(match header.kind {
            kind::SIGKILL => {
                let (body, _) = take::<SigkillBody>(body, "a SIGKILL")?;
                Event::Sigkill(Box::new(self.sigkill(boottime_ns, &body, &sections)?))
            }
            kind::MARK_VICTIM => {
                let (body, _) = take::<MarkVictimBody>(body, "a marked victim")?;
                Event::MarkVictim(MarkVictim {
                    boottime_ns,
                    victim_tid: body.victim_tid,
                    sender_tid: body.sender_tid,
                })
            }
            kind::EXIT => Event::Exit(Box::new(Exit {
                boottime_ns,
                victim: self.process(&sections, who::VICTIM, "victim")?,
                ptracer: sections
                    .get(tag::PTRACER, who::VICTIM)
                    .and_then(|ptracer| all::<wire::Ancestor>(ptracer).next())
                    .map(|ptracer| Ancestor::from(&ptracer)),
                queued_kill: sections
                    .get(tag::QUEUED_KILL, who::VICTIM)
                    .and_then(|queued| all::<wire::QueuedKill>(queued).next())
                    .map(|queued| queued.code),
            })),
            kind::OOM_KILL => {
                let (body, _) = take::<OomKillBody>(body, "an OOM kill")?;
                Event::OomKill(Box::new(self.oom_kill(boottime_ns, &body, &sections)))
            }
            kind::IMAGE => {
                let victim = self.process(&sections, who::VICTIM, "victim")?;
                Event::Image(Image {
                    boottime_ns,
                    victim: victim.group,
                    argv: victim.argv,
                })
            }
            kind @ (kind::CGROUP_MADE | kind::CGROUP_EMPTIED) => {
                let (body, _) = take::<CgroupBody>(body, "a change of a cgroup")?;
                Event::Cgroup(CgroupChange {
                    boottime_ns,
                    path: sections
                        .get(tag::MEMORY_CGROUP, who::EVENT)
                        .map(text::path)
                        .ok_or(DecodeError::Missing("cgroup"))?,
                    cgroup_id: body.id,
                    unified: body.unified == 1,
                    kind: match kind {
                        kind::CGROUP_MADE => CgroupChangeKind::Made,
                        _ => CgroupChangeKind::Emptied,
                    },
                })
            }
            unknown => return Err(DecodeError::Kind(unknown)),
        })
    }

    fn sigkill(
        &mut self,
        boottime_ns: u64,
        body: &SigkillBody,
        sections: &Sections<'_>,
    ) -> Result<Sigkill, DecodeError> {
        let stops = sections.get(tag::STOPS, who::VICTIM).unwrap_or_default();
        let sender = self.process(sections, who::SENDER, "sender")?;
        let mut victim = self.process(sections, who::VICTIM, "victim")?;
        facts::complete_ancestry(&mut victim, &sender);
        Ok(Sigkill {
            boottime_ns,
            result: facts::signal_result(body.result),
            code: body.code,
            group: body.group != 0,
            info: match body.info_kind {
                info_kind::NONE => InfoKind::None,
                info_kind::PRIV => InfoKind::Priv,
                _ => InfoKind::Pointer,
            },
            sender,
            victim,
            stack: sections
                .get(tag::STACK, who::EVENT)
                .and_then(|stack| self.stack(stack)),
            stops: all::<StopSlot>(stops)
                .map(|slot| facts::stop_request(&slot))
                .collect(),
            cpu_limits: sections
                .get(tag::CPU_LIMITS, who::VICTIM)
                .and_then(|limits| all::<wire::CpuLimits>(limits).next())
                .map(|limits| CpuLimits::from_wire(&limits))
                .unwrap_or_default(),
        })
    }

    /// The names of a call path, from the signal code outwards.
    fn stack(&mut self, bytes: &[u8]) -> Option<Arc<[String]>> {
        let addresses: Vec<u64> = all::<u64>(bytes).collect();
        if let Some(known) = self.stacks.get(&addresses) {
            return known.clone();
        }
        let names = addresses
            .iter()
            .filter_map(|address| self.symbols.get(address)?.as_deref());
        let path = call_path(names);
        let path = (!path.is_empty()).then(|| Arc::from(path));
        if self.stacks.len() > MOST_STACKS {
            self.stacks.clear();
        }
        self.stacks.insert(addresses, path.clone());
        path
    }

    fn process(
        &self,
        sections: &Sections<'_>,
        who: u16,
        name: &'static str,
    ) -> Result<Process, DecodeError> {
        let task_facts = sections
            .get(tag::TASK, who)
            .ok_or(DecodeError::Missing(name))?;
        let (task_facts, _) = take::<TaskFacts>(task_facts, "facts of a task")?;
        let mut process = facts::task(&task_facts);
        if let Some(ancestry) = sections.get(tag::ANCESTRY, who) {
            process.ancestry = all::<wire::Ancestor>(ancestry)
                .map(|a| Ancestor::from(&a))
                .collect();
        }
        if let Some(names) = sections.get(tag::ANCESTRY_EXE, who) {
            let names = text::strings(names);
            for (ancestor, name) in process.ancestry.iter_mut().zip(names) {
                ancestor.exe = (!name.is_empty()).then_some(name);
            }
        }
        if let Some(names) = sections.get(tag::ANCESTRY_CGROUP, who) {
            let names = text::strings(names);
            for (ancestor, name) in process.ancestry.iter_mut().zip(names) {
                ancestor.cgroup = (!name.is_empty()).then_some(name);
            }
        }
        process.argv = sections
            .get(tag::ARGV, who)
            .map(facts::argv)
            .transpose()?
            .flatten();
        let path = |tag: u16| sections.get(tag, who).map(text::path);
        process.exe = path(tag::EXE);
        process.memory_cgroup = path(tag::MEMORY_CGROUP);
        process.unified_cgroup = path(tag::UNIFIED_CGROUP);
        process.memcg = self.levels(sections, who, process.memory_cgroup.as_deref());
        Ok(process)
    }

    /// Memory cgroups from the one with this path to the root.
    fn levels(&self, sections: &Sections<'_>, who: u16, path: Option<&str>) -> Vec<MemcgLevel> {
        let bytes = sections.get(tag::MEMCG, who).unwrap_or_default();
        let root = sections.get(tag::UNIFIED_ROOT, who::EVENT);
        let unified_root = root
            .and_then(|root| all::<u64>(root).next())
            .filter(|root| *root != 0);
        let first = all::<wire::MemcgLevel>(bytes).next();
        let first = first.and_then(|level| MemcgLevel::depth(&level));
        let of = |level: &wire::MemcgLevel| -> Option<String> {
            let up = first?.checked_sub(MemcgLevel::depth(level)?)?;
            text::ancestor(path?, up)
        };
        all::<wire::MemcgLevel>(bytes)
            .map(|level| MemcgLevel::from_wire(&level, of(&level), unified_root, self.page_bytes))
            .collect()
    }

    fn oom_kill(&self, boottime_ns: u64, body: &OomKillBody, sections: &Sections<'_>) -> OomKill {
        let has = |bit: u32| body.present & bit != 0;
        let path = sections.get(tag::MEMORY_CGROUP, who::LIMIT).map(text::path);
        OomKill {
            boottime_ns,
            sender_tid: body.sender_tid,
            chosen_tgid: has(oom_present::CHOSEN).then_some(body.chosen_tgid),
            constraint: has(oom_present::CONSTRAINT)
                .then(|| facts::constraint(body.constraint))
                .flatten(),
            points: has(oom_present::POINTS).then_some(body.points),
            total_pages: has(oom_present::TOTAL_PAGES).then_some(body.total_pages),
            gfp_mask: has(oom_present::GFP).then_some(body.gfp_mask),
            order: has(oom_present::ORDER).then_some(body.order),
            is_memcg: has(oom_present::MEMCG_KNOWN).then(|| has(oom_present::MEMCG)),
            limit: self.levels(sections, who::LIMIT, path.as_deref()),
        }
    }
}

/// Where the process that asked runs, as the node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnPlace {
    /// Its id as the node sees it.
    pub tgid: u32,
    /// The paths of its cgroups: of the memory controller, and of v2 where that is another.
    pub memory_cgroup: Option<String>,
    pub unified_cgroup: Option<String>,
    /// The kernel's numbers of those cgroups and of all above them, its own first: of the memory
    /// controller's hierarchy if that is v1's, and of v2's.
    pub memory_levels: Vec<u64>,
    pub unified_levels: Vec<u64>,
    /// The cgroups that were asked for, the oldest first.
    pub children: Vec<ChildCgroup>,
}

/// A cgroup in which something runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChildCgroup {
    pub name: String,
    /// The name of a process in it itself, empty if there is none or it could not be read.
    pub comm: String,
}

/// Reads the answer of the program that finds it out.
pub fn own_place(record: &[u8]) -> Result<OwnPlace, DecodeError> {
    let (_, sections) = split(record)?;
    let (task_facts, _) = take::<TaskFacts>(
        sections
            .get(tag::TASK, who::SENDER)
            .ok_or(DecodeError::Missing("task"))?,
        "facts of a task",
    )?;
    let section = |tag: u16| sections.get(tag, who::SENDER);
    let levels = |tag: u16| all::<u64>(section(tag).unwrap_or_default()).collect();
    Ok(OwnPlace {
        tgid: task_facts.tgid,
        memory_cgroup: section(tag::MEMORY_CGROUP).map(text::path),
        unified_cgroup: section(tag::UNIFIED_CGROUP).map(text::path),
        memory_levels: levels(tag::MEMORY_LEVELS),
        unified_levels: levels(tag::UNIFIED_LEVELS),
        children: section(tag::CHILDREN)
            .map(text::strings)
            .unwrap_or_default()
            .chunks(2)
            .map(|child| ChildCgroup {
                name: child.first().cloned().unwrap_or_default(),
                comm: child.get(1).cloned().unwrap_or_default(),
            })
            .collect(),
    })
}

/// Checks a record's frame; its header and its sections.
fn split(bytes: &[u8]) -> Result<(RecordHeader, Sections<'_>), DecodeError> {
    let (header, rest) = take::<RecordHeader>(bytes, "a record")?;
    if header.version != wire::VERSION {
        return Err(DecodeError::Version {
            got: header.version,
        });
    }
    if header.len as usize != bytes.len() {
        return Err(DecodeError::Length {
            said: header.len,
            got: bytes.len(),
        });
    }
    let body = match header.kind {
        kind::SIGKILL => size_of::<SigkillBody>(),
        kind::MARK_VICTIM => size_of::<MarkVictimBody>(),
        kind::EXIT => size_of::<wire::ExitBody>(),
        kind::OOM_KILL => size_of::<OomKillBody>(),
        kind::CGROUP_MADE | kind::CGROUP_EMPTIED => size_of::<CgroupBody>(),
        kind::IMAGE | kind::OWN_PLACE => 0,
        unknown => return Err(DecodeError::Kind(unknown)),
    };
    let sections = rest.get(body..).ok_or(DecodeError::Short {
        what: "its body",
        got: bytes.len(),
    })?;
    Ok((header, Sections::read(sections)?))
}

/// The part of a call path that belongs to the kernel's signal code and its callers: the
/// frames before it are the tracer's own program and the tracing glue, whose names mean
/// nothing. Compiler suffixes are dropped.
fn call_path<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let plain: Vec<&str> = names
        .map(|name| name.split_once('.').map_or(name, |(name, _)| name))
        .collect();
    let start = plain
        .iter()
        .position(|name| name.starts_with("__send_signal") || name.ends_with("send_sigqueue"));
    let path = start
        .and_then(|start| plain.get(start..))
        .unwrap_or_default();
    path.iter().map(|name| (*name).to_owned()).collect()
}
