//! Watches the directories of files with inotify(7).
//!
//! Directories, not files: an editor renames a new file over the old one, and a mounted secret
//! swaps the symlink `..data` beside the links that are configured. Where links lead elsewhere, that
//! directory is watched too.

use eyesplice_sys::socket;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use tokio::io::unix::AsyncFd;

/// What may change what a load reads. A writer that has not closed its file is none of it: it is
/// not done, and a log in the same directory is never done.
const CHANGES: AddWatchFlags = AddWatchFlags::IN_ATTRIB
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_MOVE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF);

/// Watches the directories of files, as far as the kernel lets it.
#[derive(derive_more::Debug)]
#[debug("Watch({watched:?}, not {unwatched:?})")]
pub(super) struct Watch {
    /// None where inotify is not available.
    queue: Option<Queue>,
    watched: BTreeMap<PathBuf, WatchDescriptor>,
    unwatched: BTreeSet<PathBuf>,
}

/// An inotify instance, and its readiness.
struct Queue {
    inotify: Inotify,
    ready: AsyncFd<OwnedFd>,
}

impl Queue {
    fn open() -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let ready = socket::watched(inotify.as_fd().try_clone_to_owned()?)?;
        Ok(Self { inotify, ready })
    }

    /// Takes a batch of what the kernel has; returns whether there may have been a change in it.
    fn take(&self) -> Result<bool, Errno> {
        let events = self.inotify.read_events()?;
        // A watch that ended is no change; what ended it is, and has an event of its own.
        Ok(events
            .iter()
            .any(|event| !event.mask.contains(AddWatchFlags::IN_IGNORED)))
    }
}

impl Watch {
    /// Opens an inotify instance; without one, every directory stays unwatched.
    pub(super) fn new() -> Self {
        let queue = Queue::open()
            .inspect_err(|error| {
                tracing::warn!(
                    %error,
                    "inotify is not available: files are checked periodically instead; raise \
                     fs.inotify.max_user_instances"
                );
            })
            .ok();
        Self {
            queue,
            watched: BTreeMap::new(),
            unwatched: BTreeSet::new(),
        }
    }

    /// Watches the directories of these files, and no others.
    pub(super) fn follow(&mut self, files: &BTreeSet<PathBuf>) {
        let wanted = directories(files);
        let Some(queue) = &self.queue else {
            self.unwatched = wanted;
            return;
        };
        let before = std::mem::take(&mut self.watched);
        let mut unwatched = BTreeSet::new();
        for directory in wanted {
            // Watching again is cheap, and finds a directory that was replaced under its name.
            match queue.inotify.add_watch(&directory, CHANGES) {
                Ok(watch) => {
                    self.watched.insert(directory, watch);
                }
                Err(error) => {
                    if !self.unwatched.contains(&directory) {
                        tracing::warn!(
                            directory = %directory.display(),
                            %error,
                            "directory cannot be watched: its files are checked periodically \
                             instead"
                        );
                    }
                    unwatched.insert(directory);
                }
            }
        }
        self.unwatched = unwatched;
        // Two names may be one directory, with one watch.
        let kept: BTreeSet<_> = self.watched.values().copied().collect();
        for watch in before.into_values().filter(|watch| !kept.contains(watch)) {
            // A directory that is gone took its watch along.
            let _ = queue.inotify.rm_watch(watch);
        }
    }

    /// Whether every directory is watched.
    pub(super) fn is_complete(&self) -> bool {
        self.unwatched.is_empty()
    }

    /// Resolves after something happened in a watched directory; the kernel remembers what
    /// happened before.
    pub(super) async fn changed(&self) {
        let Some(queue) = &self.queue else {
            return pending().await;
        };
        loop {
            let Ok(mut ready) = queue.ready.readable().await else {
                // The runtime ends.
                return pending().await;
            };
            match queue.take() {
                Ok(true) => return,
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Ok(false) | Err(_) => {}
            }
        }
    }
}

/// The directories in which a change of one of the files can show itself.
fn directories(files: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let mut directories = BTreeSet::new();
    for file in files {
        directories.insert(parent(file));
        if let Ok(real) = file.canonicalize() {
            directories.insert(parent(&real));
        }
    }
    directories
}

fn parent(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;

    /// A directory with a file that is followed.
    async fn followed() -> (tempfile::TempDir, PathBuf, Watch) {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("gateway.yaml");
        std::fs::write(&file, "x").unwrap();
        let mut watch = Watch::new();
        watch.follow(&BTreeSet::from([file.clone()]));
        assert!(watch.is_complete());
        (root, file, watch)
    }

    #[test]
    fn directories_follow_symlinks_of_mounted_secrets() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let data = root.join("..2026_11_22");
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("tls.crt"), "x").unwrap();
        std::os::unix::fs::symlink("..2026_11_22", root.join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/tls.crt", root.join("tls.crt")).unwrap();
        let files = BTreeSet::from([root.join("tls.crt"), root.join("absent.crt")]);
        assert_eq!(directories(&files), BTreeSet::from([root.clone(), data]));
    }

    #[test]
    fn parent_of_a_bare_name_is_the_working_directory() {
        assert_eq!(parent(Path::new("gateway.yaml")), Path::new("."));
    }

    #[tokio::test]
    async fn reads_and_a_log_in_the_same_directory_are_no_change() {
        let (root, file, watch) = followed().await;
        let mut log = File::create(root.path().join("audit.log")).unwrap();
        watch.changed().await;
        let queue = watch.queue.as_ref().unwrap();
        assert_eq!(queue.take(), Err(Errno::EAGAIN));
        log.write_all(b"a line\n").unwrap();
        std::fs::read(&file).unwrap();
        assert_eq!(queue.take(), Err(Errno::EAGAIN));
    }

    #[tokio::test]
    async fn every_way_to_replace_a_file_is_a_change() {
        let (root, file, watch) = followed().await;
        let ways: [&dyn Fn(&Path); 4] = [
            &|file| std::fs::write(file, "y").unwrap(),
            &|file| {
                let new = root.path().join("new");
                std::fs::write(&new, "z").unwrap();
                std::fs::rename(&new, file).unwrap();
            },
            &|file| {
                let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
                std::fs::set_permissions(file, readable).unwrap();
            },
            &|file| std::fs::remove_file(file).unwrap(),
        ];
        for way in ways {
            way(&file);
            watch.changed().await;
            while watch.queue.as_ref().unwrap().take().is_ok() {}
        }
    }

    #[tokio::test]
    async fn directory_that_was_replaced_is_watched_under_its_name() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("pki");
        let files = BTreeSet::from([directory.join("ca.crt")]);
        std::fs::create_dir(&directory).unwrap();
        let mut watch = Watch::new();
        watch.follow(&files);
        let old = watch.watched.get(&directory).copied();
        std::fs::rename(&directory, root.path().join("old")).unwrap();
        std::fs::create_dir(&directory).unwrap();
        watch.changed().await;
        watch.follow(&files);
        assert_ne!(watch.watched.get(&directory).copied(), old);
        let queue = watch.queue.as_ref().unwrap();
        while queue.take().is_ok() {}
        std::fs::write(root.path().join("old/ca.crt"), "x").unwrap();
        assert_eq!(
            queue.take(),
            Err(Errno::EAGAIN),
            "the old one is not watched"
        );
        std::fs::write(directory.join("ca.crt"), "x").unwrap();
        watch.changed().await;
    }
}
