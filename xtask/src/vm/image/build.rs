//! Building one image: packages into a folder, the folder into a file system, with nothing
//! mounted from a file.

use std::{
    fs,
    io::{Seek as _, SeekFrom, Write as _},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::store::Trouble;
use crate::{
    cli::Image,
    command, packages,
    vm::archive::{self, Archive},
};

pub(super) const DISK: &str = "disk.img";
pub(super) const KERNEL: &str = "vmlinuz";
/// Changes with what is done here, so that older images are not taken for new ones.
pub(super) const RECIPE: &str = "1";

const LIMIT: Duration = Duration::from_secs(15 * 60);
/// What is installed takes 600 MiB; the rest is for containers. A sparse file.
const DISK_BYTES: u64 = 3 << 30;
const SECTOR: u64 = 512;
/// Where the partition begins, in sectors.
const START: u32 = 2048;
/// Not read by any test.
const LEFT_OUT: [&str; 3] = ["doc", "man", "locale"];

/// Makes disk and kernel below `work`. What this machine cannot give is a [`Trouble`]; all other
/// errors are the recipe's.
pub(super) fn build(
    release: Image,
    script: &Path,
    disk_id: u32,
    work: &Path,
    log: &Path,
) -> Result<()> {
    tools()?;
    let sources = sources(release, work)?;
    eprintln!("building an image of {} (about a minute)", release.name());
    let root = work.join("root");
    install(release, script, &sources, &root, log)?;
    let kernel = fs::read_dir(root.join("boot"))
        .context("no kernel was installed")?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().contains("/vmlinuz-"))
        .context("no kernel was installed")?;
    fs::copy(kernel, work.join(KERNEL)).context("cannot keep the kernel")?;
    file_system(&root, &work.join(DISK), disk_id)?;
    fs::remove_dir_all(&root).context("cannot remove the folder that the image was made of")
}

fn tools() -> Result<()> {
    if !command::is_root() {
        bail!(Trouble("building an image takes root".to_owned()));
    }
    let lacking: Vec<&str> = [("mmdebstrap", "mmdebstrap"), ("mkfs.ext4", "e2fsprogs")]
        .into_iter()
        .filter(|(program, _)| command::find(program).is_none())
        .map(|(_, package)| package)
        .collect();
    if lacking.is_empty() {
        return Ok(());
    }
    packages::install(&lacking, "no mmdebstrap or mkfs.ext4, which build images")
        .map_err(|error| Trouble(format!("{error:#}")).into())
}

/// The mirror that this machine uses, if it has the release.
fn sources(release: Image, work: &Path) -> Result<String> {
    let lists = work.join("apt");
    let serves = || {
        let sources = archive::release_sources(release.name())?;
        Archive::with(&lists, &sources)?.refresh()?;
        fs::remove_dir_all(&lists).context("cannot remove the package lists")?;
        Ok(sources)
    };
    let served: Result<String> = serves();
    served.map_err(|error| {
        let error = format!("{error:#}"); // a line for each list
        let first = error.lines().next().unwrap_or_default();
        let name = release.name();
        Trouble(format!("the mirror does not serve {name}: {first}")).into()
    })
}

fn install(release: Image, script: &Path, sources: &str, root: &Path, log: &Path) -> Result<()> {
    let name = script
        .file_name()
        .context("the script has no name")?
        .to_string_lossy();
    let mut mmdebstrap = command::clean("mmdebstrap");
    mmdebstrap.args(["--mode=root", "--variant=minbase"]);
    // For the second half, which asks the mirror from inside.
    mmdebstrap.arg("--include=ca-certificates");
    for line in archive::acquire_options().lines() {
        mmdebstrap.arg(format!("--aptopt={line}"));
    }
    mmdebstrap.args([
        "--aptopt=APT::Install-Recommends \"0\"",
        "--aptopt=Acquire::Languages \"none\"",
        "--dpkgopt=force-unsafe-io",
    ]);
    for folder in LEFT_OUT {
        mmdebstrap.arg(format!("--dpkgopt=path-exclude=/usr/share/{folder}/*"));
    }
    // Hooks are lines of shell, which gets the script's path from the environment.
    mmdebstrap.env("SCRIPT", script);
    mmdebstrap.args([
        "--customize-hook=cp \"$SCRIPT\" \"$1\"/root/".to_owned(),
        format!("--customize-hook=chroot \"$1\" sh /root/{name} --image"),
    ]);
    mmdebstrap.arg(release.name()).arg(root);
    mmdebstrap.args(sources.lines());
    let status = command::logged(&mut mmdebstrap, log, LIMIT)?;
    if !status.success() {
        bail!("mmdebstrap failed ({status}): see {}", log.display());
    }
    Ok(())
}

/// A disk with one partition, whose file system holds the folder.
fn file_system(root: &Path, disk: &Path, disk_id: u32) -> Result<()> {
    let start_bytes = u64::from(START) * SECTOR;
    let write = || {
        let mut file = fs::File::create(disk)?;
        file.set_len(DISK_BYTES)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&boot_record(disk_id))
    };
    write().with_context(|| format!("cannot write {}", disk.display()))?;
    let mut mkfs = command::clean("mkfs.ext4");
    mkfs.args(["-q", "-F", "-O", "^has_journal", "-E"]);
    mkfs.arg(format!("offset={start_bytes},lazy_itable_init=1,nodiscard"));
    mkfs.arg("-d").arg(root).arg(disk);
    mkfs.arg(format!("{}k", (DISK_BYTES - start_bytes) / 1024));
    command::output(&mut mkfs).map(drop)
}

/// The master boot record: the disk's number, and one Linux partition over all the rest.
fn boot_record(disk_id: u32) -> [u8; SECTOR as usize] {
    const LINUX: u8 = 0x83;
    /// Cylinder, head and sector: more than these can say.
    const BEYOND: [u8; 3] = [0xfe, 0xff, 0xff];
    let mut record = [0; SECTOR as usize];
    let sectors = (DISK_BYTES / SECTOR) as u32 - START;
    record[440..444].copy_from_slice(&disk_id.to_le_bytes());
    record[447..450].copy_from_slice(&BEYOND);
    record[450] = LINUX;
    record[451..454].copy_from_slice(&BEYOND);
    record[454..458].copy_from_slice(&START.to_le_bytes());
    record[458..462].copy_from_slice(&sectors.to_le_bytes());
    record[510..].copy_from_slice(&[0x55, 0xaa]);
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_record_has_one_partition() {
        let record = boot_record(0x1234_abcd);
        assert_eq!(record[440..444], [0xcd, 0xab, 0x34, 0x12]);
        assert_eq!(record[450], 0x83);
        assert_eq!(record[454..458], [0, 8, 0, 0]);
        // 3 GiB are 0x600000 sectors.
        assert_eq!(record[458..462], [0, 0xf8, 0x5f, 0]);
        assert_eq!(record[462..510], [0; 48]);
        assert_eq!(record[510..], [0x55, 0xaa]);
    }
}
