//! Whose limit it was: what is exact, what is inferred, in that order.

use std::collections::HashMap;

use super::case::Kill;
use crate::event::{Constraint, MemcgLevel, OomKill, Sigkill, entry::OomLine};

/// What tells whose limit was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// `oom_control.memcg`, from the hook on `oom_kill_process`.
    OomControl,
    /// The kernel log named it.
    KernelLog,
    /// The level's own count of hit limits has risen.
    OomEvents,
    /// The topmost level under the OOM lock.
    OomLock,
    /// The lowest common level that had nothing left.
    Exhausted,
}

/// What is known of an OOM.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The kernel said whether a cgroup's limit was hit or the node ran out.
    pub is_memcg_exact: bool,
    pub constraint: Option<Constraint>,
    pub limit: Option<MemcgLevel>,
    pub limit_source: Option<Source>,
    /// The trigger wrote the limit below what was in use.
    pub limit_lowered: bool,
    /// SysRq-f called the OOM killer.
    pub by_sysrq: bool,
}

/// How often each level's own limit had been hit when last seen, by its address.
pub(super) type Baseline = HashMap<u64, u64>;

/// Whether a SIGKILL went to a member of a group that the OOM killer takes whole.
#[must_use]
pub(super) fn is_of_group(kill: &Sigkill) -> bool {
    kill.stack
        .as_ref()
        .is_some_and(|stack| stack.iter().any(|frame| frame == "oom_kill_memcg_member"))
}

/// Concludes from what is kept of an OOM kill; for a member of a group, of the one that it went
/// for.
#[must_use]
pub(super) fn of_kill(kill: &Kill) -> Found {
    let kill = kill.chosen.as_deref().unwrap_or(kill);
    find(
        &kill.event,
        kill.hook.as_deref(),
        kill.line.as_ref(),
        &kill.baseline,
    )
}

/// Concludes from all that was seen of one OOM kill.
#[must_use]
pub(super) fn find(
    kill: &Sigkill,
    hook: Option<&OomKill>,
    line: Option<&OomLine>,
    baseline: &Baseline,
) -> Found {
    let on_path = |name: &str| {
        kill.stack
            .as_ref()
            .map(|stack| stack.iter().any(|frame| frame == name))
    };
    let by_path = on_path("mem_cgroup_out_of_memory");
    let by_line = line.map(|line| line.constraint == "CONSTRAINT_MEMCG");
    let said = by_path.or(hook.and_then(|hook| hook.is_memcg)).or(by_line);

    let common = common_levels(kill);
    let limit = hook
        .and_then(|hook| hook.limit.first().cloned())
        .map(|level| (level, Source::OomControl))
        .or_else(|| named(line, &common))
        .or_else(|| risen(&common, baseline))
        .or_else(|| locked(&common))
        .or_else(|| exhausted(&common));
    let is_memcg = said.unwrap_or(limit.is_some());
    let (limit, limit_source) = limit.filter(|_| is_memcg).unzip();
    let constraint = if is_memcg {
        Some(Constraint::Memcg)
    } else {
        hook.and_then(|hook| hook.constraint)
            .or_else(|| line.and_then(|line| constraint(&line.constraint)))
    };
    Found {
        is_memcg_exact: said.is_some(),
        constraint,
        limit,
        limit_source,
        limit_lowered: on_path("memory_max_write") == Some(true),
        by_sysrq: on_path("moom_callback") == Some(true),
    }
}

/// `oom_constraint_text` of `mm/oom_kill.c`.
fn constraint(name: &str) -> Option<Constraint> {
    Some(match name {
        "CONSTRAINT_NONE" => Constraint::None,
        "CONSTRAINT_CPUSET" => Constraint::Cpuset,
        "CONSTRAINT_MEMORY_POLICY" => Constraint::MemoryPolicy,
        "CONSTRAINT_MEMCG" => Constraint::Memcg,
        _ => return None,
    })
}

/// The victim's levels that are the trigger's as well, the lowest first. A trigger that
/// stands elsewhere (it wrote `memory.max`, say) says nothing of the limit.
fn common_levels(kill: &Sigkill) -> Vec<&MemcgLevel> {
    let theirs = |level: &&MemcgLevel| {
        kill.sender
            .memcg
            .iter()
            .any(|other| other.address == level.address)
    };
    let lowered = kill
        .stack
        .as_ref()
        .is_some_and(|stack| stack.iter().any(|frame| frame == "memory_max_write"));
    kill.victim
        .memcg
        .iter()
        .filter(|level| lowered || kill.sender.memcg.is_empty() || theirs(level))
        .collect()
}

fn named(line: Option<&OomLine>, common: &[&MemcgLevel]) -> Option<(MemcgLevel, Source)> {
    let name = line?.oom_memcg.as_deref()?;
    common
        .iter()
        .find(|level| level.path.as_deref() == Some(name))
        .map(|level| ((*level).clone(), Source::KernelLog))
}

/// The one level whose count has risen. One that was never seen before has risen if it is
/// not 0; where that leaves more than one, nothing is said.
fn risen(common: &[&MemcgLevel], baseline: &Baseline) -> Option<(MemcgLevel, Source)> {
    let mut risen = common.iter().filter(|level| {
        level
            .oom_events
            .is_some_and(|count| count > baseline.get(&level.address).copied().unwrap_or_default())
    });
    let level = risen.next()?;
    match risen.next() {
        None => Some(((*level).clone(), Source::OomEvents)),
        Some(_) => None,
    }
}

fn locked(common: &[&MemcgLevel]) -> Option<(MemcgLevel, Source)> {
    common
        .iter()
        .rev()
        .find(|level| level.oom_lock == Some(true))
        .map(|level| ((*level).clone(), Source::OomLock))
}

/// Neighbours look exhausted too: a charge that fails is taken back, and per-CPU stocks of
/// 64 pages (`MEMCG_CHARGE_BATCH`) blur the counters. The lowest within that is the guess.
fn exhausted(common: &[&MemcgLevel]) -> Option<(MemcgLevel, Source)> {
    const SLACK_PAGES: u64 = 64;
    common
        .iter()
        .find(|level| match (level.usage_pages, level.max_pages) {
            (Some(usage), Some(max)) => usage.saturating_add(SLACK_PAGES) >= max,
            _ => false,
        })
        .map(|level| ((*level).clone(), Source::Exhausted))
}

/// Remembers the counts of all levels of an OOM, for the next one.
pub(super) fn remember(baseline: &mut Baseline, kill: &Sigkill) {
    // Levels come and go; addresses are used again. Forgetting all now and then keeps the
    // table small; the worst that follows is one conclusion instead of a proof.
    const MOST: usize = 16 * 1024;
    if baseline.len() > MOST {
        baseline.clear();
    }
    for level in kill.victim.memcg.iter().chain(&kill.sender.memcg) {
        if let Some(count) = level.oom_events {
            baseline.insert(level.address, count);
        }
    }
}
