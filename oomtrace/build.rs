//! Builds the BPF programs with the toolchain that `pins.toml` names, for the library to
//! embed.

use std::{env, fs, path::Path};

use anyhow::{Context as _, Result, anyhow};
use aya_build::{Package, Toolchain, build_ebpf};

const PINS: &str = "../pins.toml";

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed={PINS}");
    println!("cargo:rerun-if-changed=../oomtrace-common");
    // A fuzz target loads nothing: it needs neither the programs nor what builds them.
    if env::var_os("CARGO_CFG_FUZZING").is_some() {
        let out = env::var_os("OUT_DIR").context("cargo names no OUT_DIR")?;
        return fs::write(Path::new(&out).join("oomtrace-ebpf"), []).context("cannot write");
    }
    let pins = fs::read_to_string(PINS).with_context(|| format!("cannot read {PINS}"))?;
    let nightly = pins
        .lines()
        .filter_map(|line| line.split_once('='))
        .find(|(key, _)| key.trim() == "nightly")
        .map(|(_, value)| value.trim().trim_matches('"').to_owned())
        .ok_or_else(|| anyhow!("{PINS} names no nightly"))?;
    build_ebpf(
        [Package {
            name: "oomtrace-ebpf",
            root_dir: "../oomtrace-ebpf",
            ..Package::default()
        }],
        Toolchain::Custom(&nightly),
    )
    .context("the BPF programs did not build; `cargo xtask setup` installs what they need")
}
