//! The guest's whole file system: busybox, the binaries under test and an init script, as one
//! cpio archive (format `newc`, not compressed: unpacking would cost the guest more).

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{command, project::Project, vm::programs};

const BINARIES: [&str; 3] = ["oomtrace", "oomtrace-fixture", "oomtrace-scenarios"];
const FOLDERS: [&str; 15] = [
    "bin", "dev", "etc", "files", "lib", "lib64", "proc", "programs", "root", "run", "save", "sys",
    "tmp", "usr", "var",
];

/// Puts the archive together. `script` is what init runs once all is mounted.
pub(crate) fn build(
    project: &Project,
    binaries: &Path,
    script: &str,
    extra: &[PathBuf],
) -> Result<Vec<u8>> {
    let mut cpio = Cpio::default();
    for folder in FOLDERS {
        cpio.folder(folder);
    }
    // The kernel opens the console before anything could mount /dev.
    cpio.device("dev/console", 5, 1);
    cpio.file("bin/busybox", 0o755, &busybox(project)?);
    cpio.symlink("bin/sh", "busybox");
    for binary in BINARIES {
        let path = binaries.join(binary);
        if path.is_file() {
            cpio.file(&format!("bin/{binary}"), 0o755, &read(&path)?);
        }
    }
    add_programs(&mut cpio, project)?;
    cpio.file("init", 0o755, &read(&project.root.join("tests/vm/init"))?);
    cpio.file("run.sh", 0o755, script.as_bytes());
    cpio.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
    cpio.file("etc/group", 0o644, b"root:x:0:\n");
    for path in extra {
        let name = path
            .file_name()
            .with_context(|| format!("{} has no name", path.display()))?;
        cpio.file(
            &format!("files/{}", name.to_string_lossy()),
            0o755,
            &read(path)?,
        );
    }
    Ok(cpio.finish())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A busybox that needs no library: the machine's own, or the one of the package.
fn busybox(project: &Project) -> Result<Vec<u8>> {
    let own = command::find("busybox").and_then(|path| read(&path).ok());
    if let Some(own) = own.filter(|bytes| is_static(bytes)) {
        return Ok(own);
    }
    let kept = programs::get(project, &programs::BUSYBOX)
        .context("`apt-get install busybox-static` does as well")?;
    read(kept.first().context("no file")?)
}

/// What fixtures run, as far as it could be had.
fn add_programs(cpio: &mut Cpio, project: &Project) -> Result<()> {
    programs::for_fixtures(project);
    let kept = programs::folder(project);
    let places = programs::FIXTURES
        .iter()
        .flat_map(programs::Wanted::names)
        .map(|file| (file, "programs"))
        .chain([("libc.so.6", "lib"), ("ld-linux-x86-64.so.2", "lib64")]);
    for (file, folder) in places {
        let path = kept.join(file);
        if path.is_file() {
            cpio.file(&format!("{folder}/{file}"), 0o755, &read(&path)?);
        }
    }
    Ok(())
}

/// Whether a 64-bit ELF file asks for no interpreter.
fn is_static(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let half = |at: usize| {
        Some(usize::from(u16::from_le_bytes(
            elf.get(at..at + 2)?.try_into().ok()?,
        )))
    };
    let word = |at: usize| Some(u32::from_le_bytes(elf.get(at..at + 4)?.try_into().ok()?));
    let interpreters = || {
        let table = word(32)? as usize; // e_phoff, of which the low half is enough
        let (size, count) = (half(54)?, half(56)?);
        let kinds = (0..count)
            .map(|index| word(table + index * size))
            .collect::<Option<Vec<_>>>()?;
        Some(kinds.into_iter().filter(|kind| *kind == PT_INTERP).count())
    };
    elf.starts_with(b"\x7fELF\x02") && interpreters() == Some(0)
}

/// Writes the `newc` format of cpio (the kernel's
/// Documentation/driver-api/early-userspace/buffer-format.rst).
#[derive(Debug, Default)]
struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
}

impl Cpio {
    fn folder(&mut self, name: &str) {
        self.entry(name, 0o040_755, &[], (0, 0));
    }

    fn file(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.entry(name, 0o100_000 | mode, data, (0, 0));
    }

    fn symlink(&mut self, name: &str, target: &str) {
        self.entry(name, 0o120_777, target.as_bytes(), (0, 0));
    }

    fn device(&mut self, name: &str, major: u32, minor: u32) {
        self.entry(name, 0o020_600, &[], (major, minor));
    }

    fn entry(&mut self, name: &str, mode: u32, data: &[u8], device: (u32, u32)) {
        self.entries += 1;
        let fields = [
            self.entries, // inode number
            mode,
            0, // owner
            0, // group
            1, // links
            0, // time
            data.len() as u32,
            0, // device that holds the file
            0,
            device.0,
            device.1,
            name.len() as u32 + 1,
            0, // checksum, not used by this format
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[], (0, 0));
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_end_with_a_trailer() {
        let mut cpio = Cpio::default();
        cpio.folder("bin");
        cpio.file("bin/x", 0o755, b"12345");
        let bytes = cpio.finish();
        assert_eq!(bytes.len() % 4, 0);
        // Header of 110 bytes, name with its NUL, padded: 116. Then the file's own.
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[116..122], b"070701");
        assert_eq!(&bytes[116 + 6 + 8..116 + 6 + 16], b"000081ed");
        assert_eq!(&bytes[116 + 116..116 + 121], b"12345");
        assert!(bytes.windows(10).any(|window| window == b"TRAILER!!!"));
    }

    #[test]
    fn a_static_program_has_no_interpreter() {
        let mut elf = vec![0; 64 + 56];
        elf[..5].copy_from_slice(b"\x7fELF\x02");
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 1;
        elf[64] = 1; // PT_LOAD
        assert!(is_static(&elf));
        elf[64] = 3; // PT_INTERP
        assert!(!is_static(&elf));
        assert!(!is_static(b"#!/bin/sh\n"));
    }
}
