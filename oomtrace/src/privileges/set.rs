//! Sets of capabilities, as the kernel has them: a bit each.

use crate::probe::support::Capability;

/// A set of capabilities, of which oomtrace need not know all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapSet(u64);

impl CapSet {
    pub const EMPTY: Self = Self(0);
    pub const FULL: Self = Self(u64::MAX);

    /// As `/proc/PID/status` and capset(2) have it: bit N is capability N.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    #[must_use]
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & 1 << capability as u64 != 0
    }

    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability as u64)
    }

    #[must_use]
    pub const fn without(self, capability: Capability) -> Self {
        Self(self.0 & !(1 << capability as u64))
    }

    /// What is in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl FromIterator<Capability> for CapSet {
    fn from_iter<T: IntoIterator<Item = Capability>>(all: T) -> Self {
        all.into_iter().fold(Self::EMPTY, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_a_bit_each() {
        let set: CapSet = [Capability::Bpf, Capability::Chown].into_iter().collect();
        assert_eq!(set.bits(), 1 << 39 | 1);
        assert!(set.has(Capability::Bpf) && !set.has(Capability::Perfmon));
        assert_eq!(set.without(Capability::Chown).bits(), 1 << 39);
        assert_eq!(CapSet::FULL.and(set), set);
        assert_eq!(CapSet::FULL.with(Capability::Bpf), CapSet::FULL);
    }
}
