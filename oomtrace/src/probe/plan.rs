//! What to attach: decided from facts alone.

use super::{
    error::ProbeError,
    support::{Availability, KernelSupport},
};
use crate::event::entry::Absent;

/// A hook on the OOM killer, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OomHook {
    Fentry,
    Kprobe,
    /// None of its own: the tracepoints have to do.
    Tracepoint,
}

impl OomHook {
    /// As it stands in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
        }
    }
}

/// What is absent where /proc/kallsyms is closed; it can be had from the kernel in another way.
pub(super) const SYMBOLS: &str = "names of kernel functions (/proc/kallsyms)";

/// What to try, in this order, and what need not be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub hooks: Vec<OomHook>,
    pub absent: Vec<Absent>,
}

/// Decides. `asked`: the one hook that the user wants and no other.
pub fn decide(support: &KernelSupport, asked: Option<OomHook>) -> Result<Plan, ProbeError> {
    let lacking = support.privileges.lacking();
    if !lacking.is_empty() {
        let names: Vec<&str> = lacking.iter().map(|capability| capability.name()).collect();
        return Err(ProbeError::Privileges {
            lacking: names.join(" and "),
            uid: support.privileges.uid,
            effective: format!("{:#x}", support.privileges.effective),
        });
    }
    if support.btf.is_no() {
        return Err(ProbeError::NoBtf);
    }
    match &support.ring_buffer {
        Availability::Yes => {}
        Availability::No(_) => return Err(ProbeError::NoRingBuffer),
        Availability::Unknown(error) => return Err(ProbeError::Refused(error.clone())),
    }

    let mut plan = Plan {
        hooks: Vec::new(),
        absent: Vec::new(),
    };
    for (hook, availability) in [
        (OomHook::Fentry, &support.fentry),
        (OomHook::Kprobe, &support.kprobe),
    ] {
        match availability {
            Availability::No(why) => {
                if asked == Some(hook) {
                    return Err(ProbeError::Hook {
                        asked: hook.name(),
                        why: why.clone(),
                    });
                }
                plan.absent.push(Absent {
                    what: format!("{} on oom_kill_process", hook.name()),
                    why: why.clone(),
                });
            }
            // What could not be asked for is tried.
            Availability::Yes | Availability::Unknown(_) => plan.hooks.push(hook),
        }
    }
    plan.hooks.push(OomHook::Tracepoint);
    if let Some(asked) = asked {
        plan.hooks.retain(|hook| *hook == asked);
    }
    for (what, availability) in [
        (SYMBOLS, &support.symbols),
        ("the kernel's log (/dev/kmsg)", &support.kernel_log),
    ] {
        if let Availability::No(why) | Availability::Unknown(why) = availability {
            plan.absent.push(Absent {
                what: what.to_owned(),
                why: why.clone(),
            });
        }
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::{super::support::Privileges, *};

    fn all() -> KernelSupport {
        KernelSupport {
            privileges: Privileges {
                uid: 0,
                effective: u64::MAX,
            },
            btf: Availability::Yes,
            ring_buffer: Availability::Yes,
            fentry: Availability::Yes,
            kprobe: Availability::Yes,
            symbols: Availability::Yes,
            kernel_log: Availability::Yes,
        }
    }

    #[test]
    fn the_best_is_tried_first() {
        let plan = decide(&all(), None).unwrap();
        assert_eq!(
            plan.hooks,
            [OomHook::Fentry, OomHook::Kprobe, OomHook::Tracepoint]
        );
        assert!(plan.absent.is_empty());
    }

    #[test]
    fn what_is_not_there_is_said_and_not_tried() {
        let support = KernelSupport {
            kprobe: Availability::No("no kprobes".to_owned()),
            symbols: Availability::No("hidden".to_owned()),
            ..all()
        };
        let plan = decide(&support, None).unwrap();
        assert_eq!(plan.hooks, [OomHook::Fentry, OomHook::Tracepoint]);
        assert_eq!(plan.absent.len(), 2);
        assert!(matches!(
            decide(&support, Some(OomHook::Kprobe)),
            Err(ProbeError::Hook {
                asked: "kprobe",
                ..
            })
        ));
    }

    #[test]
    fn unknown_is_tried() {
        let support = KernelSupport {
            kprobe: Availability::Unknown("no /sys".to_owned()),
            ..all()
        };
        assert!(
            decide(&support, None)
                .unwrap()
                .hooks
                .contains(&OomHook::Kprobe)
        );
    }

    #[test]
    fn one_hook_can_be_asked_for() {
        let plan = decide(&all(), Some(OomHook::Tracepoint)).unwrap();
        assert_eq!(plan.hooks, [OomHook::Tracepoint]);
    }

    #[test]
    fn each_thing_that_is_lacking_has_its_error() {
        let without = |change: fn(&mut KernelSupport)| {
            let mut support = all();
            change(&mut support);
            decide(&support, None).unwrap_err()
        };
        assert!(matches!(
            without(|s| s.privileges.effective = 0),
            ProbeError::Privileges { .. }
        ));
        assert!(matches!(
            without(|s| s.btf = Availability::No(String::new())),
            ProbeError::NoBtf
        ));
        assert!(matches!(
            without(|s| s.ring_buffer = Availability::No(String::new())),
            ProbeError::NoRingBuffer
        ));
        assert!(matches!(
            without(|s| s.ring_buffer = Availability::Unknown("EPERM".to_owned())),
            ProbeError::Refused(_)
        ));
    }
}
