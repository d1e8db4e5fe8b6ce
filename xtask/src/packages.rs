//! Debian packages of the machine itself: installed as root, asked for otherwise.

use anyhow::{Context as _, Result, bail};

use crate::command;

pub(crate) fn install(packages: &[&str], why: &str) -> Result<()> {
    let wanted = packages.join(" ");
    if command::find("apt-get").is_none() {
        bail!("{why}: install what your system calls `{wanted}`");
    }
    if !command::is_root() {
        bail!("{why}: install it with `sudo apt-get install {wanted}`");
    }
    eprintln!("{why}: installing {wanted}");
    if apt_install(packages).is_ok() {
        return Ok(());
    }
    // The lists may be missing or old, as in a fresh container.
    command::check(command::clean("apt-get").args(["--quiet", "update"]))
        .and_then(|()| apt_install(packages))
        .with_context(|| format!("cannot install {wanted}"))
}

fn apt_install(packages: &[&str]) -> Result<()> {
    command::check(
        command::clean("apt-get")
            .args(["--quiet", "--yes", "--no-install-recommends", "install"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}
