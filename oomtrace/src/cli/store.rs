//! What can be typed about the store, and the sink that comes of it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    privileges::Keep,
    store::{
        DEFAULT_DAYS, DEFAULT_PATH, DEFAULT_SIZE_BYTES, LEAST_SIZE_BYTES, Limits, Options,
        StoreSink,
    },
    vitals::Vitals,
};

/// Options about where deaths are kept, and how long.
#[derive(Clone, Debug, Args)]
pub(super) struct StoreArgs {
    /// Keep deaths in this file, for `list`, `show` and `why`
    #[arg(long, value_name = "PATH", default_value = DEFAULT_PATH, conflicts_with = "no_store")]
    store: PathBuf,
    /// Keep no deaths
    #[arg(long)]
    no_store: bool,
    /// Keep deaths for so many days
    #[arg(long, value_name = "N", default_value_t = DEFAULT_DAYS, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    store_days: u32,
    /// Keep so much of them, 16MiB at the least: bytes, or 64MiB, 1.5GiB and the like; the oldest go
    /// first
    #[arg(long, value_name = "BYTES", default_value_t = Size(DEFAULT_SIZE_BYTES), value_parser = size)]
    store_size: Size,
}

impl StoreArgs {
    /// Where deaths are kept, if they are.
    pub(super) fn path(&self) -> Option<&Path> {
        (!self.no_store).then_some(self.store.as_path())
    }

    /// The sink, if there is to be one. `keep`: of its privileges, what its thread keeps.
    pub(super) fn sink(&self, vitals: &Arc<Vitals>, keep: Keep) -> Result<Option<StoreSink>> {
        if self.no_store {
            return Ok(None);
        }
        let options = Options {
            limits: Limits {
                age: Duration::from_hours(u64::from(self.store_days) * 24),
                size_bytes: self.store_size.0,
            },
            keep,
            ..Options::at(&self.store)
        };
        StoreSink::start(&options)
            .map(|sink| Some(sink.telling(vitals)))
            .context("the thread that stores deaths cannot be started")
    }
}

/// Options about which store is read.
#[derive(Clone, Debug, Args)]
pub(super) struct ReadArgs {
    /// Where `run` keeps deaths
    #[arg(long = "store", value_name = "PATH", default_value = DEFAULT_PATH)]
    pub(super) path: PathBuf,
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size(u64);

const UNITS: [(&str, u64); 6] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
];

impl std::fmt::Display for Size {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fits = |unit: u64| self.0 > 0 && self.0.is_multiple_of(unit);
        match UNITS.iter().find(|(_, unit)| fits(*unit)) {
            Some((name, unit)) => write!(to, "{}{name}", self.0 / unit),
            None => write!(to, "{}", self.0),
        }
    }
}

fn size(text: &str) -> Result<Size, String> {
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| Some((before(text, name)?, *unit)))
        .unwrap_or((text, 1));
    let bytes = times(number.trim_end(), unit)
        .ok_or("it must be a number of bytes, for example 268435456 or 256MiB")?;
    if bytes < LEAST_SIZE_BYTES {
        return Err(format!(
            "it must be {} at the least",
            Size(LEAST_SIZE_BYTES)
        ));
    }
    Ok(Size(bytes))
}

/// What stands before a unit, however that is spelt.
fn before<'a>(text: &'a str, unit: &str) -> Option<&'a str> {
    let (number, end) = text.split_at_checked(text.len().checked_sub(unit.len())?)?;
    end.eq_ignore_ascii_case(unit).then_some(number)
}

/// So many of a unit; of what is not a whole number of bytes, the next below.
fn times(number: &str, unit: u64) -> Option<u64> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((whole, part)) = number.split_once('.') else {
        return number.parse::<u64>().ok()?.checked_mul(unit);
    };
    // Finer than a byte of a GiB is nothing.
    if unit == 1 || !digits(whole) || !digits(part) || part.len() > 9 {
        return None;
    }
    let scale = 10_u64.checked_pow(u32::try_from(part.len()).ok()?)?;
    let part = part.parse::<u64>().ok()?.checked_mul(unit)? / scale;
    whole
        .parse::<u64>()
        .ok()?
        .checked_mul(unit)?
        .checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_with_or_without_its_unit() {
        for (text, bytes) in [
            ("268435456", 256 << 20),
            ("256MiB", 256 << 20),
            ("1GiB", 1 << 30),
            ("20 MB", 20_000_000),
            ("64mib", 64 << 20),
            ("1.5GiB", 3 << 29),
            ("0.5 gb", 500_000_000),
            ("20000KB", 20_000_000),
        ] {
            assert_eq!(size(text), Ok(Size(bytes)), "{text}");
        }
        for wrong in [
            "",
            "MiB",
            "-1",
            "1.5",
            "1.GiB",
            ".5GiB",
            "1.5.5GiB",
            "1e3MiB",
            "99999999999GiB",
            "éB",
            "12 apples",
        ] {
            assert!(size(wrong).unwrap_err().contains("256MiB"), "{wrong}");
        }
        assert!(size("1MiB").unwrap_err().contains("16MiB"));
        assert_eq!(
            Size(LEAST_SIZE_BYTES).to_string(),
            "16MiB",
            "as the help says"
        );
        assert_eq!(Size(DEFAULT_SIZE_BYTES).to_string(), "256MiB");
    }
}
