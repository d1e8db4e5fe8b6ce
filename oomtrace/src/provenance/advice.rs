//! What to do about a death: which rows of the table of advice fit it, with their figures filled
//! in.

mod earlyoom;
mod values;

use super::{
    build::{Grace, Survival},
    judge::Verdict,
    naming::Located,
    record::{ActorKind, Advice, Cause, Mechanism, OomMemory, Reading},
    role::Role,
    rules::Rules,
    stop,
};
use crate::{
    event::Process,
    identity::heap::{self, Fit, Runtime},
};

/// What advice is given about.
pub(super) struct About<'a> {
    pub(super) verdict: &'a Verdict<'a>,
    pub(super) at: &'a Located<'a>,
    pub(super) victim: &'a Process,
    pub(super) sender: &'a Process,
    /// The victim's arguments as it had them.
    pub(super) argv: Option<&'a [String]>,
    pub(super) survived: Option<Survival>,
    /// The time that it should have had for a stop.
    pub(super) grace: Option<Grace>,
    pub(super) page_bytes: u64,
    /// All memory of the node, without swap.
    pub(super) node_bytes: Option<u64>,
    /// What came before an OOM kill.
    pub(super) memory: Option<&'a OomMemory>,
}

/// What to do, the most important first.
#[must_use]
pub(super) fn of(about: &About<'_>, rules: &Rules) -> Vec<Advice> {
    let value = |name: &str| match name {
        "whom" => Some(about.whom(rules)),
        name => about.value(name),
    };
    let main = about.main();
    let more = [
        about.forced().filter(|key| *key != main),
        about.shell_form(),
        about
            .heap()
            .filter(|key| *key == "heap_tight" || !about.is_ramp()),
        about.not_heap(),
        about.quality_of_service(),
        about.left_behind(),
    ];
    let first = about
        .daemon()
        .and_then(|key| row(&key, value, rules))
        .or_else(|| row(main, value, rules));
    let more = more.into_iter().flatten();
    first
        .into_iter()
        .chain(more.filter_map(|key| row(key, value, rules)))
        .collect()
}

/// The advice under a key, with values for what stands in braces.
#[must_use]
pub(super) fn row(
    key: &str,
    value: impl Fn(&str) -> Option<String>,
    rules: &Rules,
) -> Option<Advice> {
    let row = rules.advice(key)?;
    Some(Advice {
        code: row.code.clone(),
        text: fill(&row.text, value),
    })
}

/// Kubernetes gives `oom_score_adj` by a pod's class (pkg/kubelet/qos/policy.go). A burstable
/// container has 1000 less a thousandth for each thousandth of the node that it requests; but no
/// less than 3 (2 in older releases), and no more than 999, which one without a memory request
/// has, too.
const GUARANTEED: i32 = -997;
const BEST_EFFORT: i32 = 1000;
const BURSTABLE: std::ops::RangeInclusive<i32> = 2..=999;
const BURSTABLE_LEAST: std::ops::RangeInclusive<i32> = 2..=3;
const BURSTABLE_MOST: i32 = 999;

impl About<'_> {
    /// The row of the verdict itself.
    fn main(&self) -> &'static str {
        let verdict = self.verdict;
        let oom = verdict.oom.as_ref();
        let limit = oom.and_then(|oom| oom.limit.as_ref());
        match verdict.cause {
            Cause::CgroupOom if oom.is_some_and(|oom| oom.limit_lowered) => "limit_lowered",
            Cause::CgroupOom
                if limit.is_some_and(|level| level.path.is_some() && level.max_pages.is_some()) =>
            {
                match self.memory.and_then(|memory| memory.reading) {
                    Some(Reading::Plateau) => "cgroup_oom_plateau",
                    Some(Reading::Ramp) => self.ramp(),
                    Some(Reading::Burst) => "cgroup_oom_burst",
                    Some(Reading::Steps) => "cgroup_oom_steps",
                    Some(Reading::TooShort) | None => "cgroup_oom",
                }
            }
            Cause::CgroupOom => "cgroup_oom_unnamed",
            Cause::GlobalOom if oom.is_some_and(|oom| oom.by_sysrq) => "sysrq_f",
            // A cpuset or a memory policy may have kept it from what was left.
            Cause::GlobalOom if oom.is_some_and(|oom| oom.constraint.is_none()) => {
                "global_oom_unsure"
            }
            Cause::SupervisorKill if verdict.stop.is_some() || verdict.is_early => {
                "supervisor_kill_asked"
            }
            Cause::AppKill if verdict.actor.kind == ActorKind::SecurityAgent => "security_agent",
            Cause::AppKill if !verdict.actor.is_related => "unknown_kill",
            Cause::SelfKill if verdict.is_to_own_group => "self_kill_by_group",
            Cause::StopTimeout if self.was_ignored() && self.victim.is_namespace_init() => {
                "stop_ignored_by_init"
            }
            Cause::StopTimeout if self.was_ignored() => "stop_ignored",
            Cause::StopTimeout => match verdict.stop.map(|stop| stop.reason) {
                Some(stop::Reason::Blocked) => "stop_blocked",
                Some(stop::Reason::Frozen | stop::Reason::Stopped) => "stop_held",
                Some(stop::Reason::Uninterruptible) => "stop_uninterruptible",
                _ if self.forced().is_some() => "stop_forced",
                Some(stop::Reason::NotTaken) => "stop_not_taken",
                _ => "stop_slow",
            },
            Cause::CpuLimit if verdict.mechanism == Mechanism::RlimitRttime => "cpu_limit_rttime",
            Cause::Kernel => match verdict.mechanism {
                Mechanism::Seccomp => "kernel_seccomp",
                Mechanism::Ptrace => "kernel_ptrace",
                Mechanism::Sysrq => "kernel_sysrq",
                _ => "kernel",
            },
            cause => cause.name(),
        }
    }

    /// The row of an OOM daemon whose policies are known, by its name.
    fn daemon(&self) -> Option<String> {
        let name = self.verdict.actor.name.as_deref()?;
        (self.verdict.cause == Cause::UserspaceOom).then(|| format!("userspace_oom_{name}"))
    }

    fn is_ramp(&self) -> bool {
        self.memory
            .is_some_and(|memory| memory.reading == Some(Reading::Ramp))
    }

    /// What grew until its limit was full. A heap that may be larger than the limit fills up
    /// without leaking, and what lived for minutes only may have been starting still.
    fn ramp(&self) -> &'static str {
        let is_heap = self.not_heap().is_none();
        match self.heap() {
            Some("heap_beyond_limit") if is_heap => "heap_beyond_limit_ramp",
            Some("go_beyond_limit") if is_heap => "go_beyond_limit_ramp",
            _ if self.memory.is_some_and(|memory| memory.may_be_start_up) => {
                "cgroup_oom_ramp_start"
            }
            _ if is_heap => "cgroup_oom_ramp",
            _ => "cgroup_oom_ramp_not_heap",
        }
    }

    fn was_ignored(&self) -> bool {
        self.verdict.stop.is_some_and(|stop| stop.was_ignored())
    }

    /// A runtime that was told to wait for less than is configured: that it did not stop within
    /// that is no fault of the victim's.
    fn forced(&self) -> Option<&'static str> {
        let is_forced = self.grace.is_some_and(|grace| grace.is_forced);
        (is_forced && self.verdict.cause == Cause::StopTimeout).then_some("stop_forced")
    }

    /// A shell that runs the program, as a Dockerfile's shell form has it, gets the signal and
    /// hands it on to nobody.
    fn shell_form(&self) -> Option<&'static str> {
        const SHELLS: &[&str] = &["sh", "ash", "bash", "dash"];
        let argv = self.argv?;
        let shell = argv.first()?.rsplit('/').next()?;
        let is_main =
            matches!(self.at.role, Role::ContainerInit) || self.victim.is_namespace_init();
        let runs_one = argv.get(1).is_some_and(|option| option == "-c");
        let is_it = self.verdict.cause == Cause::StopTimeout
            && self.was_ignored()
            && is_main
            && runs_one
            && SHELLS.contains(&shell);
        is_it.then_some("shell_form")
    }

    /// The limit that was hit, and what the victim's runtime was told about its heap.
    fn setting(&self) -> Option<(heap::Setting, u64)> {
        if self.verdict.cause != Cause::CgroupOom {
            return None;
        }
        let limit = self.verdict.oom.as_ref()?.limit.as_ref()?;
        let limit_bytes = limit.max_pages?.saturating_mul(self.page_bytes);
        let facts = self.at.known.and_then(|known| known.facts.as_deref());
        // What the container was given, its processes hand on to each other.
        let given = facts.map_or(&[][..], |facts| &facts.heap);
        let names = [&self.victim.exe, &self.victim.comm];
        let names: Vec<&str> = names
            .into_iter()
            .filter_map(|name| name.as_deref())
            .collect();
        Some((heap::of_program(&names, self.argv, given)?, limit_bytes))
    }

    fn heap(&self) -> Option<&'static str> {
        let (setting, limit_bytes) = self.setting()?;
        match setting.fit(limit_bytes) {
            Fit::Beyond if setting.of == Runtime::Go => Some("go_beyond_limit"),
            Fit::Beyond => Some("heap_beyond_limit"),
            Fit::Tight => Some("heap_tight"),
            Fit::Fits => None,
        }
    }

    /// Memory that no heap's setting bounds: more than this part of the limit.
    fn not_heap(&self) -> Option<&'static str> {
        const MUCH: u64 = 3;
        let memory = self.memory?;
        let (split, limit_bytes) = (memory.split?, memory.limit_bytes?);
        // Only at the kill itself has the kernel tried to take it back.
        let is_of_the_kill = split.seconds_before == 0.0;
        let is_much = |bytes: u64| bytes.saturating_mul(MUCH) >= limit_bytes;
        if is_much(split.shmem_bytes) {
            Some("tmpfs")
        } else if split.slab_bytes.is_some_and(is_much) {
            Some("slab")
        } else if split.sock_bytes.is_some_and(is_much) {
            Some("sockets")
        } else if is_of_the_kill && is_much(split.file_bytes) {
            Some("page_cache")
        } else {
            None
        }
    }

    /// When the node runs out, a pod's class decides who goes first.
    fn quality_of_service(&self) -> Option<&'static str> {
        let is_node = self.verdict.cause == Cause::GlobalOom
            && self.verdict.oom.as_ref().is_some_and(|oom| !oom.by_sysrq);
        self.at.place.pod.as_ref().filter(|_| is_node)?;
        match self.victim.oom_score_adj? {
            BEST_EFFORT => Some("qos_best_effort"),
            GUARANTEED => Some("qos_guaranteed"),
            BURSTABLE_MOST => Some("qos_burstable_little"),
            adj if BURSTABLE_LEAST.contains(&adj) => Some("qos_burstable_all"),
            adj if BURSTABLE.contains(&adj) => Some(match self.request_bytes() {
                Some(_) => "qos_burstable",
                None => "qos_burstable_unnamed",
            }),
            _ => None,
        }
    }

    /// What a burstable container has asked for, by its `oom_score_adj`.
    fn request_bytes(&self) -> Option<u64> {
        let adj = self
            .victim
            .oom_score_adj
            .filter(|adj| BURSTABLE.contains(adj))?;
        let part = u64::try_from(BEST_EFFORT - adj).ok()?;
        Some(self.node_bytes? / 1000 * part)
    }

    /// A container that goes on without one of its processes may be broken.
    fn left_behind(&self) -> Option<&'static str> {
        let is_child = self.at.role == Role::Child && self.verdict.cause == Cause::CgroupOom;
        let is_left = is_child && self.survived == Some(Survival::GoesOn);
        // The hierarchy of the memory controller is one for all levels.
        let mut levels = self.victim.memcg.iter();
        let is_v1 = levels.any(|level| level.v1 == Some(true));
        is_left.then_some(if is_v1 {
            "left_behind_v1"
        } else {
            "left_behind"
        })
    }
}

/// A text with each `{name}` replaced; what is put in is not looked at again.
fn fill(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, from)) = rest.split_once('{') {
        filled.push_str(before);
        let Some((name, after)) = from.split_once('}') else {
            rest = from;
            break;
        };
        filled.push_str(&value(name).unwrap_or_else(|| "?".to_owned()));
        rest = after;
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_template() {
        let value = |name: &str| (name == "victim").then(|| "{actor}".to_owned());
        assert_eq!(
            fill("look at {victim} of {actor}", value),
            "look at {actor} of ?"
        );
    }
}
