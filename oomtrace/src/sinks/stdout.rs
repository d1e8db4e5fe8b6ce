//! Standard output. What belongs together goes out at once, an error says whose it is, and where
//! others keep the deaths, one that cannot be written stops nobody: what is lost is counted.

use std::{
    fmt,
    io::{self, ErrorKind, Write},
};

/// Standard output could not be written. The kind is that of the error that came.
#[must_use]
pub fn cannot_write(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), CannotWrite(error.to_string()))
}

#[derive(Debug)]
struct CannotWrite(String);

impl fmt::Display for CannotWrite {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            to,
            "standard output cannot be written: {}\ndo: make room where it leads to (df tells), or send it elsewhere",
            self.0
        )
    }
}

impl std::error::Error for CannotWrite {}

/// Tells the user something.
pub type Tell = Box<dyn FnMut(&str) + Send>;

/// What an error means.
pub enum Policy {
    /// It is the end.
    End,
    /// It is told, and what comes is tried anew: others keep the deaths. A reader that is gone is
    /// the end here, too.
    GoOn(Tell),
}

/// Writes out at each flush what has come since the last.
pub struct Lines<W: Write> {
    to: W,
    policy: Policy,
    waiting: Vec<u8>,
    /// The last line that is out lacks its end.
    is_torn: bool,
    /// So many lines are lost since it was written last; 0: nothing is wrong.
    lost: u64,
    lost_before: u64,
}

impl<W: Write> Lines<W> {
    pub fn new(to: W, policy: Policy) -> Self {
        Self {
            to,
            policy,
            waiting: Vec::new(),
            is_torn: false,
            lost: 0,
            lost_before: 0,
        }
    }

    /// Writes all that waits, and returns how much of it is out.
    fn put(&mut self) -> (usize, io::Result<()>) {
        if self.is_torn {
            if let Err(error) = self.to.write_all(b"\n") {
                return (0, Err(error));
            }
            self.is_torn = false;
        }
        let mut done = 0;
        while let Some(rest) = self.waiting.get(done..).filter(|rest| !rest.is_empty()) {
            match self.to.write(rest) {
                Ok(0) => return (done, Err(ErrorKind::WriteZero.into())),
                Ok(more) => done += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Closed by whoever has started this: nobody wants it, as the standard library
                // has it.
                Err(error) if error.raw_os_error() == Some(libc::EBADF) => break,
                Err(error) => return (done, Err(error)),
            }
        }
        (done, self.to.flush())
    }

    fn failed(&mut self, done: usize, error: &io::Error) -> io::Result<()> {
        let (out, lost) = self.waiting.split_at(done.min(self.waiting.len()));
        if let Some(last) = out.last() {
            self.is_torn = *last != b'\n';
        }
        let lost = lost.split(|byte| *byte == b'\n').count().saturating_sub(1) as u64;
        let error = cannot_write(error);
        match &mut self.policy {
            Policy::GoOn(tell) if error.kind() != ErrorKind::BrokenPipe => {
                if self.lost == 0 {
                    tell(&format!(
                        "{error}\nmeanwhile: tracing goes on, and deaths are stored; lines that cannot be printed are counted"
                    ));
                }
                self.lost += lost.max(1);
                Ok(())
            }
            _ => Err(error),
        }
    }

    fn succeeded(&mut self) {
        if let Policy::GoOn(tell) = &mut self.policy
            && self.lost > 0
        {
            tell(&format!(
                "standard output is written again; {} could not be printed meanwhile ({LOOK})",
                lines(self.lost)
            ));
            self.lost_before += self.lost;
            self.lost = 0;
        }
    }
}

const LOOK: &str = "oomtrace list --all has the deaths among them";

fn lines(count: u64) -> String {
    match count {
        1 => "1 line".to_owned(),
        _ => format!("{count} lines"),
    }
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let done = match self.put() {
            (_, Ok(())) => {
                self.succeeded();
                Ok(())
            }
            (done, Err(error)) => self.failed(done, &error),
        };
        self.waiting.clear();
        done
    }
}

impl<W: Write> Drop for Lines<W> {
    fn drop(&mut self) {
        let lost = self.lost_before + self.lost;
        if let Policy::GoOn(tell) = &mut self.policy
            && lost > 0
        {
            tell(&format!(
                "{} could not be printed to standard output in all ({LOOK})",
                lines(lost)
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A disk with room for so much.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Disk {
        fn room(&self, bytes: usize) {
            self.0.lock().unwrap().1 = bytes;
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap()
        }
    }

    impl Write for Disk {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().unwrap();
            let fits = buffer.len().min(disk.1);
            if fits == 0 {
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
            disk.1 -= fits;
            disk.0.extend_from_slice(&buffer[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn going_on<W: Write>(to: W) -> (Lines<W>, Arc<Mutex<Vec<String>>>) {
        let said = Arc::new(Mutex::new(Vec::new()));
        let its = Arc::clone(&said);
        let tell: Tell = Box::new(move |text| its.lock().unwrap().push(text.to_owned()));
        (Lines::new(to, Policy::GoOn(tell)), said)
    }

    fn line<W: Write>(to: &mut Lines<W>, text: &str) -> io::Result<()> {
        to.write_all(text.as_bytes())?;
        to.write_all(b"\n")?;
        to.flush()
    }

    #[test]
    fn a_full_disk_costs_lines_that_are_counted_and_no_other() {
        let disk = Disk::default();
        let (mut out, said) = going_on(disk.clone());
        disk.room(8);
        for text in ["one", "twotwo", "three", "four"] {
            line(&mut out, text).unwrap();
        }
        assert_eq!(disk.text(), "one\ntwot");
        let told = said.lock().unwrap().clone();
        assert_eq!(told.len(), 1, "{told:#?}");
        for part in [
            "standard output",
            "No space left",
            "\ndo: ",
            "tracing goes on",
        ] {
            assert!(told[0].contains(part), "{}", told[0]);
        }

        disk.room(100);
        // Time alone is no sign that it goes again.
        out.flush().unwrap();
        assert_eq!(said.lock().unwrap().len(), 1);
        line(&mut out, "five").unwrap();
        assert_eq!(
            disk.text(),
            "one\ntwot\nfive\n",
            "not glued to what is torn"
        );
        let told = said.lock().unwrap().clone();
        assert_eq!(told.len(), 2, "{told:#?}");
        assert!(told[1].contains("again; 3 lines could not"), "{}", told[1]);

        disk.room(0);
        line(&mut out, "six").unwrap();
        assert_eq!(said.lock().unwrap().len(), 3, "another time is told, too");
        drop(out);
        let last = said.lock().unwrap().pop().unwrap();
        assert!(last.contains("4 lines could not be printed"), "{last}");
    }

    #[test]
    fn what_is_well_has_nothing_to_say() {
        let disk = Disk::default();
        let (mut out, said) = going_on(disk.clone());
        disk.room(100);
        line(&mut out, "one").unwrap();
        drop(out);
        assert!(said.lock().unwrap().is_empty());
        assert_eq!(disk.text(), "one\n");
    }

    #[test]
    fn a_reader_that_is_gone_is_the_end_and_no_trouble() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (mut out, said) = going_on(Gone);
        let error = line(&mut out, "one").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        drop(out);
        assert!(said.lock().unwrap().is_empty());
    }

    #[test]
    fn where_nobody_else_keeps_them_it_is_the_end_and_says_whose() {
        let mut out = Lines::new(Disk::default(), Policy::End);
        let error = line(&mut out, "one").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        let text = error.to_string();
        assert!(
            text.starts_with("standard output cannot be written: No space left")
                && text.contains("\ndo: "),
            "{text}"
        );
    }
}
