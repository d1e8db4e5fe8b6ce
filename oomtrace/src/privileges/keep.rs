//! Letting go of privileges, in the calling thread: capset(2) and prctl(2) themselves. For this
//! much a crate would be longer, and one that knows capabilities by name leaves those that a
//! newer kernel has.

use std::io;

use thiserror::Error;

use super::set::CapSet;

/// `_LINUX_CAPABILITY_VERSION_3` of include/uapi/linux/capability.h: two times 32 bits.
const VERSION_3: u32 = 0x2008_0522;
/// No kernel has more.
const MOST: libc::c_ulong = 64;

/// `struct __user_cap_header_struct` of the same file.
#[repr(C)]
struct Header {
    version: u32,
    /// 0: the calling thread.
    pid: libc::c_int,
}

/// `struct __user_cap_data_struct` of the same file.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// What a thread could not let go of.
#[derive(Debug, Error)]
pub enum KeepError {
    #[error("its capabilities cannot be read: {0}")]
    Read(io::Error),
    #[error("its capabilities stay as they are: {0}")]
    Capabilities(io::Error),
    #[error("it may still gain privileges by a program that it starts: {0}")]
    NoNewPrivileges(io::Error),
    #[error("its bounding set stays as it is: {0}")]
    Bounding(io::Error),
}

/// The capabilities of the calling thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub permitted: CapSet,
    pub effective: CapSet,
}

impl Held {
    pub fn here() -> io::Result<Self> {
        let mut header = header();
        let mut data = [Data::default(); 2];
        // SAFETY: version 3 fills two of them.
        let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        let [low, high] = data;
        let whole = |low: u32, high: u32| CapSet::from_bits(u64::from(high) << 32 | u64::from(low));
        Ok(Self {
            permitted: whole(low.permitted, high.permitted),
            effective: whole(low.effective, high.effective),
        })
    }

    /// Gives up what the calling thread holds beside these; nothing is inheritable any more.
    pub(super) fn set_here(self) -> io::Result<()> {
        let mut header = header();
        let half = |by: u32| Data {
            effective: (self.effective.bits() >> by) as u32,
            permitted: (self.permitted.bits() >> by) as u32,
            inheritable: 0,
        };
        let data = [half(0), half(32)];
        // SAFETY: version 3 reads two of them.
        match unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

fn header() -> Header {
    Header {
        version: VERSION_3,
        pid: 0,
    }
}

/// What a thread is to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// `None`: it stays as it is.
    capabilities: Option<CapSet>,
    /// Whether it may give up its bounding set.
    bounding: bool,
}

impl Keep {
    /// All that it has: the thread stays as it is.
    #[must_use]
    pub const fn all() -> Self {
        Self {
            capabilities: None,
            bounding: false,
        }
    }

    /// These, of those that it has. `bounding`: it gives up its bounding set, too, which needs
    /// `CAP_SETPCAP`.
    #[must_use]
    pub const fn only(capabilities: CapSet, bounding: bool) -> Self {
        Self {
            capabilities: Some(capabilities),
            bounding,
        }
    }

    /// Has the calling thread keep this, and warns of what it could not let go of.
    pub fn here(self) {
        for error in self.try_here() {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("?");
            log::warn!("the thread {name} keeps privileges that it does not need: {error}");
        }
    }

    /// The same, with what could not be done. The rest is.
    pub fn try_here(self) -> Vec<KeepError> {
        let Some(capabilities) = self.capabilities else {
            return Vec::new();
        };
        let mut errors = Vec::new();
        let mut check = |result: Result<(), KeepError>| errors.extend(result.err());
        check(prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map_err(KeepError::NoNewPrivileges));
        // It goes first: it needs a capability that goes next. Ambient ones go with what is
        // permitted or inheritable.
        if self.bounding {
            check(drop_bounding().map_err(KeepError::Bounding));
        }
        check(match Held::here() {
            Ok(held) => Held {
                permitted: held.permitted.and(capabilities),
                effective: held.effective.and(capabilities),
            }
            .set_here()
            .map_err(KeepError::Capabilities),
            Err(error) => Err(KeepError::Read(error)),
        });
        errors
    }
}

fn drop_bounding() -> io::Result<()> {
    for capability in 0..MOST {
        match prctl_value(libc::PR_CAPBSET_READ, capability, 0) {
            0 => {}
            1 => prctl(libc::PR_CAPBSET_DROP, capability, 0)?,
            // Beyond the last one that this kernel has.
            _ => break,
        }
    }
    Ok(())
}

fn prctl(option: libc::c_int, second: libc::c_ulong, third: libc::c_ulong) -> io::Result<()> {
    match prctl_value(option, second, third) {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn prctl_value(option: libc::c_int, second: libc::c_ulong, third: libc::c_ulong) -> libc::c_int {
    const UNUSED: libc::c_ulong = 0;
    // SAFETY: the options that are used here take numbers only.
    unsafe { libc::prctl(option, second, third, UNUSED, UNUSED) }
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;
    use crate::probe::support::Capability;

    fn status(name: &str) -> String {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().to_owned()
    }

    /// Privileges are a thread's own: those of other tests stay.
    fn in_a_thread(test: impl FnOnce() + Send) {
        thread::scope(|scope| scope.spawn(test).join().unwrap());
    }

    #[test]
    fn what_is_held_is_what_the_kernel_says() {
        let held = Held::here().unwrap();
        let bits = |name| u64::from_str_radix(&status(name), 16).unwrap();
        assert_eq!(held.permitted.bits(), bits("CapPrm:"));
        assert_eq!(held.effective.bits(), bits("CapEff:"));
    }

    #[test]
    fn a_thread_keeps_what_it_is_told_to_and_others_stay() {
        let before = Held::here().unwrap();
        in_a_thread(|| {
            let wanted = [Capability::SysPtrace, Capability::Bpf]
                .into_iter()
                .collect();
            let has = before.effective.has(Capability::SetPcap);
            assert!(Keep::only(wanted, has).try_here().is_empty());
            let kept = Held::here().unwrap();
            assert_eq!(kept.permitted, before.permitted.and(wanted));
            assert_eq!(kept.effective, before.effective.and(wanted));
            assert_eq!(status("NoNewPrivs:"), "1");
            for name in ["CapInh:", "CapAmb:"] {
                assert_eq!(status(name), "0000000000000000", "{name}");
            }
            if has {
                assert_eq!(status("CapBnd:"), "0000000000000000");
            }
        });
        assert_eq!(Held::here().unwrap(), before);
    }

    #[test]
    fn what_cannot_be_done_is_said_and_the_rest_is_done() {
        in_a_thread(|| {
            assert!(Keep::only(CapSet::EMPTY, false).try_here().is_empty());
            let bound = status("CapBnd:") != "0000000000000000";
            let errors = Keep::only(CapSet::EMPTY, true).try_here();
            assert_eq!(errors.len(), usize::from(bound), "{errors:?}");
            if bound {
                assert!(matches!(errors[0], KeepError::Bounding(_)), "{errors:?}");
            }
        });
    }

    #[test]
    fn one_that_keeps_all_stays_as_it_is() {
        in_a_thread(|| {
            let before = (Held::here().unwrap(), status("NoNewPrivs:"));
            Keep::all().here();
            assert_eq!((Held::here().unwrap(), status("NoNewPrivs:")), before);
        });
    }
}
