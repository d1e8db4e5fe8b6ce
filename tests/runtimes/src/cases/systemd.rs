//! systemd's units.

use super::Case;

pub(crate) const CASES: &[Case] = &[];
