//! Who called sudo: `exec` runs its command as that user.

use std::{
    ffi::{CStr, CString},
    mem::MaybeUninit,
};

/// The user behind sudo.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) uid: libc::uid_t,
    pub(super) gid: libc::gid_t,
    pub(super) groups: Vec<libc::gid_t>,
    /// Name, home and shell, where the user is in the password file.
    pub(super) account: Option<Account>,
}

/// A row of the password file.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) home: String,
    pub(super) shell: String,
}

impl Caller {
    /// From what sudo leaves in the environment; `None` if it was not called, or by root.
    pub(super) fn from_sudo() -> Option<Self> {
        let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
        // SAFETY: no arguments, no failure.
        let is_root = unsafe { libc::geteuid() } == 0;
        let uid = number("SUDO_UID").filter(|uid| is_root && *uid != 0)?;
        let gid = number("SUDO_GID").unwrap_or(uid);
        let account = account(uid);
        let groups = account
            .as_ref()
            .and_then(|account| groups(&account.name, gid))
            .unwrap_or_else(|| vec![gid]);
        Some(Self {
            uid,
            gid,
            groups,
            account,
        })
    }
}

fn account(uid: libc::uid_t) -> Option<Account> {
    let mut row = MaybeUninit::<libc::passwd>::zeroed();
    let mut buffer = vec![0; 16 * 1024];
    let mut found = std::ptr::null_mut();
    // SAFETY: every pointer is to memory of the size that is said with it.
    let status = unsafe {
        libc::getpwuid_r(
            uid,
            row.as_mut_ptr(),
            buffer.as_mut_ptr(),
            buffer.len(),
            &raw mut found,
        )
    };
    if status != 0 || found.is_null() {
        return None;
    }
    // SAFETY: getpwuid_r succeeded and filled it in; its strings lie in `buffer`.
    let row = unsafe { row.assume_init() };
    let text = |field: *const libc::c_char| {
        if field.is_null() {
            return String::new();
        }
        // SAFETY: a NUL-terminated string in `buffer`, see above.
        unsafe { CStr::from_ptr(field) }
            .to_string_lossy()
            .into_owned()
    };
    Some(Account {
        name: text(row.pw_name),
        home: text(row.pw_dir),
        shell: text(row.pw_shell),
    })
}

fn groups(name: &str, gid: libc::gid_t) -> Option<Vec<libc::gid_t>> {
    let name = CString::new(name).ok()?;
    let mut groups = vec![0; 1024];
    let mut count = 1024;
    // SAFETY: `count` says how many entries `groups` has.
    let status =
        unsafe { libc::getgrouplist(name.as_ptr(), gid, groups.as_mut_ptr(), &raw mut count) };
    if status < 0 {
        return None;
    }
    groups.truncate(usize::try_from(count).ok()?);
    Some(groups)
}
