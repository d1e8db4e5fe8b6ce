//! How much CPU time may be spent on `memory.stat`. To read it makes the kernel sum up counters
//! of all processors, and what that costs depends on the machine: so it is measured, and what
//! was spent has to come in again first.

/// Allowance a second, for up to a hundred cgroups; more have more. Together with the looks at
/// usage this stays below a thousandth of one processor.
const ALLOWANCE_NS: u64 = 550_000;
const CGROUPS: u64 = 100;
/// So many seconds' allowance can be saved up.
const SAVED_S: u64 = 10;
/// So many are read each time, whatever they cost: what nobody looks at tells nothing.
const FREE: usize = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct Purse {
    saved_ns: i64,
    free: usize,
    /// What one look costs, as measured.
    cost_ns: u64,
}

impl Purse {
    pub(super) fn new() -> Self {
        Self {
            saved_ns: (ALLOWANCE_NS * SAVED_S) as i64,
            free: FREE,
            cost_ns: 0,
        }
    }

    /// Some time has gone by.
    pub(super) fn earn(&mut self, elapsed_ns: u64, cgroups: usize) {
        let allowance_ns = ALLOWANCE_NS.saturating_mul((cgroups as u64).max(CGROUPS)) / CGROUPS;
        let earned_ns = u128::from(allowance_ns) * u128::from(elapsed_ns) / 1_000_000_000;
        let most = allowance_ns.saturating_mul(SAVED_S) as i64;
        let earned_ns = i64::try_from(earned_ns).unwrap_or(most);
        self.saved_ns = self.saved_ns.saturating_add(earned_ns).min(most);
        self.free = FREE;
    }

    /// All the work of a round has cost this, looks at `memory.stat` or not.
    pub(super) fn spend(&mut self, spent_ns: u64, looks: usize, looks_ns: u64) {
        // Debts end, too: a machine that stood still for a while is looked at again.
        let floor = -((ALLOWANCE_NS * SAVED_S) as i64);
        self.saved_ns = self.saved_ns.saturating_sub_unsigned(spent_ns).max(floor);
        if looks > 0 {
            self.cost_ns = looks_ns / looks as u64;
        }
    }

    /// How many may be read in this round.
    pub(super) fn looks(&self) -> usize {
        let saved_ns = u64::try_from(self.saved_ns).unwrap_or(0);
        let affordable = saved_ns.checked_div(self.cost_ns).unwrap_or(FREE as u64);
        self.free
            .max(usize::try_from(affordable).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn what_is_spent_in_the_long_run_is_the_allowance() {
        for (cost_ns, cgroups) in [(20_000, 100), (150_000, 100), (20_000, 500)] {
            let mut purse = Purse::new();
            let (mut spent_ns, rounds) = (0, 1000);
            for _ in 0..rounds {
                purse.earn(S, cgroups);
                let looks = purse.looks().min(cgroups);
                spent_ns += looks as u64 * cost_ns;
                purse.spend(looks as u64 * cost_ns, looks, looks as u64 * cost_ns);
            }
            let a_second_ns = spent_ns / rounds;
            let allowed_ns = ALLOWANCE_NS * cgroups as u64 / CGROUPS;
            assert!(
                a_second_ns <= allowed_ns + allowed_ns / 20,
                "{a_second_ns} of {allowed_ns}"
            );
        }
    }

    #[test]
    fn a_slow_machine_still_looks() {
        let mut purse = Purse::new();
        for _ in 0..10 {
            purse.spend(S, 1, S);
        }
        assert_eq!(purse.looks(), FREE);
    }
}
