//! Signals as they come to `exec`, with who sent them: one that the terminal sent has
//! reached the command already.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

/// What is left alone: what cannot be caught, faults of this very process, and job
/// control, which the terminal does to the command as well.
const LEFT: &[libc::c_int] = &[
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGSYS,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGPIPE,
];

/// A signal that came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    pub(super) signal: libc::c_int,
    /// Not from a process: the terminal, say.
    pub(super) from_kernel: bool,
    pub(super) sender: libc::pid_t,
}

impl Received {
    /// Its number, if it asks to end.
    pub(super) fn ends(self) -> Option<libc::c_int> {
        let ends = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
        ends.contains(&self.signal).then_some(self.signal)
    }
}

/// A descriptor that signals are read from.
#[derive(Debug)]
pub(super) struct Signals {
    from: OwnedFd,
    before: libc::sigset_t,
}

impl Signals {
    /// Blocks the signals and opens the descriptor.
    pub(super) fn block() -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
        let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: `set` is initialised by sigfillset before it is used.
        let fd = unsafe {
            libc::sigfillset(set.as_mut_ptr());
            for signal in LEFT {
                libc::sigdelset(set.as_mut_ptr(), *signal);
            }
            // Ignored, as it may have been inherited, it would not come at all.
            libc::signal(libc::SIGCHLD, libc::SIG_DFL);
            let error = libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), before.as_mut_ptr());
            if error != 0 {
                return Err(io::Error::from_raw_os_error(error));
            }
            libc::signalfd(-1, set.as_ptr(), libc::SFD_NONBLOCK | libc::SFD_CLOEXEC)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just opened, and is nobody else's; `before` was filled
        // in by pthread_sigmask.
        Ok(unsafe {
            Self {
                from: OwnedFd::from_raw_fd(fd),
                before: before.assume_init(),
            }
        })
    }

    /// What was blocked before: a child inherits the mask, and a shell that cannot see the
    /// end of its children waits for ever.
    pub(super) fn mask_before(&self) -> libc::sigset_t {
        self.before
    }

    /// All that have come.
    pub(super) fn read(&self) -> Vec<Received> {
        let mut received = Vec::new();
        loop {
            let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
            let size = size_of::<libc::signalfd_siginfo>();
            // SAFETY: the buffer has the size that is said.
            let got = unsafe { libc::read(self.from.as_raw_fd(), info.as_mut_ptr().cast(), size) };
            if usize::try_from(got) != Ok(size) {
                return received;
            }
            // SAFETY: read in full; plain numbers.
            let info = unsafe { info.assume_init() };
            received.push(Received {
                signal: info.ssi_signo as libc::c_int,
                from_kernel: info.ssi_code > 0,
                sender: info.ssi_pid as libc::pid_t,
            });
        }
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.from.as_raw_fd()
    }
}
