//! Deaths that are written more than once: what a person has read of each already.

use std::collections::HashMap;

use crate::provenance::record::Death;

/// Whether a death was written before.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    First,
    /// With what is new since, if a person would see a difference.
    Before(Option<News>),
}

/// What is new.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    pub(super) summary: Option<String>,
    pub(super) container: bool,
    pub(super) outcome: bool,
    pub(super) runtime_says: bool,
}

/// What was shown of a death.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    summary: String,
    container: Option<String>,
    outcome: bool,
    runtime_says: Option<String>,
}

impl Shown {
    fn of(death: &Death) -> Self {
        let container = death.container.as_ref();
        Self {
            summary: death.summary.clone(),
            container: container.and_then(|container| container.name.clone()),
            outcome: death.outcome.is_some(),
            // That it was as it was is no news.
            runtime_says: death
                .runtime_says
                .as_ref()
                .filter(|says| !says.agrees)
                .map(|says| says.words.clone()),
        }
    }
}

/// What was shown of those deaths of which more may come.
#[derive(Debug, Default)]
pub(super) struct Revisions(HashMap<String, Shown>);

impl Revisions {
    /// Takes note of one that was held back and is shown now.
    pub(super) fn note(&mut self, death: &Death) {
        if !death.is_final {
            self.0.insert(death.id.clone(), Shown::of(death));
        }
    }

    /// Takes note of a revision.
    pub(super) fn news(&mut self, death: &Death) -> Seen {
        let shown = Shown::of(death);
        let before = self.0.remove(&death.id);
        let seen = match &before {
            // It went with others, on a line for all of them.
            None if death.revision > 1 => return Seen::Before(None),
            None => Seen::First,
            Some(before) if *before == shown => Seen::Before(None),
            Some(before) => Seen::Before(Some(News {
                summary: (before.summary != shown.summary).then(|| shown.summary.clone()),
                container: before.container != shown.container,
                outcome: before.outcome != shown.outcome,
                runtime_says: before.runtime_says != shown.runtime_says,
            })),
        };
        if !death.is_final {
            self.0.insert(death.id.clone(), shown);
        }
        seen
    }
}
