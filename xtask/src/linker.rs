//! bpf-linker, built against the pinned nightly's own LLVM.
//!
//! No prebuilt one can be counted on, and distributions have no LLVM as new as the nightly's. So
//! it is linked with the nightly's libLLVM, through a folder that looks like an installation of
//! LLVM. That folder is the executable's run path too: it has to stay.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context as _, Result, bail};

use crate::{command, project::Project, toolchain};

/// Returns the folder of the executable.
pub(crate) fn install(project: &Project) -> Result<PathBuf> {
    let pins = &project.pins;
    let home = project
        .cache
        .join(format!("bpf-linker-{}-{}", pins.bpf_linker, pins.nightly));
    let bin = home.join("bin");
    if starts(&bin) {
        return Ok(bin);
    }
    eprintln!(
        "building bpf-linker {} (one to three minutes, once)",
        pins.bpf_linker
    );
    let llvm = llvm_prefix(project)?;
    let major = llvm_major(&pins.nightly)?;
    // Built beside its place and then moved: what was interrupted is not taken for finished.
    let work = project.cache.join(format!("bpf-linker.{}", process::id()));
    let built = build(project, &work, &llvm, major).and_then(|()| {
        if home.exists() {
            fs::remove_dir_all(&home)
                .with_context(|| format!("cannot replace {}", home.display()))?;
        }
        fs::rename(work.join("install"), &home)
            .with_context(|| format!("cannot move bpf-linker to {}", home.display()))
    });
    // A second xtask may have been faster; a leftover folder does no harm.
    let _ = fs::remove_dir_all(&work);
    if starts(&bin) {
        return Ok(bin);
    }
    built?;
    bail!(
        "bpf-linker was built but does not start: try `{}/bpf-linker --version`",
        bin.display()
    )
}

fn starts(bin: &Path) -> bool {
    let file = bin.join("bpf-linker");
    file.is_file() && command::output(command::clean(file).arg("--version")).is_ok()
}

fn build(project: &Project, work: &Path, llvm: &Path, major: u32) -> Result<()> {
    let pins = &project.pins;
    command::check(
        command::cargo(&pins.stable)
            .args(["install", "bpf-linker", "--locked", "--quiet"])
            .args(["--version", &pins.bpf_linker])
            .args([
                "--no-default-features",
                "--features",
                &format!("llvm-{major}"),
            ])
            .arg("--root")
            .arg(work.join("install"))
            .env("LLVM_PREFIX", llvm)
            .env("CARGO_TARGET_DIR", work.join("target")),
    )
    .with_context(|| format!("cannot build bpf-linker {}", pins.bpf_linker))
}

/// A folder with the nightly's libLLVM under the two names that are asked for: the one for the
/// linker and the one for the loader.
fn llvm_prefix(project: &Project) -> Result<PathBuf> {
    let nightly = &project.pins.nightly;
    let lib = toolchain::folder(nightly)
        .context("HOME is not set")?
        .join("lib");
    let real = real_llvm(&lib)?;
    let soname = real.file_name().context("libLLVM has no name")?.to_owned();
    let prefix = project.cache.join(format!("llvm-{nightly}"));
    let links = prefix.join("lib");
    fs::create_dir_all(&links).with_context(|| format!("cannot create {}", links.display()))?;
    for name in ["libLLVM.so".as_ref(), soname.as_os_str()] {
        let link = links.join(name);
        if fs::read_link(&link).is_ok_and(|target| target == real) {
            continue;
        }
        let _ = fs::remove_file(&link);
        symlink(&real, &link).with_context(|| format!("cannot create {}", link.display()))?;
    }
    Ok(prefix)
}

/// The shared object itself: its neighbour `libLLVM-<major>-rust-….so` is a linker script of a
/// few bytes.
fn real_llvm(lib: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(lib).with_context(|| format!("cannot read {}", lib.display()))?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| is_llvm(&name.to_string_lossy()))
        })
        .max_by_key(|path| fs::metadata(path).map_or(0, |meta| meta.len()))
        .with_context(|| format!("no libLLVM in {}", lib.display()))
}

fn is_llvm(name: &str) -> bool {
    name.starts_with("libLLVM") && name.contains(".so")
}

fn llvm_major(nightly: &str) -> Result<u32> {
    let said = command::output(command::clean("rustup").args(["run", nightly, "rustc", "-vV"]))?;
    major_in(&said).with_context(|| format!("no LLVM version in what rustc said: {said}"))
}

fn major_in(version: &str) -> Option<u32> {
    let line = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    line.split('.').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_feature_follows_rustc() {
        assert_eq!(
            major_in("rustc 1.0\nhost: x\nLLVM version: 23.1.1\n"),
            Some(23)
        );
        assert_eq!(major_in("rustc 1.0\n"), None);
    }

    #[test]
    fn llvm_is_told_from_its_neighbours() {
        assert!(is_llvm("libLLVM.so.23.1-rust-1.101.0-nightly"));
        assert!(is_llvm("libLLVM-23-rust-1.101.0-nightly.so"));
        assert!(!is_llvm("librustc_driver-85ee9ca1a8c777d9.so"));
    }
}
