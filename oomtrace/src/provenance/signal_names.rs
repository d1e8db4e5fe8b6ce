//! Names of signals.

/// The name of a signal: `SIGTERM`, `SIGRTMIN+3`, or its number.
#[must_use]
pub(super) fn name(signal: u32) -> String {
    const NAMES: [&str; 31] = [
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    // The C library keeps the first two real-time signals for itself: SIGRTMIN is 34.
    match signal {
        34 => "SIGRTMIN".to_owned(),
        35..=64 => format!("SIGRTMIN+{}", signal - 34),
        _ => (signal as usize)
            .checked_sub(1)
            .and_then(|index| NAMES.get(index))
            .map_or_else(|| format!("signal {signal}"), |name| (*name).to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn names_are_those_of_kill_l() {
        assert_eq!(name(15), "SIGTERM");
        assert_eq!(name(9), "SIGKILL");
        assert_eq!(name(31), "SIGSYS");
        assert_eq!(name(37), "SIGRTMIN+3");
        assert_eq!(name(0), "signal 0");
        assert_eq!(name(77), "signal 77");
    }
}
