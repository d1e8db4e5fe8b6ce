//! Where the memory controller is mounted, and what its files are called.

use std::{
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use thiserror::Error;

/// The root of each hierarchy has this inode: what is mounted with another is a part of it.
const ROOT_INODE: u64 = 1;

/// The memory controller's hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    top: PathBuf,
    /// Path of what is mounted there, from the root of the hierarchy; empty if it is that.
    root: String,
    unified: bool,
    page_bytes: u64,
}

/// Why no cgroup's memory can be watched.
#[derive(Debug, Error)]
pub enum HierarchyError {
    #[error("/proc/self/mountinfo cannot be read")]
    MountInfo(#[source] io::Error),
    #[error("the memory controller's cgroups are mounted nowhere here")]
    NotMounted,
    #[error(
        "only the cgroups of this container are mounted here, at {}: their paths are not those of the node",
        .0.display()
    )]
    Namespaced(PathBuf),
}

/// Names of the files of a cgroup.
#[derive(Clone, Copy, Debug)]
pub(super) struct Files {
    pub(super) usage: &'static str,
    pub(super) limit: &'static str,
    pub(super) stat: &'static str,
    pub(super) swap: Option<&'static str>,
}

impl Hierarchy {
    /// The one of this node.
    pub fn find(page_bytes: u64) -> Result<Self, HierarchyError> {
        let mounts =
            fs::read_to_string("/proc/self/mountinfo").map_err(HierarchyError::MountInfo)?;
        Self::among(&mounts, page_bytes)
    }

    /// The one among these mounts, as /proc/PID/mountinfo has them: the root of a hierarchy
    /// before a part of one.
    pub fn among(mounts: &str, page_bytes: u64) -> Result<Self, HierarchyError> {
        let mut namespaced = None;
        let mut part = None;
        for (top, root, unified) in mounts.lines().filter_map(mount) {
            let has_memory = !unified || has_memory(&top);
            let Some(inode) = fs::metadata(&top).ok().map(|top| top.ino()) else {
                continue;
            };
            if !has_memory {
                continue;
            }
            let found = |root| Self {
                top: top.clone(),
                root,
                unified,
                page_bytes,
            };
            if inode == ROOT_INODE {
                return Ok(found(String::new()));
            }
            // In a cgroup namespace `/` is the namespace's own root, and `/..` above it.
            if root == "/" || root.starts_with("/..") {
                namespaced.get_or_insert(top.clone());
            } else {
                part.get_or_insert(found(root));
            }
        }
        match (part, namespaced) {
            (Some(part), _) => Ok(part),
            (None, Some(top)) => Err(HierarchyError::Namespaced(top)),
            (None, None) => Err(HierarchyError::NotMounted),
        }
    }

    /// A folder that stands for the root of v2's.
    #[cfg(test)]
    pub(super) fn at_folder(top: &Path) -> Self {
        Self {
            top: top.to_path_buf(),
            ..Self::of_test()
        }
    }

    #[cfg(test)]
    pub(super) fn of_test() -> Self {
        Self {
            top: PathBuf::from("/sys/fs/cgroup"),
            root: String::new(),
            unified: true,
            page_bytes: 4096,
        }
    }

    pub(super) fn files(&self) -> Files {
        if self.unified {
            Files {
                usage: "memory.current",
                limit: "memory.max",
                stat: "memory.stat",
                swap: Some("memory.swap.current"),
            }
        } else {
            Files {
                usage: "memory.usage_in_bytes",
                limit: "memory.limit_in_bytes",
                stat: "memory.stat",
                swap: None,
            }
        }
    }

    pub(super) fn top(&self) -> &Path {
        &self.top
    }

    pub(super) fn is_unified(&self) -> bool {
        self.unified
    }

    pub(super) fn page_bytes(&self) -> u64 {
        self.page_bytes
    }

    /// The folder of the cgroup with this path.
    pub(super) fn folder(&self, path: &str) -> Option<PathBuf> {
        let below = path.strip_prefix(&self.root)?;
        let below = match below.strip_prefix('/') {
            Some(below) => below,
            None if below.is_empty() => below,
            None => return None,
        };
        // A path of which only the end is known begins with a mark, not with a slash.
        (path.starts_with('/') && !below.split('/').any(|name| name == "..")).then(|| {
            if below.is_empty() {
                self.top.clone()
            } else {
                self.top.join(below)
            }
        })
    }

    /// The path of the cgroup that has this folder.
    pub(super) fn path(&self, folder: &Path) -> Option<String> {
        let below = folder.strip_prefix(&self.top).ok()?;
        let below = crate::event::text::utf8(below.as_os_str().as_bytes());
        Some(match (self.root.as_str(), below.as_str()) {
            ("", "") => "/".to_owned(),
            (root, "") => root.to_owned(),
            (root, below) => format!("{root}/{below}"),
        })
    }

    /// A limit as its file has it; `None`: there is none. v1 has one of all pages there can be
    /// (`PAGE_COUNTER_MAX` of include/linux/page_counter.h).
    pub(super) fn limit(&self, text: &str) -> Option<u64> {
        let bytes: u64 = text.trim().parse().ok()?;
        let page_bytes = self.page_bytes.max(1);
        let unlimited = (i64::MAX as u64 / page_bytes).saturating_mul(page_bytes);
        (bytes < unlimited).then_some(bytes)
    }
}

/// Mount point, root and whether it is v2's, of a line that is about a hierarchy that may have
/// the memory controller.
fn mount(line: &str) -> Option<(PathBuf, String, bool)> {
    let (mount, source) = line.split_once(" - ")?;
    let mut source = source.split(' ');
    let kind = source.next()?;
    let options = source.nth(1)?;
    let unified = match kind {
        "cgroup" if options.split(',').any(|option| option == "memory") => false,
        "cgroup2" => true,
        _ => return None,
    };
    let mut fields = mount.split(' ').skip(3);
    let root = unescaped(fields.next()?);
    let top = unescaped(fields.next()?);
    Some((PathBuf::from(top), root, unified))
}

/// `mangle` of fs/proc_namespace.c: blanks and backslashes are written in octal.
fn unescaped(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (code, plain)| {
        text.replace(code, plain)
    })
}

fn has_memory(top: &Path) -> bool {
    fs::read_to_string(top.join("cgroup.controllers")).is_ok_and(|controllers| {
        controllers
            .split_ascii_whitespace()
            .any(|controller| controller == "memory")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(root: &str, unified: bool) -> Hierarchy {
        Hierarchy {
            top: PathBuf::from("/sys/fs/cgroup/memory"),
            root: root.to_owned(),
            unified,
            page_bytes: 4096,
        }
    }

    #[test]
    fn a_line_of_mountinfo() {
        let v1 = "35 31 0:32 /docker/a\\040b /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory";
        let (top, root, unified) = mount(v1).unwrap();
        assert_eq!(top, Path::new("/sys/fs/cgroup/memory"));
        assert_eq!((root.as_str(), unified), ("/docker/a b", false));
        let v2 = "41 31 0:38 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        assert!(mount(v2).unwrap().2);
        for other in [
            "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu",
            "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755",
            "",
        ] {
            assert_eq!(mount(other), None, "{other}");
        }
    }

    #[test]
    fn paths_and_folders_are_each_others() {
        for (hierarchy, path, folder) in [
            (at("", true), "/", "/sys/fs/cgroup/memory"),
            (at("", true), "/a/b", "/sys/fs/cgroup/memory/a/b"),
            (at("/docker/x", false), "/docker/x", "/sys/fs/cgroup/memory"),
            (
                at("/docker/x", false),
                "/docker/x/b",
                "/sys/fs/cgroup/memory/b",
            ),
        ] {
            let folder = PathBuf::from(folder);
            assert_eq!(hierarchy.folder(path).as_deref(), Some(&*folder), "{path}");
            assert_eq!(hierarchy.path(&folder).as_deref(), Some(path));
        }
        assert_eq!(at("/docker/x", false).folder("/docker/xy"), None);
        assert_eq!(at("", true).folder("…/a/b"), None);
        assert_eq!(at("", true).folder("/a/../b"), None);
    }

    #[test]
    fn no_limit_is_none() {
        let limit = |text| at("", false).limit(text);
        assert_eq!(limit("52428800\n"), Some(52_428_800));
        assert_eq!(limit("9223372036854771712\n"), None, "v1's");
        assert_eq!(limit("max\n"), None, "v2's");
        assert_eq!(limit("0\n"), Some(0));
    }
}
