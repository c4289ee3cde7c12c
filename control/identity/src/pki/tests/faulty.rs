//! A disk that fails at a chosen step.

use crate::pki::disk::{Disk, Os};
use std::cell::Cell;
use std::io;
use std::path::Path;
use std::rc::Rc;

/// What follows the failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pki) enum After {
    /// Everything works again: a full disk that has room for small things.
    Recovery,
    /// Nothing works any more: the power is gone.
    Nothing,
}

/// Fails at step `at`, counted from 0.
#[derive(Debug)]
pub(in crate::pki) struct Faulty {
    pub(in crate::pki) at: usize,
    pub(in crate::pki) after: After,
    pub(in crate::pki) steps: Cell<usize>,
}

impl Faulty {
    pub(in crate::pki) fn new(at: usize, after: After) -> Rc<Self> {
        Rc::new(Self {
            at,
            after,
            steps: Cell::new(0),
        })
    }

    /// Whether the failure happened.
    pub(in crate::pki) fn tripped(&self) -> bool {
        self.steps.get() > self.at
    }

    fn step(&self, run: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let step = self.steps.get();
        self.steps.set(step + 1);
        let fails = step == self.at || (step > self.at && self.after == After::Nothing);
        if fails {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        } else {
            run()
        }
    }
}

/// A test keeps one end, the tree has the other.
impl Disk for Rc<Faulty> {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.step(|| Os.create_dir(path))
    }

    fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        let result = self.step(|| Os.write(path, bytes, mode));
        if result.is_err() && self.steps.get() == self.at + 1 {
            // As much as there was room for.
            Os.write(path, &bytes[..bytes.len() / 2], mode)?;
        }
        result
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|| Os.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.step(|| Os.remove_file(path))
    }

    fn remove_all(&self, path: &Path) -> io::Result<()> {
        self.step(|| Os.remove_all(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.step(|| Os.sync_dir(path))
    }
}
