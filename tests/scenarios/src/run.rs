//! Programs that are started, watched and never left behind. What a program prints is
//! read by threads, so that a full pipe stops nobody.

use std::{
    fmt, io,
    io::{BufReader, PipeReader, PipeWriter, Read},
    os::fd::AsRawFd,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::until_end::UntilEnd;

/// What was printed so far, line by line, and whether more can come.
#[derive(Debug, Default)]
struct Printed {
    stdout: Vec<String>,
    stderr: Vec<String>,
    open: u8,
}

#[derive(Debug, Default)]
struct Shared {
    printed: Mutex<Printed>,
    news: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Printed> {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running program. It is ended when it goes out of scope.
#[derive(Debug)]
pub struct Program {
    child: Child,
    shared: Arc<Shared>,
    /// What each reader looks at: at its end when the other one is gone.
    running: PipeReader,
    /// Held until the program has ended.
    not_ended: Option<PipeWriter>,
}

/// How a program ended, with all it printed.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: Vec<String>,
    pub stderr: Vec<String>,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.status)?;
        write_lines(f, &self.stdout, &self.stderr)
    }
}

impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_lines(f, &self.stdout, &self.stderr)
    }
}

fn write_lines(f: &mut fmt::Formatter<'_>, stdout: &[String], stderr: &[String]) -> fmt::Result {
    for line in stdout {
        writeln!(f, "stdout: {line}")?;
    }
    for line in stderr {
        writeln!(f, "stderr: {line}")?;
    }
    Ok(())
}

impl Program {
    /// Starts a program with no input and both outputs read.
    pub fn start(command: &mut Command) -> Result<Self> {
        Self::start_logged(command, |_| {})
    }

    /// As `start`; each line of standard error goes to `log` as it comes.
    pub fn start_logged(command: &mut Command, log: fn(&str)) -> Result<Self> {
        command.stdout(Stdio::piped());
        let mut program = Self::spawn(command, log)?;
        if let Some(stdout) = program.child.stdout.take() {
            program.read(stdout, |printed| &mut printed.stdout, |_| {})?;
        }
        Ok(program)
    }

    /// As `start`, with standard output as the command has it.
    pub fn start_with_stdout(command: &mut Command) -> Result<Self> {
        Self::spawn(command, |_| {})
    }

    fn spawn(command: &mut Command, log: fn(&str)) -> Result<Self> {
        let (running, not_ended) = io::pipe()?;
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", command.get_program().display()))?;
        let stderr = child.stderr.take();
        let program = Self {
            child,
            shared: Arc::default(),
            running,
            not_ended: Some(not_ended),
        };
        if let Some(stderr) = stderr {
            program.read(stderr, |printed| &mut printed.stderr, log)?;
        }
        Ok(program)
    }

    /// Runs a program to its end.
    pub fn run(command: &mut Command, limit: Duration) -> Result<Ended> {
        Self::start(command)?.wait(limit)
    }

    /// Standard output, where the command had a pipe for it and nobody reads it yet.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: kill(2) takes numbers only; the child is not reaped yet, so that its
        // number is its own.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    /// How many lines were printed on standard output so far.
    #[must_use]
    pub fn stdout_len(&self) -> usize {
        self.shared.lock().stdout.len()
    }

    /// The lines of standard output from a number on.
    #[must_use]
    pub fn stdout_from(&self, from: usize) -> Vec<String> {
        let printed = self.shared.lock();
        printed.stdout.get(from..).unwrap_or_default().to_vec()
    }

    /// Waits until `wanted` finds what it looks for in the lines of standard output;
    /// `None` when the time is up or no more lines will come.
    pub fn wait_for<T>(
        &self,
        limit: Duration,
        mut wanted: impl FnMut(&[String]) -> Option<T>,
    ) -> Option<T> {
        self.wait_until(limit, |printed| wanted(&printed.stdout))
    }

    /// The same for the lines of standard error.
    pub fn wait_for_stderr<T>(
        &self,
        limit: Duration,
        mut wanted: impl FnMut(&[String]) -> Option<T>,
    ) -> Option<T> {
        self.wait_until(limit, |printed| wanted(&printed.stderr))
    }

    fn wait_until<T>(
        &self,
        limit: Duration,
        mut wanted: impl FnMut(&Printed) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut printed = self.shared.lock();
        loop {
            if let Some(found) = wanted(&printed) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || printed.open == 0 {
                return None;
            }
            printed = self
                .shared
                .news
                .wait_timeout(printed, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits for the end of the program; past the limit it is killed, and an error that says
    /// how far it came.
    pub fn wait(mut self, limit: Duration) -> Result<Ended> {
        let deadline = Instant::now() + limit;
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    let printed = self.shared.lock();
                    bail!("did not end within {} s\n{printed}", limit.as_secs())
                }
                None => thread::sleep(Duration::from_millis(5)),
            }
        };
        // What it has printed is read, however long that takes. A grandchild may hold the pipes
        // open for as long as it likes.
        self.not_ended = None;
        let mut printed = self.shared.lock();
        while printed.open > 0 {
            let news = self.shared.news.wait(printed);
            printed = news.unwrap_or_else(PoisonError::into_inner);
        }
        Ok(Ended {
            status,
            stdout: std::mem::take(&mut printed.stdout),
            stderr: std::mem::take(&mut printed.stderr),
        })
    }

    fn read(
        &self,
        stream: impl Read + AsRawFd + Send + 'static,
        lines: fn(&mut Printed) -> &mut Vec<String>,
        log: fn(&str),
    ) -> Result<()> {
        let stream = UntilEnd::new(stream, self.running.try_clone()?);
        self.shared.lock().open += 1;
        let shared = Arc::clone(&self.shared);
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            while let Ok(Some(line)) = next_line(&mut stream) {
                log(&line);
                lines(&mut shared.lock()).push(line);
                shared.news.notify_all();
            }
            shared.lock().open -= 1;
            shared.news.notify_all();
        });
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A line without its end; what is not UTF-8 is replaced, so that a test sees it.
fn next_line(stream: &mut impl io::BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if stream.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn both_outputs_are_kept() -> Result<()> {
        let ended = Program::run(&mut sh("echo a; echo b >&2; printf c; exit 3"), LIMIT)?;
        assert_eq!(ended.status.code(), Some(3));
        assert_eq!(ended.stdout, ["a", "c"]);
        assert_eq!(ended.stderr, ["b"]);
        Ok(())
    }

    #[test]
    fn waits_for_a_line_and_no_longer() -> Result<()> {
        let program = Program::start(&mut sh("echo x; exec sleep 20"))?;
        let found = program.wait_for(LIMIT, |lines| lines.first().cloned());
        assert_eq!(found.as_deref(), Some("x"));
        assert_eq!(program.stdout_from(1), Vec::<String>::new());
        program.signal(libc::SIGTERM);
        assert_eq!(program.wait(LIMIT)?.status.code(), None);
        Ok(())
    }

    #[test]
    fn a_program_that_hangs_is_an_error_with_what_it_printed() -> Result<()> {
        let program = Program::start(&mut sh("echo x; exec sleep 20"))?;
        let printed = program.wait_for(LIMIT, |lines| lines.first().cloned());
        assert_eq!(printed.as_deref(), Some("x"));
        let ended = program.wait(Duration::from_millis(50));
        let error = ended.map_err(|error| error.to_string());
        assert!(matches!(error, Err(error) if error == "did not end within 0 s\nstdout: x\n"));
        Ok(())
    }

    #[test]
    fn all_is_read_of_a_program_whose_children_hold_its_pipes() -> Result<()> {
        let start = Instant::now();
        let ended = Program::run(&mut sh("sleep 60 & seq 9999; printf end"), LIMIT)?;
        assert_eq!(ended.stdout.len(), 10_000);
        assert_eq!(ended.stdout.last().map(String::as_str), Some("end"));
        assert!(start.elapsed() < Duration::from_secs(60));
        Ok(())
    }

    #[test]
    fn a_child_that_prints_on_and_on_holds_nobody_up() -> Result<()> {
        let ended = Program::run(&mut sh("yes & echo x >&2"), LIMIT)?;
        assert_eq!(ended.stderr, ["x"]);
        Ok(())
    }

    #[test]
    fn nothing_more_to_come_ends_the_wait() -> Result<()> {
        let program = Program::start(&mut sh("exit 0"))?;
        assert_eq!(program.wait_for::<()>(LIMIT, |_| None), None);
        Ok(())
    }
}
