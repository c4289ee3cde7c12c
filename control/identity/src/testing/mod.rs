//! A disk of a few hundred kilobytes, for tests that fill it or make it read-only.
//!
//! A tmpfs in a mount namespace of the test's own thread: threads that it starts are in it, too, and
//! when the last one ends, it is gone.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

pub mod apiserver;
pub mod openssl;
pub mod pods;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How long a disk may stay busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// A small disk.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Runs `test` on a thread whose disk has `bytes`; says so and skips it where that needs root.
    pub fn run(name: &str, bytes: usize, test: impl FnOnce(&SmallDisk) + Send) {
        let place = tempfile::tempdir().unwrap();
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                if let Err(error) = mounted(place.path(), bytes) {
                    eprintln!("SKIPPED: {name}: a mount namespace needs root ({error})");
                    return;
                }
                test(&SmallDisk(place.path().to_owned()));
            });
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        });
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Takes all room that is left, until what it returns is dropped.
    pub fn fill(&self) -> Filled {
        let path = self.0.join("everything-else");
        let mut file = fs::File::create(&path).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        while file.write_all(&[0]).is_ok() {}
        Filled(path)
    }

    /// Forbids or allows writing.
    pub fn read_only(&self, forbidden: bool) {
        let mut flags = MsFlags::MS_REMOUNT;
        flags.set(MsFlags::MS_RDONLY, forbidden);
        // Children of other tests hold what is open here, for writing as well, until they exec.
        let deadline = Instant::now() + PATIENCE;
        loop {
            match mount::<Path, Path, str, str>(None, &self.0, None, flags, None) {
                Err(Errno::EBUSY) if Instant::now() < deadline => thread::yield_now(),
                result => return result.unwrap(),
            }
        }
    }
}

/// Room that is taken.
pub struct Filled(PathBuf);

impl Drop for Filled {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn mounted(place: &Path, bytes: usize) -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let own = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
    mount::<str, str, str, str>(None, "/", None, own, None)?;
    let size = format!("size={bytes},mode=0700");
    let tmpfs = Some("tmpfs");
    mount::<str, Path, str, str>(tmpfs, place, tmpfs, MsFlags::empty(), Some(&size))
}
