//! Keeps CSRs, and the serial numbers of what was signed, on disk.
//!
//! redb: one file, pure Rust, transactions that are durable when `commit` returns, checksummed
//! copy-on-write pages, so that a process or machine that dies leaves the last commit, and a lock
//! against a second process. SQLite would do as well, at the price of a C library.
//!
//! All objects are also in memory (their number is bounded), so reading never waits for the disk.
//! One write at a time: judged against memory, committed, then shown to readers and watchers. A
//! serial number is written in the transaction that writes the certificate: what a crash interrupts
//! before the commit was never seen by anybody, and the next try draws another number.

mod database;
mod error;
mod history;

pub(crate) use error::StoreError;
pub(crate) use history::{Event, EventKind, TooOld};

use super::object::{CertificateSigningRequest, Timestamp};
use crate::authority::limits;
use database::{Database, Write};
use history::History;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::watch;

/// A CSR as it is stored.
pub(crate) type Object = Arc<CertificateSigningRequest>;

/// The store. Its writes block on the disk: call them where that is allowed.
#[derive(Debug)]
pub(crate) struct Store {
    /// `None` after a failure of the disk, until it can be opened again.
    database: Mutex<Option<Database>>,
    disk: Box<dyn Disk>,
    state: RwLock<State>,
    changed: watch::Sender<u64>,
}

/// Where the database lies.
trait Disk: fmt::Debug + Send + Sync {
    fn open(&self) -> Result<Database, StoreError>;
    /// What errors name.
    fn path(&self) -> PathBuf;
}

/// A file; tests have disks that fail.
#[derive(Debug)]
struct DiskFile(PathBuf);

impl Disk for DiskFile {
    fn open(&self) -> Result<Database, StoreError> {
        Database::open(&self.0)
    }

    fn path(&self) -> PathBuf {
        self.0.clone()
    }
}

#[derive(Debug)]
struct State {
    objects: BTreeMap<String, Object>,
    revision: u64,
    history: History,
}

/// What a change makes of an object.
#[derive(Debug)]
pub(crate) enum Change {
    /// Writes it.
    Put(CertificateSigningRequest),
    /// Writes it with the certificate that it now has.
    Sign {
        object: CertificateSigningRequest,
        serial: Vec<u8>,
        /// When the serial number may be forgotten.
        not_after: Timestamp,
    },
    /// Removes it.
    Delete,
    /// Leaves it as it is.
    Keep,
}

/// Every object at one revision.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    pub(crate) objects: Vec<Object>,
    pub(crate) revision: u64,
}

impl Store {
    /// Opens a store, makes it if there is none, and compacts it.
    pub(crate) fn open(path: &Path, now: Timestamp) -> Result<Self, StoreError> {
        Self::on(Box::new(DiskFile(path.to_owned())), now)
    }

    fn on(disk: Box<dyn Disk>, now: Timestamp) -> Result<Self, StoreError> {
        let prepared = unharmed(&*disk, || {
            let mut database = disk.open()?;
            database.forget_serials(now)?;
            database.compact()?;
            let contents = database.load()?;
            Ok((database, contents))
        });
        let (database, (objects, revision)) = prepared?;
        let (changed, _) = watch::channel(revision);
        Ok(Self {
            database: Mutex::new(Some(database)),
            disk,
            state: RwLock::new(State {
                objects,
                revision,
                history: History::new(revision),
            }),
            changed,
        })
    }

    /// Tells the revision after each change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Finds an object.
    pub(crate) fn find(&self, name: &str) -> Option<Object> {
        self.read().objects.get(name).cloned()
    }

    /// Lists all objects by name.
    pub(crate) fn list(&self) -> Listing {
        let state = self.read();
        Listing {
            objects: state.objects.values().cloned().collect(),
            revision: state.revision,
        }
    }

    /// Lists all objects by name as they were at `revision`, which is not above the current one, if
    /// every change since then is kept.
    pub(crate) fn list_at(&self, revision: u64) -> Result<Listing, TooOld> {
        let state = self.read();
        let mut objects = state.objects.clone();
        for event in state.history.after(revision)?.into_iter().rev() {
            let name = &event.object.metadata.name;
            match &event.previous {
                Some(before) => objects.insert(name.clone(), Arc::clone(before)),
                None => objects.remove(name),
            };
        }
        Ok(Listing {
            objects: objects.into_values().collect(),
            revision,
        })
    }

    /// Lists what changed after `revision`.
    pub(crate) fn events_after(&self, revision: u64) -> Result<Vec<Arc<Event>>, TooOld> {
        self.read().history.after(revision)
    }

    /// Adds an object under its name, unless `judge` finds a reason against it. Blocks.
    pub(crate) fn create<E: From<StoreError>>(
        &self,
        object: CertificateSigningRequest,
        judge: impl FnOnce(&BTreeMap<String, Object>) -> Result<(), E>,
    ) -> Result<Object, E> {
        let mut database = self.lock();
        // A write whose commit failed may be on the disk: judge by what is there.
        self.opened(&mut database)?;
        judge(&self.read().objects)?;
        let name = object.metadata.name.clone();
        if self.read().objects.contains_key(&name) {
            return Err(StoreError::Exists { name }.into());
        }
        let written = self.write(&mut database, &name, Change::Put(object))?;
        written.ok_or_else(|| StoreError::Missing { name }.into())
    }

    /// Changes an object as `change` says; it sees the newest one, and nobody comes between.
    /// Returns the object, or what it was if it was removed. Blocks.
    pub(crate) fn update<E: From<StoreError>>(
        &self,
        name: &str,
        change: impl FnOnce(&CertificateSigningRequest) -> Result<Change, E>,
    ) -> Result<Object, E> {
        let mut database = self.lock();
        self.opened(&mut database)?;
        let current = self.find(name).ok_or_else(|| StoreError::Missing {
            name: name.to_owned(),
        })?;
        let change = change(&current)?;
        let written = self.write(&mut database, name, change)?;
        Ok(written.unwrap_or(current))
    }

    /// Forgets the serial numbers of certificates that are over, and gives free space back. Blocks.
    pub(crate) fn compact(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut database = self.lock();
        let open = self.opened(&mut database)?;
        let done = open.forget_serials(now).and_then(|()| open.compact());
        self.checked(&mut database, done)
    }

    /// Every serial number that is in use.
    #[cfg(test)]
    pub(crate) fn serials(&self) -> Vec<Vec<u8>> {
        let mut database = self.lock();
        self.opened(&mut database).unwrap().serials().unwrap()
    }

    fn write(
        &self,
        database: &mut Option<Database>,
        name: &str,
        change: Change,
    ) -> Result<Option<Object>, StoreError> {
        if matches!(change, Change::Keep) {
            return Ok(None);
        }
        let open = self.opened(database)?;
        let revision = self.read().revision + 1;
        let (mut object, serial) = match change {
            Change::Put(object) => (Some(object), None),
            Change::Sign {
                object,
                serial,
                not_after,
            } => (Some(object), Some((serial, not_after))),
            Change::Delete | Change::Keep => (None, None),
        };
        if let Some(object) = &mut object {
            object.metadata.resource_version = revision.to_string();
        }
        let write = Write {
            name,
            object: object.as_ref(),
            serial: serial
                .as_ref()
                .map(|(serial, end)| (serial.as_slice(), *end)),
            revision,
        };
        let committed = open.commit(&write);
        self.checked(database, committed)?;
        let written = object.map(Arc::new);
        self.show(name, written.clone(), revision);
        Ok(written)
    }

    /// Puts the database away if the disk failed: whether a commit took effect is known only to the
    /// file.
    fn checked<T>(
        &self,
        database: &mut Option<Database>,
        done: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if done.as_ref().is_err_and(StoreError::is_disk) {
            *database = None;
        }
        done
    }

    /// Makes a committed change visible.
    fn show(&self, name: &str, written: Option<Object>, revision: u64) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let previous = match &written {
            Some(object) => state.objects.insert(name.to_owned(), Arc::clone(object)),
            None => state.objects.remove(name),
        };
        let event = Event::new(revision, written, previous);
        if let Some(event) = event {
            state.history.push(Arc::new(event), limits::HISTORY);
        }
        state.revision = revision;
        drop(state);
        self.changed.send_replace(revision);
    }

    /// The database, opened anew if the disk failed before: what it holds then is what counts.
    fn opened<'a>(&self, slot: &'a mut Option<Database>) -> Result<&'a mut Database, StoreError> {
        match slot {
            Some(database) => Ok(database),
            None => {
                let opened = unharmed(&*self.disk, || {
                    let database = self.disk.open()?;
                    let contents = database.load()?;
                    Ok((database, contents))
                });
                let (database, (objects, revision)) = opened?;
                let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
                if revision != state.revision {
                    state.objects = objects;
                    state.revision = revision;
                    state.history = History::new(revision);
                }
                drop(state);
                self.changed.send_replace(revision);
                tracing::warn!(path = %self.disk.path().display(), revision, "store is open again");
                Ok(slot.insert(database))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Database>> {
        // A thread that panicked in the middle left either the old or the new state on disk.
        self.database.lock().unwrap_or_else(|poisoned| {
            let mut guard = poisoned.into_inner();
            *guard = None;
            guard
        })
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a store. redb verifies checksums where it recovers from a crash, and panics where it comes to a
/// page that makes no sense.
fn unharmed<T>(
    disk: &dyn Disk,
    read: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let done = catch_unwind(AssertUnwindSafe(read));
    done.unwrap_or_else(|_| Err(StoreError::Damaged { path: disk.path() }))
}

#[cfg(test)]
mod crash;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
