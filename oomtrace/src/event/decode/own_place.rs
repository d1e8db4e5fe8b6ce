//! Where the process that asked runs: the answer of the program that finds it out, which is no
//! event of the stream.

use oomtrace_common::wire::{TaskFacts, tag, who};

use super::record::{DecodeError, all, split, take};
use crate::event::text;

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
