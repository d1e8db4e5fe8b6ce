//! What a service manager is told: sd_notify(3) and its watchdog. It is one datagram with a few
//! words, which takes no crate.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::{Duration, Instant},
};

use crate::vitals::Vitals;

/// How often the status is told anew, unless the watchdog is to be told more often.
const STATUS: Duration = Duration::from_secs(30);

/// See the module. Without a service manager it tells nobody.
#[derive(Debug, Default)]
pub(super) struct Manager {
    socket: Option<UnixDatagram>,
    /// Twice within the time after which the manager takes us for dead.
    watchdog: Option<Duration>,
    told: Option<Instant>,
}

impl Manager {
    /// The one that has started this process, if there is one that wants to be told.
    pub(super) fn of_environment() -> Self {
        let Some(path) = env::var_os("NOTIFY_SOCKET") else {
            return Self::default();
        };
        let text = |name: &str| env::var(name).ok();
        let watchdog = watchdog(
            text("WATCHDOG_USEC").as_deref(),
            text("WATCHDOG_PID").as_deref(),
            std::process::id(),
        );
        Self::at(&path, watchdog).unwrap_or_else(|error| {
            log::warn!(
                "the service manager cannot be told anything at {}: {error}",
                path.display()
            );
            Self::default()
        })
    }

    fn at(path: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match path.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(path)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // A manager that does not read must not keep us from tracing.
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: Some(socket),
            watchdog,
            told: None,
        })
    }

    /// Every hook is attached.
    pub(super) fn ready(&mut self, vitals: &Vitals) {
        self.tell(&format!("READY=1\n{}", status(vitals)));
        self.told = Some(Instant::now());
    }

    /// To be called often: tells that we are alive for as long as tracing goes on, and no
    /// longer, so that one that hangs is started anew.
    pub(super) fn turn(&mut self, vitals: &Vitals) {
        if self.socket.is_none() {
            return;
        }
        let pause = self.watchdog.unwrap_or(STATUS).min(STATUS);
        if self.told.is_some_and(|told| told.elapsed() < pause) {
            return;
        }
        self.told = Some(Instant::now());
        let alive = if self.watchdog.is_some() && vitals.check().is_ok() {
            "WATCHDOG=1\n"
        } else {
            ""
        };
        self.tell(&format!("{alive}{}", status(vitals)));
    }

    /// Nothing new is taken.
    pub(super) fn stopping(&mut self) {
        self.tell("STOPPING=1\nSTATUS=Writing what was seen");
    }

    fn tell(&self, words: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(words.as_bytes())
        {
            log::debug!("the service manager was not told: {error}");
        }
    }
}

fn status(vitals: &Vitals) -> String {
    match vitals.check() {
        Ok(()) => {
            let events: u64 = vitals.events().map(|(_, taken)| taken).sum();
            let dying = vitals.dying();
            format!("STATUS=Tracing: {events} events so far, {dying} processes dying")
        }
        Err(trouble) => format!("STATUS=Not tracing: {trouble}"),
    }
}

/// How often the watchdog wants to hear, if it is this process that it waits for.
fn watchdog(usec: Option<&str>, of: Option<&str>, pid: u32) -> Option<Duration> {
    if of.is_some_and(|of| of.parse() != Ok(pid)) {
        return None;
    }
    let limit = Duration::from_micros(usec?.parse().ok().filter(|usec| *usec > 0)?);
    Some(limit / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::entry::{Entry, Tick};

    fn heard(by: &UnixDatagram) -> Option<String> {
        let mut words = [0; 512];
        let len = by.recv(&mut words).ok()?;
        Some(String::from_utf8_lossy(&words[..len]).into_owned())
    }

    fn well() -> Vitals {
        let vitals = Vitals::default();
        vitals.attached();
        vitals.took(&Entry::Tick(Tick::default()), 3);
        vitals
    }

    fn abstract_name(what: &str) -> String {
        format!("oomtrace-notify-{what}-{}", std::process::id())
    }

    fn listen(name: &str) -> UnixDatagram {
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        manager.set_nonblocking(true).unwrap();
        manager
    }

    #[test]
    fn a_manager_is_told_from_the_start_to_the_end() {
        let name = abstract_name("life");
        let manager = listen(&name);
        let mut us = Manager::at(OsStr::new(&format!("@{name}")), None).unwrap();
        us.ready(&well());
        assert_eq!(
            heard(&manager).unwrap(),
            "READY=1\nSTATUS=Tracing: 0 events so far, 3 processes dying"
        );
        us.turn(&well());
        assert_eq!(heard(&manager), None, "it was told a moment ago");
        us.stopping();
        assert!(heard(&manager).unwrap().starts_with("STOPPING=1\n"));
    }

    #[test]
    fn the_watchdog_hears_nothing_of_a_tracer_that_hangs() {
        let name = abstract_name("watchdog");
        let manager = listen(&name);
        let path = format!("@{name}");
        let mut us = Manager::at(OsStr::new(&path), Some(Duration::ZERO)).unwrap();
        us.turn(&well());
        assert!(heard(&manager).unwrap().starts_with("WATCHDOG=1\n"));
        us.turn(&Vitals::default());
        let words = heard(&manager).unwrap();
        assert!(words.starts_with("STATUS=Not tracing"), "{words}");
        // And without one it is not mentioned.
        us.watchdog = None;
        us.told = None;
        us.turn(&well());
        assert!(heard(&manager).unwrap().starts_with("STATUS=Tracing"));
    }

    #[test]
    fn a_manager_that_does_not_read_keeps_nobody_waiting() {
        let name = abstract_name("deaf");
        let _manager = listen(&name);
        let path = format!("@{name}");
        let mut us = Manager::at(OsStr::new(&path), Some(Duration::ZERO)).unwrap();
        let vitals = well();
        for _ in 0..10_000 {
            us.turn(&vitals);
        }
    }

    #[test]
    fn a_socket_may_have_a_path_and_one_that_is_gone_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        assert!(Manager::at(path.as_os_str(), None).is_err());
        let manager = UnixDatagram::bind(&path).unwrap();
        let mut us = Manager::at(path.as_os_str(), None).unwrap();
        us.ready(&well());
        assert!(heard(&manager).unwrap().starts_with("READY=1\n"));
    }

    #[test]
    fn the_watchdog_is_for_the_process_that_it_names() {
        let half = Some(Duration::from_secs(30));
        assert_eq!(watchdog(Some("60000000"), Some("7"), 7), half);
        assert_eq!(watchdog(Some("60000000"), None, 7), half);
        assert_eq!(watchdog(Some("60000000"), Some("8"), 7), None);
        for nothing in [None, Some("0"), Some("soon")] {
            assert_eq!(watchdog(nothing, None, 7), None);
        }
    }
}
