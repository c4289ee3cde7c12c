//! The file: which tables it has, and how one change is written to it.

use super::error::StoreError;
use super::{CertificateSigningRequest, Contents, Timestamp};
use crate::held::{Held, Holders};
use data_encoding::HEXLOWER;
use redb::backends::FileBackend;
use redb::{
    DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend,
    TableDefinition,
};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The version of the tables.
const FORMAT: u64 = 1;

/// Objects by name, as JSON.
const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
/// Serial numbers of signed certificates, with their end in seconds since 1970.
const SERIALS: TableDefinition<'_, &[u8], i64> = TableDefinition::new("serials");
/// Newest client certificates by common name, as JSON. A version that does not know the table passes
/// over it.
const HOLDERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("holders");
/// `format` and `revision`.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// Requests are for their owner's eyes: the file of a store.
const MODE: u32 = 0o600;

/// What the name of a store ends in while it is made.
const FRESH: &str = ".new";

/// Page cache; everything is in memory once more above.
const CACHE: usize = 8 << 20;

/// The first revision: "0" means "any" to clients.
const FIRST_REVISION: u64 = 1;

/// An open file.
#[derive(Debug)]
pub(super) struct Database {
    database: redb::Database,
    path: PathBuf,
}

/// One change.
#[derive(Debug)]
pub(super) struct Write<'a> {
    pub(super) name: &'a str,
    /// `None` removes it.
    pub(super) object: Option<&'a CertificateSigningRequest>,
    pub(super) serial: Option<(&'a [u8], Timestamp)>,
    /// Who holds it from then on.
    pub(super) holder: Option<(&'a str, &'a Held)>,
    pub(super) revision: u64,
}

impl Database {
    /// Opens the file, or makes it.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        if path.exists() {
            Self::on(FileBackend::new(file(path, path)?), path)
        } else {
            Self::make(path)
        }
    }

    /// Makes the file under another name, and gives it its own when it is whole: a power cut leaves
    /// nothing that is half a store.
    fn make(path: &Path) -> Result<Self, StoreError> {
        let fail = |source| StoreError::File {
            path: path.to_owned(),
            source,
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let fresh = path.with_file_name(format!("{name}{FRESH}"));
        // Locked from here on: a second process that came at the same time is refused.
        let backend = FileBackend::new(file(&fresh, path)?);
        if let Ok(backend) = &backend {
            // What a power cut left.
            backend.set_len(0).map_err(fail)?;
        }
        let database = Self::on(backend, path)?;
        // A link never replaces what is there, unlike a rename.
        fs::hard_link(&fresh, path).map_err(fail)?;
        fs::remove_file(&fresh).map_err(fail)?;
        let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let parent = File::open(parent.unwrap_or(Path::new(".")));
        parent.and_then(|dir| dir.sync_all()).map_err(fail)?;
        Ok(database)
    }

    /// Opens what `backend` holds; errors name `path`.
    pub(super) fn on<B: StorageBackend>(
        backend: Result<B, DatabaseError>,
        path: &Path,
    ) -> Result<Self, StoreError> {
        let mut builder = redb::Builder::new();
        builder.set_cache_size(CACHE);
        let database = backend.and_then(|backend| builder.create_with_backend(backend));
        let database = database.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse {
                path: path.to_owned(),
            },
            error => StoreError::Open {
                path: path.to_owned(),
                source: Box::new(error.into()),
            },
        })?;
        let database = Self {
            database,
            path: path.to_owned(),
        };
        database.prepare()?;
        Ok(database)
    }

    /// Makes the tables, and refuses those of another version.
    fn prepare(&self) -> Result<(), StoreError> {
        let found = self.in_transaction("prepare", |transaction| {
            transaction.open_table(OBJECTS)?;
            transaction.open_table(SERIALS)?;
            transaction.open_table(HOLDERS)?;
            let mut meta = transaction.open_table(META)?;
            let found = meta.get("format")?.map(|value| value.value());
            if found.is_none() {
                meta.insert("format", FORMAT)?;
                meta.insert("revision", FIRST_REVISION)?;
            }
            Ok(found.unwrap_or(FORMAT))
        })?;
        if found != FORMAT {
            return Err(StoreError::Format {
                path: self.path.clone(),
                found,
                known: FORMAT,
            });
        }
        Ok(())
    }

    /// Reads everything.
    pub(super) fn load(&self) -> Result<Contents, StoreError> {
        let mut objects = BTreeMap::new();
        let mut holders = Holders::new();
        let mut broken = None;
        let revision = self.reading(|transaction| {
            for entry in transaction.open_table(OBJECTS)?.iter()? {
                let (name, value) = entry?;
                match serde_json::from_slice(value.value()) {
                    Ok(object) => {
                        objects.insert(name.value().to_owned(), Arc::new(object));
                    }
                    Err(error) => broken = Some((name.value().to_owned(), error)),
                }
            }
            for entry in transaction.open_table(HOLDERS)?.iter()? {
                let (name, value) = entry?;
                match serde_json::from_slice(value.value()) {
                    Ok(held) => {
                        holders.insert(name.value().to_owned(), Arc::new(held));
                    }
                    Err(error) => broken = Some((name.value().to_owned(), error)),
                }
            }
            let meta = transaction.open_table(META)?;
            let revision = meta.get("revision")?.map(|value| value.value());
            Ok(revision.unwrap_or(FIRST_REVISION))
        })?;
        if let Some((name, source)) = broken {
            return Err(StoreError::Object {
                path: self.path.clone(),
                name,
                source,
            });
        }
        Ok(Contents {
            objects,
            holders,
            revision,
        })
    }

    /// Writes one change durably, or nothing.
    pub(super) fn commit(&self, write: &Write<'_>) -> Result<(), StoreError> {
        let name = write.name;
        let encoded = write.object.map(serde_json::to_vec).transpose();
        let encoded = encoded.map_err(|source| StoreError::Encode {
            name: name.to_owned(),
            source,
        })?;
        let held = write
            .holder
            .map(|(name, held)| Ok((name, serde_json::to_vec(held)?)));
        let held = held.transpose().map_err(|source| StoreError::Encode {
            name: name.to_owned(),
            source,
        })?;
        let fresh = self.in_transaction("write", |transaction| {
            if let Some((serial, not_after)) = write.serial {
                let mut serials = transaction.open_table(SERIALS)?;
                let seconds = not_after.time().unix_timestamp();
                // Nothing was written yet: what is committed then is nothing.
                if serials.get(serial)?.is_some() {
                    return Ok(false);
                }
                serials.insert(serial, seconds)?;
            }
            let mut objects = transaction.open_table(OBJECTS)?;
            match &encoded {
                Some(bytes) => objects.insert(name, bytes.as_slice())?,
                None => objects.remove(name)?,
            };
            if let Some((name, held)) = &held {
                let mut holders = transaction.open_table(HOLDERS)?;
                holders.insert(*name, held.as_slice())?;
            }
            let mut meta = transaction.open_table(META)?;
            meta.insert("revision", write.revision)?;
            Ok(true)
        });
        match fresh {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::SerialUsed {
                serial: HEXLOWER.encode(write.serial.map_or(&[], |(serial, _)| serial)),
            }),
            Err(error) => Err(error),
        }
    }

    /// Forgets the serial numbers and holders of certificates that ended before `now`.
    pub(super) fn forget_ended(&self, now: Timestamp) -> Result<(), StoreError> {
        self.in_transaction("clean", |transaction| {
            let mut serials = transaction.open_table(SERIALS)?;
            let seconds = now.time().unix_timestamp();
            serials.retain(|_, not_after| not_after >= seconds)?;
            let mut holders = transaction.open_table(HOLDERS)?;
            // What cannot be read stays, and is told at the next start.
            let lasts = |value: &[u8]| {
                serde_json::from_slice(value).map_or(true, |held: Held| held.not_after >= now)
            };
            holders.retain(|_, value| lasts(value))?;
            Ok(())
        })
    }

    /// Gives back free space, if more than half of the file is free.
    pub(super) fn compact(&mut self) -> Result<(), StoreError> {
        let stored = self.reading(|transaction| {
            let objects = transaction.open_table(OBJECTS)?.stats()?;
            let serials = transaction.open_table(SERIALS)?.stats()?;
            let holders = transaction.open_table(HOLDERS)?.stats()?;
            Ok(objects.stored_bytes() + serials.stored_bytes() + holders.stored_bytes())
        })?;
        let size = fs::metadata(&self.path).map_or(0, |file| file.len());
        // Below this, the file's own structure is most of it.
        const SMALL: u64 = 4 << 20;
        if size <= SMALL || size / 2 <= stored {
            return Ok(());
        }
        let compacted = self.database.compact();
        compacted.map_err(|error| self.failed("compact", error.into()))?;
        let after = fs::metadata(&self.path).map_or(0, |file| file.len());
        tracing::info!(path = %self.path.display(), before = size, after, "store compacted");
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn serials(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        self.reading(|transaction| {
            let mut all = Vec::new();
            for entry in transaction.open_table(SERIALS)?.iter()? {
                all.push(entry?.0.value().to_vec());
            }
            Ok(all)
        })
    }

    fn reading<T>(
        &self,
        read: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let transaction = self.database.begin_read();
        let transaction = transaction.map_err(|error| self.failed("read", error.into()))?;
        read(&transaction).map_err(|error| self.failed("read", error))
    }

    /// Commits unless `write` fails; an error leaves the file as it was.
    fn in_transaction<T>(
        &self,
        step: &'static str,
        write: impl FnOnce(&redb::WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let transaction = self.database.begin_write();
        let transaction = transaction.map_err(|error| self.failed(step, error.into()))?;
        let result = write(&transaction).map_err(|error| self.failed(step, error))?;
        let committed = transaction.commit();
        committed.map_err(|error| self.failed(step, error.into()))?;
        Ok(result)
    }

    fn failed(&self, step: &'static str, error: redb::Error) -> StoreError {
        StoreError::Disk {
            step,
            path: self.path.clone(),
            source: Box::new(error),
        }
    }
}

/// Opens a file of a store; errors name `path`.
fn file(at: &Path, path: &Path) -> Result<File, StoreError> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(MODE)
        .open(at);
    opened.map_err(|source| StoreError::File {
        path: path.to_owned(),
        source,
    })
}
