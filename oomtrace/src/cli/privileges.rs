//! What a subcommand keeps of its privileges: what was typed, turned into what is decided by.

use std::path::{Path, PathBuf};

use super::{
    args::{DeathArgs, LookupArgs},
    scope::ScopeArg,
};
use crate::{
    privileges::{Facts, Keep, Plan, Thread, decide, facts::Task},
    probe::attach::ScopeKind,
};

/// What was typed, as far as privileges go with it.
#[derive(Debug)]
pub(super) struct Privileges<'a> {
    tasks: Vec<Task>,
    sockets: Vec<PathBuf>,
    store: Option<&'a Path>,
}

impl<'a> Privileges<'a> {
    pub(super) fn of(lookups: LookupArgs, scope: &ScopeArg) -> Self {
        let changes = (scope.kind() == ScopeKind::Changing).then_some(Task::ChangeScope);
        Self {
            tasks: lookups.tasks().chain(changes).collect(),
            sockets: lookups.resolver(Keep::all()).sockets_not_of_root(),
            store: None,
        }
    }

    pub(super) fn store(self, store: Option<&'a Path>) -> Self {
        Self { store, ..self }
    }

    pub(super) fn rereads_rules(mut self, deaths: &DeathArgs) -> Self {
        self.tasks
            .extend(deaths.has_rules().then_some(Task::RereadRules));
        self
    }

    pub(super) fn passes_signals_on(mut self) -> Self {
        self.tasks.push(Task::PassSignalsOn);
        self
    }

    /// Asks this host, and decides.
    pub(super) fn decide(self) -> Plan {
        decide(&Facts::ask(self.tasks, &self.sockets, self.store))
    }
}

/// Every hook is attached: the main thread lets go, and it is said what all threads keep. The
/// others have let go as they began.
pub(super) fn let_go(plan: &Plan) {
    plan.of(Thread::Main).here();
    for line in plan.in_words() {
        log::info!("{line}");
    }
}
