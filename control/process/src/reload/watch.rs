//! Watches the directories of files with inotify.
//!
//! Directories, not files: an editor renames a new file over the old one, and a mounted secret swaps
//! the symlink `..data` beside the links that are configured. Where links lead elsewhere, that
//! directory is watched too.

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Notify;

/// Watches the directories of files, as far as the kernel lets it.
#[derive(derive_more::Debug)]
#[debug("Watch({watched:?}, not {unwatched:?})")]
pub(super) struct Watch {
    changed: Arc<Notify>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    unwatched: BTreeSet<PathBuf>,
}

impl Watch {
    /// Opens an inotify instance; without one, every directory stays unwatched.
    pub(super) fn new() -> Self {
        let changed = Arc::new(Notify::new());
        let waker = Arc::clone(&changed);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            match event {
                Ok(event) if !may_change(event.kind) => {}
                // An error may hide an event; looking once too often costs one read.
                Ok(_) | Err(_) => waker.notify_one(),
            }
        });
        let watcher = watcher
            .inspect_err(|error| {
                tracing::warn!(
                    %error,
                    "inotify is not available: files are checked periodically instead; raise \
                     fs.inotify.max_user_instances"
                );
            })
            .ok();
        Self {
            changed,
            watcher,
            watched: BTreeSet::new(),
            unwatched: BTreeSet::new(),
        }
    }

    /// Watches the directories of these files, and no others.
    pub(super) fn follow(&mut self, files: &BTreeSet<PathBuf>) {
        let wanted = directories(files);
        let Some(watcher) = &mut self.watcher else {
            self.unwatched = wanted;
            return;
        };
        for directory in self.watched.difference(&wanted) {
            // A directory that is gone took its watch along.
            let _ = watcher.unwatch(directory);
        }
        let mut unwatched = BTreeSet::new();
        for directory in &wanted {
            // Watching again is cheap, and finds a directory that was replaced under its name.
            if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
                if !self.unwatched.contains(directory) {
                    tracing::warn!(
                        directory = %directory.display(),
                        %error,
                        "directory cannot be watched: its files are checked periodically instead"
                    );
                }
                unwatched.insert(directory.clone());
            }
        }
        self.watched = &wanted - &unwatched;
        self.unwatched = unwatched;
    }

    /// Whether every directory is watched.
    pub(super) fn is_complete(&self) -> bool {
        self.unwatched.is_empty()
    }

    /// Resolves after something happened in a watched directory; remembers one event.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Our own reading must not look like a change: that would never end.
fn may_change(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(access)
        if access != AccessKind::Close(AccessMode::Write))
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

    #[test]
    fn may_change_ignores_our_own_reads() {
        use notify::event::{CreateKind, ModifyKind};
        assert!(!may_change(EventKind::Access(AccessKind::Open(
            AccessMode::Any
        ))));
        assert!(!may_change(EventKind::Access(AccessKind::Close(
            AccessMode::Read
        ))));
        assert!(may_change(EventKind::Access(AccessKind::Close(
            AccessMode::Write
        ))));
        assert!(may_change(EventKind::Create(CreateKind::Any)));
        assert!(may_change(EventKind::Modify(ModifyKind::Any)));
    }
}
