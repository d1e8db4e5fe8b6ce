//! One picture of a container from what several sources say.

use crate::event::container::{ContainerFacts, ContainerKind};

/// Adds what another source says; where both say something, `newer` counts.
pub(super) fn add(facts: &mut ContainerFacts, newer: ContainerFacts) {
    fn take<T>(old: &mut Option<T>, new: Option<T>) {
        if new.is_some() {
            *old = new;
        }
    }
    // The low-level runtime that another has do the work is not whose container it is.
    let is_low = matches!(newer.runtime.as_deref(), Some("runc" | "crun"));
    if facts.runtime.is_none() || !is_low {
        take(&mut facts.runtime, newer.runtime);
    }
    if newer.kind == ContainerKind::Sandbox {
        facts.kind = newer.kind;
    }
    take(&mut facts.name, newer.name);
    take(&mut facts.image, newer.image);
    take(&mut facts.pod, newer.pod);
    take(&mut facts.namespace, newer.namespace);
    take(&mut facts.pod_uid, newer.pod_uid);
    take(&mut facts.sandbox_id, newer.sandbox_id);
    facts.labels.extend(newer.labels);
    take(&mut facts.init_pid, newer.init_pid);
    take(&mut facts.stop_grace_ms, newer.stop_grace_ms);
    take(&mut facts.stop_signal, newer.stop_signal);
    if !newer.heap.is_empty() {
        facts.heap = newer.heap;
    }
    facts.pre_stop |= newer.pre_stop;
    for source in newer.sources {
        if !facts.sources.contains(&source) {
            facts.sources.push(source);
        }
    }
    facts.can_tell_end |= newer.can_tell_end;
}

/// Whether something important lacks that may yet come: a container that was made a moment
/// ago may have no name and no process.
pub(super) fn lacks(facts: &ContainerFacts, cgroup: &str, has_ended: bool) -> bool {
    let is_container = facts.kind == ContainerKind::Container;
    let no_pod = cgroup.contains("kubepods") && facts.pod.is_none();
    (facts.name.is_none() && is_container) || no_pod || (facts.init_pid.is_none() && !has_ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_later_counts_and_what_is_not_said_stays() {
        let mut facts = ContainerFacts {
            runtime: Some("docker".to_owned()),
            name: Some("old".to_owned()),
            init_pid: Some(1),
            sources: vec!["file".to_owned()],
            ..ContainerFacts::default()
        };
        let newer = ContainerFacts {
            runtime: Some("runc".to_owned()),
            name: Some("new".to_owned()),
            image: Some("bb".to_owned()),
            sources: vec!["file".to_owned(), "API".to_owned()],
            ..ContainerFacts::default()
        };
        add(&mut facts, newer);
        assert_eq!(
            facts.runtime,
            Some("docker".to_owned()),
            "runc did it for Docker"
        );
        assert_eq!(facts.name, Some("new".to_owned()));
        assert_eq!(facts.image, Some("bb".to_owned()));
        assert_eq!(facts.init_pid, Some(1));
        assert_eq!(facts.sources, ["file", "API"]);
    }

    #[test]
    fn a_container_in_a_pod_lacks_its_pod() {
        let facts = ContainerFacts {
            name: Some("web".to_owned()),
            init_pid: Some(1),
            ..ContainerFacts::default()
        };
        assert!(!lacks(&facts, "/docker/a", false));
        assert!(lacks(&facts, "/kubepods/pod1/a", false));
    }
}
