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

use super::held::{Held, Holders};
use super::object::{CertificateSigningRequest, Timestamp};
use crate::limits;
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
    holders: Holders,
    revision: u64,
    history: History,
}

/// What the file holds.
#[derive(Debug)]
struct Contents {
    objects: BTreeMap<String, Object>,
    holders: Holders,
    revision: u64,
}

/// What a new object is judged against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) objects: &'a BTreeMap<String, Object>,
    pub(crate) holders: &'a Holders,
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
        /// Whose newest client certificate it is, by its common name.
        holder: Option<(String, Held)>,
    },
    /// Removes it.
    Delete,
    /// Leaves it as it is.
    Keep,
}

/// Every object at one revision.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    pub objects: Vec<Object>,
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
            database.forget_ended(now)?;
            database.compact()?;
            let contents = database.load()?;
            Ok((database, contents))
        });
        let (database, contents) = prepared?;
        let Contents {
            objects,
            holders,
            revision,
        } = contents;
        let (changed, _) = watch::channel(revision);
        Ok(Self {
            database: Mutex::new(Some(database)),
            disk,
            state: RwLock::new(State {
                objects,
                holders,
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

    /// The number of the last change.
    pub(crate) fn revision(&self) -> u64 {
        self.read().revision
    }

    /// Finds an object.
    pub(crate) fn find(&self, name: &str) -> Option<Object> {
        self.read().objects.get(name).cloned()
    }

    /// Finds whose newest client certificate has this common name.
    pub(crate) fn holder(&self, name: &str) -> Option<Arc<Held>> {
        self.read().holders.get(name).cloned()
    }

    /// Says whether no more names can be remembered.
    pub(crate) fn is_full_of_holders(&self) -> bool {
        super::held::is_full(&self.read().holders)
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

    /// Adds an object under its name, unless `judge` finds a reason against it; the objects that it names
    /// make room first. Blocks.
    pub(crate) fn create<E: From<StoreError>>(
        &self,
        object: CertificateSigningRequest,
        judge: impl FnOnce(View<'_>) -> Result<Vec<String>, E>,
    ) -> Result<Object, E> {
        let mut database = self.lock();
        // A write whose commit failed may be on the disk: judge by what is there.
        self.opened(&mut database)?;
        let name = object.metadata.name.clone();
        let evicted = {
            let state = self.read();
            if state.objects.contains_key(&name) {
                return Err(StoreError::Exists { name }.into());
            }
            judge(View {
                objects: &state.objects,
                holders: &state.holders,
            })?
        };
        for name in evicted {
            self.write(&mut database, &name, Change::Delete)?;
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
        let done = open.forget_ended(now).and_then(|()| open.compact());
        self.checked(&mut database, done)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.holders.retain(|_, held| held.not_after >= now);
        Ok(())
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
        let (mut object, serial, holder) = match change {
            Change::Put(object) => (Some(object), None, None),
            Change::Sign {
                object,
                serial,
                not_after,
                holder,
            } => {
                let holder = holder.map(|(name, held)| {
                    let held = held.after(&name, self.holder(&name).as_deref());
                    (name, held)
                });
                (Some(object), Some((serial, not_after)), holder)
            }
            Change::Delete | Change::Keep => (None, None, None),
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
            holder: holder.as_ref().map(|(name, held)| (name.as_str(), held)),
            revision,
        };
        let committed = open.commit(&write);
        self.checked(database, committed)?;
        let written = object.map(Arc::new);
        self.show(name, written.clone(), holder, revision);
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
    fn show(
        &self,
        name: &str,
        written: Option<Object>,
        holder: Option<(String, Held)>,
        revision: u64,
    ) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let previous = match &written {
            Some(object) => state.objects.insert(name.to_owned(), Arc::clone(object)),
            None => state.objects.remove(name),
        };
        if let Some((name, held)) = holder {
            state.holders.insert(name, Arc::new(held));
        }
        let event = Event::new(revision, written, previous);
        if let Some(event) = event {
            state.history.push(Arc::new(event), limits::HISTORY);
        }
        state.revision = revision;
        drop(state);
        self.changed.send_replace(revision);
    }

    /// The database, opened again if the disk failed before: what it holds then is what counts.
    fn opened<'a>(&self, slot: &'a mut Option<Database>) -> Result<&'a mut Database, StoreError> {
        match slot {
            Some(database) => Ok(database),
            None => {
                let opened = unharmed(&*self.disk, || {
                    let database = self.disk.open()?;
                    let contents = database.load()?;
                    Ok((database, contents))
                });
                let (database, contents) = opened?;
                let Contents {
                    objects,
                    holders,
                    revision,
                } = contents;
                let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
                if revision != state.revision {
                    state.objects = objects;
                    state.holders = holders;
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
