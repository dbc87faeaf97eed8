//! Holding a daemon up in the middle of its start, without a seam in it and without a clock.
//!
//! A write lease on a file makes the kernel block whoever opens that file until the lease is given
//! back (`fcntl(2)`, `F_SETLEASE`; at most `/proc/sys/fs/lease-break-time`, 45 s). With a lease on
//! a segment the shard that owns it replays for as long as the test wants, while others go on.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// As `<asm-generic/fcntl.h>` has it; the crate does not.
const F_SETSIG: i32 = 10;

/// A lease on a file; given back when dropped.
#[derive(Debug)]
pub struct Hold {
    file: File,
}

impl Hold {
    /// `None`, with a line that names the test, where the file system knows no leases.
    pub fn new(path: &Path, test: &str) -> Option<Self> {
        let hold = Self { file: File::open(path).unwrap() };
        // That somebody waits is told by a signal. The usual one would end this process, this one
        // is ignored.
        assert_eq!(hold.control(F_SETSIG, libc::SIGURG), 0);
        let mut refused = None;
        // The ring of a process that has ended keeps its files open for a moment.
        super::eventually("nobody else has the file open", || {
            let is_given = hold.control(libc::F_SETLEASE, libc::F_WRLCK) == 0;
            refused = (!is_given).then(io::Error::last_os_error);
            refused.as_ref().is_none_or(|error| error.kind() != io::ErrorKind::WouldBlock)
        });
        if let Some(error) = refused {
            eprintln!("{test} is skipped: no lease on {}: {error}", path.display());
            return None;
        }
        Some(hold)
    }

    /// Waits until somebody wants to open the file: then the kernel asks for the lease back.
    pub fn wait_for_visitor(&self) {
        let lease = || self.control(libc::F_GETLEASE, 0);
        super::eventually("the file is wanted", || lease() != libc::F_WRLCK);
    }

    fn control(&self, what: i32, value: i32) -> i32 {
        // SAFETY: the calls made here take an open descriptor and a number, and touch no memory.
        unsafe { libc::fcntl(self.file.as_raw_fd(), what, value) }
    }

    pub fn release(self) {}
}
