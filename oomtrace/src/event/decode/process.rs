//! A process of a record, and its memory cgroups: its facts, and what is in sections of its own.

use oomtrace_common::wire::{self, TaskFacts, tag, who};

use super::record::{DecodeError, Sections, all, take};
use crate::event::{Ancestor, MemcgLevel, Process, facts, text};

/// `who`: whose sections; `name`: what they are called where they lack.
pub(super) fn process(
    sections: &Sections<'_>,
    who: u16,
    name: &'static str,
    page_bytes: u64,
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
    process.memcg = levels(sections, who, process.memory_cgroup.as_deref(), page_bytes);
    Ok(process)
}

/// Memory cgroups from the one with this path to the root.
pub(super) fn levels(
    sections: &Sections<'_>,
    who: u16,
    path: Option<&str>,
    page_bytes: u64,
) -> Vec<MemcgLevel> {
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
        .map(|level| MemcgLevel::from_wire(&level, of(&level), unified_root, page_bytes))
        .collect()
}
