//! What the runtime said of a container's end, beside what the kernel did. Runtimes read a
//! cumulative counter of the cgroup, or a file: they know neither the victim nor the cause.

use super::{
    containers::{Known, Oom},
    record::{Cause, RuntimeSays},
    role::Role,
};
use crate::event::container::ContainerState;

/// One of the OOM killer's.
#[must_use]
pub(super) fn is_oom(cause: Cause) -> bool {
    matches!(cause, Cause::CgroupOom | Cause::GlobalOom | Cause::NumaOom)
}

/// Sets the runtime's words beside the verdict, where they speak of this death.
#[must_use]
pub(super) fn check(
    role: Role,
    cause: Cause,
    exit_code: Option<i32>,
    id: &str,
    known: &Known,
) -> Option<RuntimeSays> {
    let end = known.end.as_deref()?;
    let (agrees, why) = match role {
        // It runs again already, and speaks of that.
        Role::ContainerInit if end.running == Some(true) => return None,
        Role::ContainerInit => of_init(is_oom(cause), exit_code, id, end, known.oom.as_ref())?,
        Role::Child if is_oom(cause) => of_child(end)?,
        _ => return None,
    };
    Some(RuntimeSays {
        runtime: end.runtime.clone(),
        words: end.words.clone(),
        oom_killed: end.oom_killed,
        exit_code: end.exit_code,
        agrees,
        why,
        source: end.source.clone(),
    })
}

type Opinion = Option<(bool, String)>;

fn of_init(
    is_oom: bool,
    exit_code: Option<i32>,
    id: &str,
    end: &ContainerState,
    earlier: Option<&Oom>,
) -> Opinion {
    let runtime = &end.runtime;
    Some(match (end.oom_killed, is_oom) {
        (Some(true), true) => (
            true,
            "the OOM killer took the container's process 1".to_owned(),
        ),
        (Some(true), false) => {
            let why = match earlier.filter(|earlier| earlier.id != id) {
                Some(earlier) => format!(
                    "the container's process 1 did not die of memory; what {runtime} counts is the earlier OOM kill of {} in it (death {}): its counter is never set back",
                    earlier.who, earlier.id
                ),
                None => format!(
                    "the container's process 1 did not die of memory; {runtime} goes by a counter of the whole cgroup"
                ),
            };
            (false, why)
        }
        (Some(false), true) => (
            false,
            format!("the OOM killer took the container's process 1, and {runtime} did not notice"),
        ),
        (_, _) => match (end.exit_code, exit_code) {
            (Some(said), Some(seen)) if said != seen => (
                false,
                format!("its process 1 ended with status {seen}, not {said}"),
            ),
            (None, _) if end.oom_killed.is_none() => return None,
            _ => (true, "that is what was seen".to_owned()),
        },
    })
}

fn of_child(end: &ContainerState) -> Opinion {
    let runtime = &end.runtime;
    match (end.oom_killed, end.exit_code) {
        (Some(true), code) if code != Some(137) => Some((
            false,
            format!(
                "not the container was killed but this process in it: the container's process 1 ended by itself later{}",
                code.map_or_else(String::new, |code| format!(", with status {code}"))
            ),
        )),
        (Some(false), _) if end.running == Some(true) => Some((
            false,
            format!(
                "a process in the container was OOM-killed, and {runtime} does not say so while the container runs"
            ),
        )),
        (Some(false), _) => Some((
            false,
            format!("a process in the container was OOM-killed, and {runtime} did not notice"),
        )),
        _ => None,
    }
}
