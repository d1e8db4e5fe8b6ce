//! The pinned Rust toolchains.
//!
//! Whether they are complete is read from their folders, which takes no time; rustup is asked
//! only where something lacks.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{command, pins::Pins};

pub(crate) const TARGETS: [&str; 2] = ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"];

struct Toolchain<'a> {
    name: &'a str,
    components: &'a [&'a str],
    targets: &'a [&'a str],
}

pub(crate) fn install(pins: &Pins) -> Result<()> {
    let toolchains = [
        Toolchain {
            name: &pins.stable,
            components: &["clippy", "rustfmt"],
            targets: &TARGETS,
        },
        Toolchain {
            name: &pins.nightly,
            // rustfmt.toml uses options that only a nightly's rustfmt knows; the BPF side needs
            // the sources of `core`.
            components: &["clippy", "rustfmt", "rust-src"],
            targets: &[],
        },
    ];
    for toolchain in toolchains {
        let has = installed(toolchain.name).unwrap_or_default();
        if missing(&toolchain, &has).is_empty() {
            continue;
        }
        eprintln!("installing the Rust toolchain {}", toolchain.name);
        let mut rustup = command::clean("rustup");
        rustup.args(["toolchain", "install", toolchain.name]);
        rustup.args(["--profile", "minimal", "--no-self-update"]);
        for component in toolchain.components {
            rustup.args(["--component", component]);
        }
        for target in toolchain.targets {
            rustup.args(["--target", target]);
        }
        command::check(&mut rustup).with_context(|| {
            format!(
                "cannot install the pinned toolchain {} (is the network there?)",
                toolchain.name
            )
        })?;
    }
    Ok(())
}

/// The folder of a toolchain, where rustup keeps it.
pub(crate) fn folder(name: &str) -> Option<PathBuf> {
    let home = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".rustup")))?;
    Some(
        home.join("toolchains")
            .join(format!("{name}-{}-unknown-linux-gnu", env::consts::ARCH)),
    )
}

/// Rustup's own list of what a toolchain is made of, one name a line.
fn installed(name: &str) -> Option<String> {
    fs::read_to_string(folder(name)?.join("lib/rustlib/components")).ok()
}

fn missing(toolchain: &Toolchain<'_>, installed: &str) -> Vec<String> {
    // A component's name goes on with `-preview` and the host, where it has either.
    let has_component = |name: &&&str| !installed.lines().any(|line| line.starts_with(**name));
    let has_target = |name: &String| !installed.lines().any(|line| line == name);
    let components = toolchain
        .components
        .iter()
        .filter(has_component)
        .map(ToString::to_string);
    let targets = toolchain
        .targets
        .iter()
        .map(|target| format!("rust-std-{target}"));
    components.chain(targets.filter(has_target)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOLCHAIN: Toolchain<'static> = Toolchain {
        name: "1.0",
        components: &["clippy"],
        targets: &["x86_64-unknown-linux-musl"],
    };

    #[test]
    fn a_complete_toolchain_lacks_nothing() {
        let installed =
            "clippy-preview-x86_64-unknown-linux-gnu\nrust-std-x86_64-unknown-linux-musl\n";
        assert_eq!(missing(&TOOLCHAIN, installed), [""; 0]);
    }

    #[test]
    fn what_lacks_is_named() {
        let installed = "rust-std-x86_64-unknown-linux-gnu\n";
        let missing = missing(&TOOLCHAIN, installed);
        assert_eq!(missing, ["clippy", "rust-std-x86_64-unknown-linux-musl"]);
    }
}
