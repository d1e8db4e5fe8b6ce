//! What several sources say of a container, put together.

use super::FilesError;
use crate::event::container::{ContainerFacts, ContainerKind};

/// The first source that knows a thing is believed.
#[derive(Default)]
pub(super) struct Gathered {
    facts: Option<ContainerFacts>,
    error: Option<FilesError>,
}

impl Gathered {
    pub(super) fn add(&mut self, source: Result<Option<ContainerFacts>, FilesError>) {
        match source {
            Ok(None) => {}
            Ok(Some(more)) => match &mut self.facts {
                None => self.facts = Some(more),
                Some(facts) => merge(facts, more),
            },
            Err(error) => {
                self.error.get_or_insert(error);
            }
        }
    }

    pub(super) fn result(self) -> Result<Option<ContainerFacts>, FilesError> {
        match (self.facts, self.error) {
            (Some(facts), _) => Ok(Some(facts)),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }
}

fn merge(facts: &mut ContainerFacts, more: ContainerFacts) {
    fn fill<T>(into: &mut Option<T>, from: Option<T>) {
        if into.is_none() {
            *into = from;
        }
    }
    fill(&mut facts.runtime, more.runtime);
    fill(&mut facts.name, more.name);
    fill(&mut facts.image, more.image);
    fill(&mut facts.pod, more.pod);
    fill(&mut facts.namespace, more.namespace);
    fill(&mut facts.pod_uid, more.pod_uid);
    fill(&mut facts.sandbox_id, more.sandbox_id);
    fill(&mut facts.init_pid, more.init_pid);
    fill(&mut facts.stop_grace_ms, more.stop_grace_ms);
    fill(&mut facts.stop_signal, more.stop_signal);
    if more.kind == ContainerKind::Sandbox {
        facts.kind = more.kind;
    }
    if facts.labels.is_empty() {
        facts.labels = more.labels;
    }
    if facts.heap.is_empty() {
        facts.heap = more.heap;
    }
    facts.pre_stop |= more.pre_stop;
    facts.can_tell_end |= more.can_tell_end;
    facts.is_final |= more.is_final;
    for source in more.sources {
        if !facts.sources.contains(&source) {
            facts.sources.push(source);
        }
    }
}
