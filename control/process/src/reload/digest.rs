//! Contents of files as digests: tells a change from an event that changed nothing, and keeps no key.

use ring::digest::{Context, SHA256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Bytes of one file that are compared; what we load is smaller by far.
const MAX_FILE: u64 = 64 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Sha256([u8; 32]),
    Unreadable(io::ErrorKind),
}

/// The contents of a set of files at about one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Digests(BTreeMap<PathBuf, Content>);

impl Digests {
    /// Reads all files. Blocks.
    pub(super) fn of(files: &BTreeSet<PathBuf>) -> Self {
        Self::default().extended(files)
    }

    /// Adds those of `files` that are not known yet. Blocks.
    pub(super) fn extended(mut self, files: &BTreeSet<PathBuf>) -> Self {
        for file in files {
            if !self.0.contains_key(file) {
                self.0.insert(file.clone(), content(file));
            }
        }
        self
    }
}

fn content(file: &Path) -> Content {
    match sha256(file) {
        Ok(digest) => Content::Sha256(digest),
        Err(error) => Content::Unreadable(error.kind()),
    }
}

fn sha256(file: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(file)?.take(MAX_FILE);
    let mut context = Context::new(&SHA256);
    let mut chunk = [0; 8192];
    loop {
        let count = match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        context.update(&chunk[..count]);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Ok(digest)
}
