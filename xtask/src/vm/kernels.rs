//! Which kernels there are, and fetching the newest point release of a series.
//!
//! Looked up at most once a day; without the network, the newest that was fetched before serves.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    project::Project,
    vm::{
        archive::{self, Archive, MIRROR_VARIABLE, Package},
        version,
    },
};

/// One series of kernels: the range of versions that begin with its name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Series {
    pub(crate) name: &'static str,
    /// Whether Debian builds it with the memory controller of cgroup v1.
    pub(crate) cgroup_v1: bool,
}

pub(crate) const SERIES: [Series; 5] = [
    Series {
        name: "5.10",
        cgroup_v1: true,
    },
    Series {
        name: "6.1",
        cgroup_v1: true,
    },
    Series {
        name: "6.12",
        cgroup_v1: false,
    },
    Series {
        name: "6.18",
        cgroup_v1: false,
    },
    Series {
        name: "7.2",
        cgroup_v1: false,
    },
];

const LOOKUP_LASTS: Duration = Duration::from_secs(24 * 60 * 60);
const PREFIXES: [&str; 2] = ["linux-image-", "linux-binary-"];
const FLAVOUR: &str = "-cloud-amd64";

#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) series: &'static Series,
    pub(crate) version: String,
    pub(crate) image: PathBuf,
}

pub(crate) fn by_names(names: &[String]) -> Result<Vec<&'static Series>> {
    if names.iter().any(|name| name == "all") {
        return Ok(SERIES.iter().collect());
    }
    let one = |name: &String| {
        SERIES
            .iter()
            .find(|series| series.name == name)
            .with_context(|| {
                let known = SERIES.map(|series| series.name).join(", ");
                format!("no kernel series `{name}`: there are {known} and all")
            })
    };
    names.iter().map(one).collect()
}

/// The kernels of some series, from the cache or from the archive.
pub(crate) fn get(project: &Project, wanted: &[&'static Series]) -> Result<Vec<Kernel>> {
    let store = Store {
        dir: project.cache.join("kernels"),
    };
    fs::create_dir_all(&store.dir)
        .with_context(|| format!("cannot create {}", store.dir.display()))?;
    if let Some(kernels) = store.fresh(wanted) {
        return Ok(kernels);
    }
    if let Err(error) = store.look_up(project, wanted) {
        eprintln!("notice: the newest kernels could not be fetched: {error:#}");
    }
    wanted
        .iter()
        .map(|series| {
            store.newest(series).with_context(|| {
                format!(
                    "no kernel {}: none was fetched now, for the reason above, nor before; \
                     {MIRROR_VARIABLE} may name another mirror of Debian's archive",
                    series.name
                )
            })
        })
        .collect()
}

/// The folder of fetched kernels: `<series>/<package version>/vmlinuz`, and `<series>/looked-up`,
/// whose age is that of the last look-up.
struct Store {
    dir: PathBuf,
}

impl Store {
    /// All that is wanted, if it was looked up within the last day.
    fn fresh(&self, wanted: &[&'static Series]) -> Option<Vec<Kernel>> {
        let fresh = |series: &&'static Series| {
            let note = fs::metadata(self.note(series)).ok()?;
            let age = note.modified().ok()?.elapsed().ok()?;
            (age < LOOKUP_LASTS).then(|| self.newest(series)).flatten()
        };
        wanted.iter().map(fresh).collect()
    }

    fn note(&self, series: &Series) -> PathBuf {
        self.dir.join(series.name).join("looked-up")
    }

    fn newest(&self, series: &'static Series) -> Option<Kernel> {
        let mut versions: Vec<String> = fs::read_dir(self.dir.join(series.name))
            .ok()?
            .flatten()
            .filter(|entry| entry.path().join("vmlinuz").is_file())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        versions.sort_by(|left, right| version::compare(left, right));
        let version = versions.pop()?;
        let image = self.dir.join(series.name).join(&version).join("vmlinuz");
        Some(Kernel {
            series,
            version,
            image,
        })
    }

    /// Asks the archive and fetches what is newer than what is there.
    fn look_up(&self, project: &Project, wanted: &[&'static Series]) -> Result<()> {
        eprintln!("looking up the newest kernels (once a day)");
        let archive = Archive::open(&project.cache.join("apt"))?;
        // A suite may be gone, or the network, and the others may still have all that is wanted.
        if let Err(error) = archive.refresh() {
            eprintln!("notice: going on with the package lists that are there: {error:#}");
        }
        let packages = archive.packages(&PREFIXES, FLAVOUR)?;
        for series in wanted {
            match choose(&packages, series.name) {
                Some(package) => self.fetch(&archive, series, package)?,
                None => eprintln!("notice: no package list has a kernel {}", series.name),
            }
        }
        Ok(())
    }

    fn fetch(&self, archive: &Archive, series: &Series, package: &Package) -> Result<()> {
        let home = self.dir.join(series.name).join(&package.version);
        if home.join("vmlinuz").is_file() {
            return self.noted(series);
        }
        eprintln!("fetching {} {}", package.name, package.version);
        // Unpacked beside its place and then moved: half a kernel is never booted.
        let work = self
            .dir
            .join(format!("{}.{}", package.version, process::id()));
        fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
        let fetched = unpack(archive, package, &work).and_then(|image| {
            fs::create_dir_all(&home)
                .with_context(|| format!("cannot create {}", home.display()))?;
            fs::rename(&image, home.join("vmlinuz")).context("cannot keep the kernel")
        });
        let _ = fs::remove_dir_all(&work); // a leftover folder does no harm
        fetched.with_context(|| format!("cannot fetch {}", package.name))?;
        self.noted(series)
    }

    fn noted(&self, series: &Series) -> Result<()> {
        fs::write(self.note(series), "").context("cannot note the look-up")
    }
}

fn unpack(archive: &Archive, package: &Package, work: &Path) -> Result<PathBuf> {
    let deb = archive.download(package, work)?;
    archive::extract(&deb, "*/vmlinuz*", work)?;
    let image = archive::files_below(work).into_iter().find(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
    });
    image.with_context(|| format!("{} {} holds no vmlinuz", package.name, package.version))
}

/// The newest package of a series that holds a kernel image.
fn choose<'a>(packages: &'a [Package], series: &str) -> Option<&'a Package> {
    packages
        .iter()
        .filter(|package| in_series(&package.version, series))
        .filter_map(|package| Some((package, rank(&package.name)?)))
        .max_by(|(left, left_rank), (right, right_rank)| {
            version::compare(&left.version, &right.version).then(left_rank.cmp(right_rank))
        })
        .map(|(package, _)| package)
}

fn in_series(version: &str, series: &str) -> bool {
    version
        .strip_prefix(series)
        .is_some_and(|rest| rest.starts_with('.'))
}

/// How likely a package of this name is to hold the image: `None` for meta packages (their names
/// have no full version) and debug symbols. Where there is a `linux-binary-…`, the
/// `linux-image-…` of the same version only depends on it.
fn rank(name: &str) -> Option<u8> {
    let (rest, binary) = match name.strip_prefix("linux-binary-") {
        Some(rest) => (rest, 2),
        None => (name.strip_prefix("linux-image-")?, 0),
    };
    let (rest, unsigned_before) = match rest.strip_prefix("unsigned-") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let (rest, unsigned_after) = match rest.strip_suffix("-unsigned") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let release = rest.strip_suffix(FLAVOUR)?;
    let numbers = release.split(['-', '+']).next()?.split('.').count();
    let signed = u8::from(!unsigned_before && !unsigned_after);
    (numbers >= 3).then_some(binary + signed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(rows: &[(&str, &str)]) -> Vec<Package> {
        let package = |(name, version): &(&str, &str)| Package {
            name: (*name).into(),
            version: (*version).into(),
        };
        rows.iter().map(package).collect()
    }

    #[test]
    fn the_newest_point_release_is_taken() {
        let packages = packages(&[
            ("linux-image-6.1.0-9-cloud-amd64", "6.1.99-1"),
            ("linux-image-6.1.0-56-cloud-amd64", "6.1.192-2"),
            ("linux-image-6.12.117+deb13-cloud-amd64", "6.12.117-1"),
            (
                "linux-image-6.12.117+deb12-cloud-amd64",
                "6.12.117-1~deb12u1",
            ),
        ]);
        assert_eq!(choose(&packages, "6.1").unwrap().version, "6.1.192-2");
        assert_eq!(choose(&packages, "6.12").unwrap().version, "6.12.117-1");
        assert_eq!(choose(&packages, "5.10"), None);
    }

    #[test]
    fn meta_packages_and_debug_symbols_hold_no_image() {
        let packages = packages(&[
            ("linux-image-cloud-amd64", "6.1.200-1"),
            ("linux-image-6.1-cloud-amd64", "6.1.200-1"),
            ("linux-image-6.1.0-57-cloud-amd64-dbg", "6.1.200-1"),
            ("linux-image-6.1.0-56-cloud-amd64-unsigned", "6.1.192-2"),
        ]);
        assert_eq!(
            choose(&packages, "6.1").unwrap().name,
            "linux-image-6.1.0-56-cloud-amd64-unsigned"
        );
    }

    #[test]
    fn a_binary_package_goes_before_an_image_package() {
        let packages = packages(&[
            ("linux-binary-7.2.13+deb14-cloud-amd64", "7.2.13-1"),
            ("linux-image-7.2.13+deb14-cloud-amd64", "7.2.13-1"),
            ("linux-binary-unsigned-7.2.13+deb14-cloud-amd64", "7.2.13-1"),
        ]);
        assert_eq!(
            choose(&packages, "7.2").unwrap().name,
            "linux-binary-7.2.13+deb14-cloud-amd64"
        );
    }

    #[test]
    fn names_of_series_are_checked() {
        assert_eq!(by_names(&["all".into()]).unwrap().len(), 5);
        assert_eq!(by_names(&["6.1".into()]).unwrap(), [&SERIES[1]]);
        assert!(
            by_names(&["6.2".into()])
                .unwrap_err()
                .to_string()
                .contains("6.18")
        );
    }
}
