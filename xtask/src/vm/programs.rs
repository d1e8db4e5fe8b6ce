//! Programs of others that tests run, out of Debian's packages: fetched once and kept. The guests
//! get all of them, the fixtures of this machine those that run on it.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context as _, Result};

use crate::{
    project::Project,
    vm::{
        archive::{self, Archive, Package},
        version,
    },
};

/// Where the fixtures look for programs first.
pub(crate) const FOLDER_VARIABLE: &str = "OOMTRACE_PROGRAMS";

/// A package, and the files wanted of it, by the ends of their paths.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    package: &'static str,
    pick: Pick,
    files: &'static [&'static str],
}

impl Wanted {
    /// The names that the files are kept by.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.files.iter().map(|file| name(file))
    }
}

fn name(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}

/// Which of the versions that Debian's releases have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pick {
    Newest,
    /// Runs on every machine's C library.
    Oldest,
}

pub(crate) const BUSYBOX: Wanted = Wanted {
    package: "busybox-static",
    pick: Pick::Newest,
    files: &["bin/busybox"],
};

/// What fixtures run: a service manager and an OOM daemon.
pub(crate) const FIXTURES: [Wanted; 2] = [
    Wanted {
        package: "runit",
        pick: Pick::Oldest,
        files: &["bin/runsv", "bin/sv"],
    },
    Wanted {
        package: "earlyoom",
        pick: Pick::Newest,
        files: &["bin/earlyoom"],
    },
];

/// What these run on in a guest, which has no C library of its own.
pub(crate) const C_LIBRARY: Wanted = Wanted {
    package: "libc6",
    pick: Pick::Newest,
    files: &["libc.so.6", "ld-linux-x86-64.so.2"],
};

/// Where the files of all packages are kept.
pub(crate) fn folder(project: &Project) -> PathBuf {
    project.cache.join("programs")
}

/// Fetches what fixtures run. Without it they skip, and say why; so this never fails.
pub(crate) fn for_fixtures(project: &Project) {
    for wanted in FIXTURES.iter().chain([&C_LIBRARY]) {
        if let Err(error) = get(project, wanted) {
            eprintln!("notice: some fixtures will skip: {error:#}");
        }
    }
}

/// The files of a package, kept or fetched now.
pub(crate) fn get(project: &Project, wanted: &Wanted) -> Result<Vec<PathBuf>> {
    let kept = folder(project);
    let files: Vec<PathBuf> = wanted.names().map(|name| kept.join(name)).collect();
    if files.iter().all(|file| file.is_file()) {
        return Ok(files);
    }
    eprintln!("fetching {}", wanted.package);
    let work = kept.join(format!("{}.{}", wanted.package, process::id()));
    fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
    let fetched = fetch(project, wanted, &work, &kept);
    let _ = fs::remove_dir_all(&work); // a leftover folder does no harm
    fetched.with_context(|| format!("cannot fetch {}", wanted.package))?;
    Ok(files)
}

fn fetch(project: &Project, wanted: &Wanted, work: &Path, kept: &Path) -> Result<()> {
    let archive = Archive::open(&project.cache.join("apt"))?;
    let listed = || archive.packages(&[wanted.package], wanted.package);
    let mut packages = listed().unwrap_or_default();
    if choose(&packages, wanted).is_none() {
        archive.refresh()?;
        packages = listed()?;
    }
    let package = choose(&packages, wanted).context("the archive does not have it")?;
    let deb = archive.download(package, work)?;
    for file in wanted.files {
        archive::extract(&deb, &format!("*/{file}"), work)?;
        let found = archive::files_below(work)
            .into_iter()
            .find(|path| path.ends_with(file))
            .with_context(|| format!("it holds no {file}"))?;
        fs::rename(found, kept.join(name(file))).with_context(|| format!("cannot keep {file}"))?;
    }
    Ok(())
}

fn choose<'a>(packages: &'a [Package], wanted: &Wanted) -> Option<&'a Package> {
    let by_version = |a: &&Package, b: &&Package| version::compare(&a.version, &b.version);
    let versions = packages
        .iter()
        .filter(|package| package.name == wanted.package);
    match wanted.pick {
        Pick::Newest => versions.max_by(by_version),
        Pick::Oldest => versions.min_by(by_version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_of_the_very_package_is_chosen() {
        let package = |name: &str, version: &str| Package {
            name: name.into(),
            version: version.into(),
        };
        let packages = [
            package("runit", "2.1.2-54"),
            package("runit", "2.3.1-6"),
            package("runit", "2.1.2-41"),
            package("runit-helper", "1.0"),
        ];
        let mut wanted = Wanted {
            package: "runit",
            pick: Pick::Oldest,
            files: &[],
        };
        assert_eq!(choose(&packages, &wanted), Some(&packages[2]));
        wanted.pick = Pick::Newest;
        assert_eq!(choose(&packages, &wanted), Some(&packages[1]));
        wanted.package = "sv";
        assert_eq!(choose(&packages, &wanted), None);
    }
}
