//! Everything that building needs, installed where it lacks.

use anyhow::{Result, bail};

use crate::{command, linker, packages, project::Project, toolchain};

/// Proof that the set-up was done, and what a build has to know about it.
#[derive(Debug)]
pub(crate) struct Tools {
    /// Folder of the `bpf-linker` executable, for the search path.
    pub(crate) linker: std::path::PathBuf,
}

pub(crate) fn run(project: &Project) -> Result<Tools> {
    if command::find("rustup").is_none() {
        bail!(
            "rustup is not on the search path, and the pinned toolchains are installed with it: \
             install it (Debian 13 has it as a package, `apt-get install rustup`; see https://rustup.rs elsewhere)"
        );
    }
    if command::find("cc").is_none() {
        packages::install(
            &["gcc", "libc6-dev"],
            "no C compiler (`cc`), which links build scripts",
        )?;
    }
    // The store's SQLite is C, and is compiled against the C library that it is linked with.
    if command::find("musl-gcc").is_none() {
        packages::install(
            &["musl-tools"],
            "no C compiler for static binaries (`musl-gcc`)",
        )?;
    }
    toolchain::install(&project.pins)?;
    let linker = linker::install(project)?;
    Ok(Tools { linker })
}
