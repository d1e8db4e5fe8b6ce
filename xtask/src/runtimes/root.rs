//! A root file system with systemd, for machines whose process 1 is another program. Made once,
//! kept in the cache, and never written to by a test.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{command, project::Project};

const RELEASE: &str = "bookworm";
/// Changes with what is done here, so that an older one is not taken for a new one.
const RECIPE: &str = "1";
const PACKAGES: &str = "systemd,dbus";
const LIMIT: Duration = Duration::from_secs(10 * 60);
/// Not read by any test.
const LEFT_OUT: [&str; 3] = ["doc", "man", "locale"];
/// systemd makes it, and it is there from then on.
const REAL: &str = "/run/systemd/system";

/// `None` where this machine runs systemd itself.
pub(super) fn get(project: &Project) -> Result<Option<PathBuf>> {
    if Path::new(REAL).is_dir() {
        return Ok(None);
    }
    let store = project.cache.join("roots");
    let root = store.join(format!("{RELEASE}-{RECIPE}"));
    if root.is_dir() {
        return Ok(Some(root));
    }
    fs::create_dir_all(&store).with_context(|| format!("cannot create {}", store.display()))?;
    // Built beside its place and then moved: half a system is never started.
    let work = store.join(format!("work.{}", process::id()));
    let built = build(&work, &project.logs("runtimes").join("mmdebstrap.log"))
        .and_then(|()| fs::rename(&work, &root).context("cannot keep it"));
    if built.is_err() {
        let _ = fs::remove_dir_all(&work);
    }
    built.map(|()| Some(root))
}

fn build(work: &Path, log: &Path) -> Result<()> {
    if command::find("mmdebstrap").is_none() {
        bail!("mmdebstrap is not installed");
    }
    eprintln!("building a root file system with systemd (half a minute, once)");
    let mut mmdebstrap = command::clean("mmdebstrap");
    mmdebstrap.args(["--mode=root", "--variant=minbase", "--format=directory"]);
    mmdebstrap.arg(format!("--include={PACKAGES}"));
    mmdebstrap.args([
        "--aptopt=APT::Install-Recommends \"0\"",
        "--aptopt=Acquire::Languages \"none\"",
        "--dpkgopt=force-unsafe-io",
    ]);
    for folder in LEFT_OUT {
        mmdebstrap.arg(format!("--dpkgopt=path-exclude=/usr/share/{folder}/*"));
    }
    mmdebstrap.arg(RELEASE).arg(work);
    if let Some(mirror) = env::var_os("OOMTRACE_DEBIAN_MIRROR") {
        mmdebstrap.arg(mirror);
    }
    let status = command::logged(&mut mmdebstrap, log, LIMIT)?;
    if !status.success() {
        bail!("mmdebstrap failed ({status}): see {}", log.display());
    }
    Ok(())
}
