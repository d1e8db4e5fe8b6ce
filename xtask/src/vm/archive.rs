//! Debian's package archive, read by apt itself in a private state folder.
//!
//! Apt checks the archive's signatures and the packages' checksums, works without root this way,
//! and leaves the machine's own lists alone. The mirror is the one that the machine uses.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::command;

pub(crate) const MIRROR_VARIABLE: &str = "OOMTRACE_DEBIAN_MIRROR";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const SUITES: [&str; 5] = ["bullseye", "bookworm", "trixie", "trixie-backports", "sid"];
const SECURITY_SUITES: [&str; 3] = ["bullseye-security", "bookworm-security", "trixie-security"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
}

#[derive(Debug)]
pub(crate) struct Archive {
    conf: PathBuf,
}

impl Archive {
    /// Prepares the private state below `dir`; `refresh` fetches the lists.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let all = |mirrors: &Mirrors| mirrors.sources(&SUITES, &SECURITY_SUITES);
        Self::with(dir, &all(&Mirrors::find()?))
    }

    /// The same, for some sources only.
    pub(crate) fn with(dir: &Path, sources: &str) -> Result<Self> {
        if command::find("apt-get").is_none() {
            bail!("apt-get is not on the search path: Debian's kernels are fetched with it");
        }
        if !Path::new(KEYRING).is_file() {
            bail!(
                "{KEYRING} is not there: install debian-archive-keyring, the archive is checked with it"
            );
        }
        for sub in ["state/lists/partial", "cache/archives/partial"] {
            let sub = dir.join(sub);
            fs::create_dir_all(&sub).with_context(|| format!("cannot create {}", sub.display()))?;
        }
        write(&dir.join("sources.list"), sources)?;
        write(&dir.join("state/status"), "")?;
        let conf = dir.join("apt.conf");
        write(&conf, &configuration(dir, &acquire_options()))?;
        Ok(Self { conf })
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = command::clean(program);
        command
            .env("APT_CONFIG", &self.conf)
            .env("LC_ALL", "C.UTF-8");
        command
    }

    /// Fetches the package lists. After an error, those that could be had are there, and the
    /// others as they were before.
    pub(crate) fn refresh(&self) -> Result<()> {
        command::output(
            self.apt("apt-get")
                .args(["--quiet", "--error-on=any", "update"]),
        )
        .map(drop)
    }

    /// All versions of the packages whose names begin and end so.
    pub(crate) fn packages(&self, prefixes: &[&str], part: &str) -> Result<Vec<Package>> {
        let mut names = Vec::new();
        for prefix in prefixes {
            let listed = command::output(self.apt("apt-cache").args(["pkgnames", prefix]))?;
            names.extend(
                listed
                    .lines()
                    .filter(|name| name.contains(part))
                    .map(str::to_owned),
            );
        }
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let listed = command::output(self.apt("apt-cache").arg("madison").args(&names))?;
        Ok(madison(&listed))
    }

    /// Downloads one package into a folder, checked, and returns its path.
    pub(crate) fn download(&self, package: &Package, dir: &Path) -> Result<PathBuf> {
        let wanted = format!("{}={}", package.name, package.version);
        command::output(
            self.apt("apt-get")
                .args(["--quiet", "download", &wanted])
                .current_dir(dir),
        )?;
        fs::read_dir(dir)
            .with_context(|| format!("cannot read {}", dir.display()))?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .with_context(|| format!("apt-get said nothing, but {wanted} did not come"))
    }
}

/// Takes the files out of a package whose paths match a pattern of tar's.
pub(crate) fn extract(deb: &Path, pattern: &str, into: &Path) -> Result<()> {
    let mut dpkg = command::clean("dpkg-deb");
    dpkg.arg("--fsys-tarfile")
        .arg(deb)
        .stdout(std::process::Stdio::piped());
    let mut dpkg = command::Guard(dpkg.spawn().context("cannot start dpkg-deb")?);
    let stream = dpkg.0.stdout.take().context("dpkg-deb has no output")?;
    let status = command::clean("tar")
        .args(["--extract", "--wildcards", "--no-same-owner", pattern])
        .current_dir(into)
        .stdin(stream)
        .status()
        .context("cannot start tar")?;
    let unpacked = dpkg.0.wait().context("cannot wait for dpkg-deb")?;
    if !status.success() || !unpacked.success() {
        bail!("cannot take {pattern} out of {}", deb.display());
    }
    Ok(())
}

/// All plain files in a folder and those below it.
pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_below(&entry.path())),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    files
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Lines of `apt-cache madison`: `name | version | source`.
fn madison(listed: &str) -> Vec<Package> {
    let package = |line: &str| {
        let mut fields = line.split('|').map(str::trim);
        let (name, version) = (fields.next()?, fields.next()?);
        Some(Package {
            name: name.to_owned(),
            version: version.to_owned(),
        })
    };
    listed.lines().filter_map(package).collect()
}

/// A release and its security updates, as lines of apt's sources.
pub(crate) fn release_sources(release: &str) -> Result<String> {
    let security = format!("{release}-security");
    Ok(Mirrors::find()?.sources(&[release], &[&security]))
}

/// How the machine reaches the network (proxies, retries), in apt's own words.
pub(crate) fn acquire_options() -> String {
    let dump = command::output(command::clean("apt-config").arg("dump")).unwrap_or_default();
    let kept = |line: &&str| {
        line.starts_with("Acquire::")
            && !line.starts_with("Acquire::IndexTargets")
            && !line.starts_with("Acquire::Languages")
    };
    dump.lines()
        .filter(kept)
        .flat_map(|line| [line, "\n"])
        .collect()
}

fn configuration(dir: &Path, acquire: &str) -> String {
    let dir = dir.display();
    format!(
        "Dir::Etc::Main \"/dev/null\";\n\
         Dir::Etc::Parts \"/dev/null\";\n\
         {acquire}\
         Acquire::Languages \"none\";\n\
         Dir::State \"{dir}/state\";\n\
         Dir::State::status \"{dir}/state/status\";\n\
         Dir::Cache \"{dir}/cache\";\n\
         Dir::Etc::SourceList \"{dir}/sources.list\";\n\
         Dir::Etc::SourceParts \"/dev/null\";\n\
         APT::Architecture \"amd64\";\n\
         APT::Architectures {{ \"amd64\"; }};\n\
         APT::Sandbox::User \"root\";\n"
    )
}

#[derive(Debug, PartialEq, Eq)]
struct Mirrors {
    main: String,
    security: String,
}

impl Mirrors {
    fn find() -> Result<Self> {
        if let Ok(main) = env::var(MIRROR_VARIABLE) {
            return Ok(Self::of(main.trim_end_matches('/').to_owned()));
        }
        let format = "$(ORIGIN) $(REPO_URI) $(CODENAME)";
        let known =
            command::output(command::clean("apt-get").args(["indextargets", "--format", format]))
                .unwrap_or_default();
        let uris = || {
            command::output(command::clean("apt-get").args(["update", "--print-uris"]))
                .unwrap_or_default()
        };
        Self::from_lists(&known)
            .or_else(|| Self::from_uris(&uris()))
            .with_context(|| {
                format!(
                    "apt's sources name no Debian mirror: set {MIRROR_VARIABLE} to one, up to and \
                 with the folder that holds `dists`"
                )
            })
    }

    fn of(main: String) -> Self {
        Self {
            security: format!("{main}-security"),
            main,
        }
    }

    /// From the lists that apt has: they say by whom they were made.
    fn from_lists(listed: &str) -> Option<Self> {
        let rows: Vec<(&str, &str)> = listed
            .lines()
            .filter_map(|line| line.strip_prefix("Debian "))
            .filter_map(|line| line.split_once(' '))
            .collect();
        let of = |security: bool| {
            let row = rows
                .iter()
                .find(|(_, suite)| suite.ends_with("-security") == security);
            row.map(|(uri, _)| uri.trim_end_matches('/').to_owned())
        };
        let mirrors = Self::of(of(false)?);
        Some(Self {
            security: of(true).unwrap_or(mirrors.security),
            ..mirrors
        })
    }

    /// From the sources alone, where no list was fetched yet. Others call their suites by
    /// Debian's names too; `-updates` is Debian's own.
    fn from_uris(printed: &str) -> Option<Self> {
        let rows: Vec<(&str, &str)> = printed
            .lines()
            .filter_map(|line| line.strip_prefix('\'')?.split_once("/InRelease'"))
            .filter_map(|(uri, _)| uri.split_once("/dists/"))
            .collect();
        let with = |suffix: &str| {
            rows.iter()
                .find(|(_, suite)| suite.ends_with(suffix))
                .map(|(uri, _)| *uri)
        };
        let mirrors = Self::of(with("-updates")?.to_owned());
        Some(Self {
            security: with("-security").map_or(mirrors.security, str::to_owned),
            ..mirrors
        })
    }

    fn sources(&self, suites: &[&str], security_suites: &[&str]) -> String {
        // Suites past their support keep old dates; they are signed all the same.
        let line = |mirror: &str, suite: &str| {
            format!("deb [signed-by={KEYRING} check-valid-until=no] {mirror} {suite} main\n")
        };
        let main = suites.iter().map(|suite| line(&self.main, suite));
        let security = security_suites
            .iter()
            .map(|suite| line(&self.security, suite));
        main.chain(security).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn madison_is_read_by_its_columns() {
        let listed = " linux-image-a |   7.2.13-1 | http://mirror.test/debian sid/main amd64 Packages\n\
                      linux-image-b | 6.1.192-2 | http://mirror.test/debian bookworm/main\nnoise\n";
        let packages = madison(listed);
        assert_eq!(packages.len(), 2);
        assert_eq!(
            packages[0],
            Package {
                name: "linux-image-a".into(),
                version: "7.2.13-1".into()
            }
        );
    }

    #[test]
    fn the_mirror_is_the_one_whose_lists_are_debians() {
        let listed = "Docker http://other.test/linux/debian/ bookworm\n\
                      Debian http://s.test/sec/ bookworm-security\n\
                      Debian http://m.test/debian/ bookworm\n";
        let found = Mirrors::from_lists(listed).unwrap();
        assert_eq!(found.main, "http://m.test/debian");
        assert_eq!(found.security, "http://s.test/sec");
        assert_eq!(
            Mirrors::from_lists("Docker http://other.test/ bookworm\n"),
            None
        );
    }

    #[test]
    fn without_lists_the_sources_tell_the_mirror() {
        let printed = "'http://other.test/linux/debian/dists/bookworm/InRelease' x 0 \n\
                       'http://m.test/debian/dists/bookworm-updates/InRelease' x 0 \n\
                       'http://m.test/debian/dists/bookworm-updates/main/binary-amd64/Packages.xz' x 0 \n";
        let found = Mirrors::from_uris(printed).unwrap();
        assert_eq!(found.main, "http://m.test/debian");
        assert_eq!(found.security, "http://m.test/debian-security");
        assert_eq!(Mirrors::from_uris(""), None);
    }
}
