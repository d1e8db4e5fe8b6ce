//! Processes that die together: those that the end of one init takes along. They are held
//! back for a moment, so that a person reads one line for all of them.

use std::collections::HashSet;

use crate::provenance::record::{Cause, Death};

/// So many victims are named.
const MOST_NAMED: usize = 5;

/// The deaths that one init has taken along, as far as they have come.
#[derive(Debug)]
pub(super) struct Group {
    /// The first of them.
    pub(super) first: Box<Death>,
    pub(super) count: usize,
    ids: HashSet<String>,
    named: Vec<String>,
    /// Nothing was added since [`Together::settle`] last looked.
    is_quiet: bool,
}

impl Group {
    /// The victims, the first of them by name.
    pub(super) fn victims(&self) -> String {
        let mut line = self.named.join(", ");
        let more = self.count.saturating_sub(self.named.len());
        if more > 0 {
            line.push_str(&format!(" and {more} more"));
        }
        line
    }

    fn is_of(&self, death: &Death) -> bool {
        let init = |death: &Death| death.sender.as_ref().map(|sender| sender.pid);
        self.first.caused_by == death.caused_by && init(&self.first) == init(death)
    }

    fn add(&mut self, death: &Death) {
        self.count += 1;
        self.ids.insert(death.id.clone());
        self.is_quiet = false;
        if self.named.len() < MOST_NAMED {
            self.named.push(death.victim.label());
        }
    }
}

/// So many of those that were told together are remembered: what comes of them later is no
/// news to anybody.
const MOST_TOLD: usize = 16 * 1024;

/// What is held back.
#[derive(Debug, Default)]
pub(super) struct Together {
    held: Vec<Group>,
    told: HashSet<String>,
}

impl Together {
    /// Holds a death back; false if it is to be written as it is.
    pub(super) fn hold(&mut self, death: &Death) -> bool {
        if death.cause != Cause::NamespaceExit || death.outcome.is_none() {
            return false;
        }
        if death.revision > 1 {
            return self.again(death);
        }
        if let Some(group) = self.held.iter_mut().find(|group| group.is_of(death)) {
            group.add(death);
        } else {
            let mut group = Group {
                first: Box::new(death.clone()),
                count: 0,
                ids: HashSet::new(),
                named: Vec::new(),
                is_quiet: false,
            };
            group.add(death);
            self.held.push(group);
        }
        true
    }

    /// A later revision of one that is held back, or was told together with others.
    fn again(&mut self, death: &Death) -> bool {
        let of_it = |group: &&mut Group| group.ids.contains(&death.id);
        match self.held.iter_mut().find(of_it) {
            Some(group) if group.first.id == death.id => {
                (*group.first).clone_from(death);
                true
            }
            Some(_) => true,
            None => self.told.contains(&death.id),
        }
    }

    /// The groups to which nothing was added since the last call; all of them at the end.
    pub(super) fn settle(&mut self, is_end: bool) -> Vec<Group> {
        let (settled, held): (Vec<Group>, Vec<Group>) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|group| group.is_quiet || is_end);
        self.held = held;
        if self.told.len() > MOST_TOLD {
            self.told.clear();
        }
        for group in settled.iter().filter(|group| group.count > 1) {
            self.told.extend(group.ids.iter().cloned());
        }
        for group in &mut self.held {
            group.is_quiet = true;
        }
        settled
    }
}
