//! Folders of our own at the usual places, for daemons that are started here: what they keep
//! under `/run` and `/var/lib` is seen by nobody else, and gone when they are.

use std::{
    ffi::CString,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _, process::CommandExt as _},
    path::Path,
    process::Command,
    ptr,
};

use anyhow::{Context as _, Result};

use crate::tools;

/// What the daemons keep on disk.
const KEPT: &[&str] = &[
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
];

/// Gives this process, which must have one thread yet, mounts of its own, with an empty `/run`.
pub(crate) fn enter(folder: &Path) -> Result<()> {
    // SAFETY: unshare(2) takes flags only.
    let done = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    if done != 0 {
        return Err(io::Error::last_os_error()).context("mounts of our own");
    }
    mount(None, Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE)?;
    mount(
        Some(Path::new("tmpfs")),
        Path::new("/run"),
        Some("tmpfs"),
        0,
    )?;
    for path in KEPT {
        let own = folder.join(path.trim_start_matches('/').replace('/', "-"));
        fs::create_dir_all(&own)?;
        fs::create_dir_all(path)?;
        mount(Some(&own), Path::new(path), None, libc::MS_BIND)?;
    }
    Ok(())
}

/// Becomes a command, in a cgroup namespace of its own.
pub(crate) fn in_cgroup_namespace(command: &[String]) -> io::Error {
    // SAFETY: unshare(2) takes flags only.
    if unsafe { libc::unshare(libc::CLONE_NEWCGROUP) } != 0 {
        return io::Error::last_os_error();
    }
    match command.split_first() {
        Some((program, args)) => Command::new(program).args(args).exec(),
        None => io::ErrorKind::InvalidInput.into(),
    }
}

fn mount(
    source: Option<&Path>,
    target: &Path,
    kind: Option<&str>,
    flags: libc::c_ulong,
) -> Result<()> {
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes());
    let source = source.map(text).transpose()?;
    let kind = kind.map(CString::new).transpose()?;
    let target_text = text(target)?;
    let pointer = |text: &Option<CString>| text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
    // SAFETY: all three are NUL-terminated strings that outlive the call, or null.
    let done = unsafe {
        libc::mount(
            pointer(&source),
            target_text.as_ptr(),
            pointer(&kind),
            flags,
            ptr::null(),
        )
    };
    if done != 0 {
        let error = io::Error::last_os_error();
        return Err(error).with_context(|| format!("mount {}", target.display()));
    }
    Ok(())
}

/// Ends what still lives with our mounts, but for this process itself.
pub(crate) fn end_all() {
    let mounts_of = |pid: i32| fs::metadata(format!("/proc/{pid}/ns/mnt")).map(|file| file.ino());
    let me = std::process::id() as i32;
    let Ok(ours) = mounts_of(me) else {
        return;
    };
    for process in tools::processes() {
        if process.pid != me && mounts_of(process.pid).is_ok_and(|theirs| theirs == ours) {
            // SAFETY: kill(2) takes numbers only.
            unsafe { libc::kill(process.pid, libc::SIGKILL) };
        }
    }
}
