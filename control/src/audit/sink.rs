//! Where audit lines go: a file that can be reopened after rotation, or standard output.

use crate::config::AuditSink;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Permission bits of an audit file that is created: it names users, pods and times.
const FILE_MODE: u32 = 0o600;

/// An open target.
#[derive(Debug)]
pub(super) enum Sink {
    Stdout(io::Stdout),
    File {
        file: File,
        path: PathBuf,
    },
    #[cfg(test)]
    Scripted(super::tests::Script),
}

impl Sink {
    pub(super) fn open(target: &AuditSink) -> io::Result<Self> {
        match target {
            AuditSink::Stdout => Ok(Self::Stdout(io::stdout())),
            AuditSink::File(path) => Ok(Self::File {
                file: open_file(path)?,
                path: path.clone(),
            }),
        }
    }

    /// Opens the path again, so that lines go to the file that has the name now; on failure the
    /// open file stays in use.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(_) => Ok(()),
            Self::File { file, path } => {
                *file = open_file(path)?;
                Ok(())
            }
            #[cfg(test)]
            Self::Scripted(script) => script.reopen(),
        }
    }

    /// Writes as much as it can; returns how many bytes went out, and what stopped it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        let mut written = 0;
        while written < bytes.len() {
            match self.write_some(&bytes[written..]) {
                Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (written, Err(error)),
            }
        }
        (written, self.flush())
    }

    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(stdout) => stdout.write(bytes),
            Self::File { file, .. } => file.write(bytes),
            #[cfg(test)]
            Self::Scripted(script) => script.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            // Standard output buffers lines; a file does not buffer.
            Self::Stdout(stdout) => stdout.flush(),
            Self::File { .. } => Ok(()),
            #[cfg(test)]
            Self::Scripted(_) => Ok(()),
        }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(FILE_MODE)
        .open(path)
}
