//! What a program prints, up to what its pipe holds when it has ended. Others that hold the pipe,
//! too, may go on for as long as they like.

use std::{
    io::{self, PipeReader, Read},
    os::fd::{AsRawFd, RawFd},
};

/// A pipe that is read until nobody can write to it, or until the program has ended and what was
/// in the pipe by then is read.
#[derive(Debug)]
pub(crate) struct UntilEnd<S> {
    stream: S,
    /// Nobody can write to this one once the program has ended.
    running: PipeReader,
    /// What there is to read of a program that has ended.
    left: Option<usize>,
}

impl<S: Read + AsRawFd> UntilEnd<S> {
    pub(crate) fn new(stream: S, running: PipeReader) -> Self {
        Self {
            stream,
            running,
            left: None,
        }
    }

    /// Waits until there is something to read, or an end.
    fn wait(&mut self) -> io::Result<()> {
        let [_, ended] = poll([self.stream.as_raw_fd(), self.running.as_raw_fd()])?;
        if ended {
            self.left = Some(in_pipe(self.stream.as_raw_fd())?);
        }
        Ok(())
    }
}

impl<S: Read + AsRawFd> Read for UntilEnd<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.is_none() {
            self.wait()?;
        }
        let Some(left) = &mut self.left else {
            return self.stream.read(buffer);
        };
        let most = buffer.len().min(*left);
        let read = match buffer.get_mut(..most) {
            Some(buffer) if most > 0 => self.stream.read(buffer)?,
            _ => 0,
        };
        *left -= read;
        Ok(read)
    }
}

/// Which of them can be read from, or are at their end, once there is one.
fn poll<const N: usize>(files: [RawFd; N]) -> io::Result<[bool; N]> {
    let mut files = files.map(|fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    });
    loop {
        // SAFETY: the pointer is to that many `pollfd`, and they outlive the call.
        let found = unsafe { libc::poll(files.as_mut_ptr(), N as libc::nfds_t, -1) };
        if found > 0 {
            return Ok(files.map(|file| file.revents != 0));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// How many bytes wait in a pipe.
fn in_pipe(fd: RawFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD writes an int, and there is room for it.
    if unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut bytes) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(bytes).unwrap_or_default())
}
