//! The second thread: all that is done with entries, in their order.

use std::sync::{Mutex, PoisonError, mpsc::Receiver};

use super::{
    node::Node,
    restart::{Resumption, oom_counts},
};
use crate::{
    event::entry::Entry,
    pipeline::{Pipeline, PipelineError},
    privileges::Keep,
    provenance::rules::Rules,
    vitals::Vitals,
};

/// Rules that were read again, on their way to the second thread.
#[derive(Debug, Default)]
pub(super) struct NewRules(Mutex<Option<Rules>>);

impl NewRules {
    pub(super) fn put(&self, rules: Rules) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(rules);
    }

    fn take(&self) -> Option<Rules> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// How the thread begins.
pub(super) struct Begin {
    pub(super) resumption: Option<Resumption>,
    /// Of its privileges, what it keeps once it has taken what was left.
    pub(super) keep: Keep,
    /// Programs stay when this process ends.
    pub(super) is_pinned: bool,
}

/// Runs until the stream ends.
pub(super) fn run(
    mut pipeline: Pipeline<Node>,
    begin: Begin,
    entries: &Receiver<Entry>,
    vitals: &Vitals,
    rules: &NewRules,
) -> Result<(), PipelineError> {
    let mut unwatched = Vec::new();
    if let Some(resumption) = begin.resumption {
        unwatched = resumption.run(&mut pipeline, vitals)?;
    }
    begin.keep.here();
    // Where programs stay, no kill goes unseen.
    let mut counts = || (!begin.is_pinned).then(oom_counts).flatten();
    let mut pushed = Ok(());
    for entry in entries {
        if let Some(rules) = rules.take() {
            pipeline.set_rules(rules);
        }
        pushed = pipeline.push(&entry);
        if matches!(entry, Entry::Attached(_)) && pushed.is_ok() {
            pushed = pipeline.tell_resumed();
            for unwatched in unwatched.drain(..) {
                pushed = pushed.and_then(|()| pipeline.push(&Entry::Unwatched(unwatched)));
            }
        }
        if matches!(entry, Entry::Tick(_)) {
            vitals.set_hanging(pipeline.hanging());
            pipeline.tidy(false, &mut counts);
        }
        vitals.took(&entry, pipeline.dying());
        // What comes after the end, such as a late answer of a runtime's, is not told.
        if pushed.is_err() || matches!(entry, Entry::Stopped(_) | Entry::Paused(_)) {
            break;
        }
    }
    if pushed.is_ok() {
        pipeline.tidy(true, &mut counts);
    }
    // Whatever the sinks say, the recording gets its end.
    let finished = pipeline.finish();
    pushed.and(finished)
}
