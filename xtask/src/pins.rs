//! The versions in `pins.toml`: a flat table of strings, so it is read without a TOML parser.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pins {
    pub(crate) stable: String,
    pub(crate) nightly: String,
    pub(crate) bpf_linker: String,
}

impl Pins {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        Ok(Self {
            stable: value(text, "stable")?,
            nightly: value(text, "nightly")?,
            bpf_linker: value(text, "bpf-linker")?,
        })
    }
}

fn value(text: &str, key: &str) -> Result<String> {
    for line in text.lines() {
        let Some((name, rest)) = line.split_once('=') else {
            continue;
        };
        if name.trim() != key {
            continue;
        }
        let quoted = rest
            .trim()
            .strip_prefix('"')
            .and_then(|rest| rest.split_once('"'));
        return match quoted {
            Some((value, _)) if !value.is_empty() => Ok(value.to_owned()),
            _ => bail!(
                "`{key}` should be a version in double quotes, found: {}",
                rest.trim()
            ),
        };
    }
    bail!("no line `{key} = \"…\"`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_three_versions() {
        let text = "# built with\nstable = \"1.2.3\"\nnightly=\"nightly-1\" # why\n\nbpf-linker = \"0.1\"\n";
        let pins = Pins::parse(text).unwrap();
        assert_eq!(pins.stable, "1.2.3");
        assert_eq!(pins.nightly, "nightly-1");
        assert_eq!(pins.bpf_linker, "0.1");
    }

    #[test]
    fn names_the_line_that_is_wrong() {
        let missing = Pins::parse("stable = \"1\"\nnightly = \"n\"\n").unwrap_err();
        assert!(missing.to_string().contains("bpf-linker"));
        let unquoted = Pins::parse("stable = 1\n").unwrap_err();
        assert!(unquoted.to_string().contains("double quotes"));
    }

    #[test]
    fn the_tree_has_pins_that_can_be_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pins.toml");
        Pins::read(&path).unwrap();
    }
}
