//! Finds files that everybody may write, or that hold secrets and everybody may read.
//!
//! What decides (a configuration, a CA, an inventory) must not be anybody's to write, and a key must not
//! be everybody's to read; a group may do both, which is how a process of its own user gets at them. Errors
//! of `check`, and warnings at the start: a mounted secret is 0644 unless somebody says otherwise.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Permission bits of everybody, and of directories in which everybody may replace own files only.
const WRITE: u32 = 0o002;
const READ: u32 = 0o004;
const STICKY: u32 = 0o1000;
const PERMISSIONS: u32 = 0o7777;

/// A file, or the directory that it is in, with the permissions that are too wide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    path: PathBuf,
    mode: u32,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Writable,
    WritableDirectory,
    ReadableSecret,
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, mode, kind } = self;
        let path = path.display();
        match kind {
            Kind::Writable => write!(
                f,
                "{path} may be written by everybody (mode {mode:04o}); chmod o-w it"
            ),
            Kind::WritableDirectory => write!(
                f,
                "files in {path} may be replaced by everybody (mode {mode:04o}); chmod o-w it"
            ),
            Kind::ReadableSecret => write!(
                f,
                "{path} holds a secret and may be read by everybody (mode {mode:04o}); chmod o-rwx it"
            ),
        }
    }
}

/// Looks at `files`, of which some are secret, and at the directories that they are in. One that is not
/// there is nobody's; whoever reads it says so.
pub fn find(files: &BTreeSet<PathBuf>, secrets: &BTreeSet<PathBuf>) -> Vec<Exposure> {
    let mut found = Vec::new();
    let mut directories = BTreeSet::new();
    for path in files.union(secrets) {
        directories.extend(
            path.parent()
                .filter(|parent| !parent.as_os_str().is_empty()),
        );
        // Of what a link leads to: the link's own mode says nothing.
        let Some(mode) = mode(path) else { continue };
        if mode & WRITE != 0 {
            found.push(Exposure::new(path, mode, Kind::Writable));
        } else if mode & READ != 0 && secrets.contains(path) {
            found.push(Exposure::new(path, mode, Kind::ReadableSecret));
        }
    }
    for directory in directories {
        match mode(directory) {
            Some(mode) if mode & WRITE != 0 && mode & STICKY == 0 => {
                found.push(Exposure::new(directory, mode, Kind::WritableDirectory));
            }
            _ => {}
        }
    }
    found
}

impl Exposure {
    fn new(path: &Path, mode: u32, kind: Kind) -> Self {
        let path = path.to_owned();
        Self { path, mode, kind }
    }
}

fn mode(path: &Path) -> Option<u32> {
    let found = fs::metadata(path).ok()?;
    Some(found.permissions().mode() & PERMISSIONS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn wide_permissions_are_found_and_a_groups_pass() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let chmod = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let (config, key, link) = (at("config"), at("key"), at("link"));
        for path in [&config, &key] {
            fs::write(path, "x").unwrap();
        }
        symlink(&key, &link).unwrap();
        let files = BTreeSet::from([config.clone(), at("missing")]);
        let secrets = BTreeSet::from([link.clone()]);
        for (config_mode, key_mode, dir_mode, words) in [
            (0o644, 0o600, 0o755, &[][..]),
            (0o664, 0o640, 0o775, &[]),
            (0o640, 0o660, 0o1777, &[]),
            (
                0o646,
                0o600,
                0o755,
                &["config may be written by everybody (mode 0646)"],
            ),
            (
                0o644,
                0o644,
                0o755,
                &["link holds a secret and may be read by everybody"],
            ),
            (0o644, 0o602, 0o755, &["link may be written by everybody"]),
            (
                0o644,
                0o600,
                0o777,
                &["may be replaced by everybody (mode 0777)"],
            ),
            (
                0o666,
                0o604,
                0o755,
                &["config may be written", "link holds a secret"],
            ),
        ] {
            chmod(&config, config_mode);
            chmod(&key, key_mode);
            chmod(dir.path(), dir_mode);
            let found: Vec<_> = find(&files, &secrets)
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found.len(), words.len(), "{found:?}");
            for word in words {
                assert!(found.iter().any(|line| line.contains(word)), "{found:?}");
            }
        }
    }
}
