//! Judges who else may read or change the files of a tree.

use super::inspect::{Kind, Row};
use super::judge::Flaw;
use super::rotation;
use super::tree::Tree;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What nobody but the owner may do with a key.
const OTHERS: u32 = 0o077;
/// Writing, by others.
const OTHERS_WRITE: u32 = 0o022;

impl Tree {
    /// Adds to each file's row what is wrong with its mode; files without one get a row then.
    /// Kubeconfigs are judged with what stands in them.
    pub(super) fn modes(&self, rows: &mut Vec<Row>) {
        let own = self.plan.file_names().into_iter();
        let rotated = self.plan.profiles.iter();
        let rotated = rotated.flat_map(|profile| rotation::files(&profile.name));
        let existing = self.plan.spec.authorities.existing.iter();
        let parent = self.plan.spec.authorities.parent.iter();
        let existing = existing.map(|(_, files)| (files.certificate(), files.key()));
        let parent = parent.map(|pair| (pair.certificate.as_path(), Some(pair.key.as_path())));
        let elsewhere = existing
            .chain(parent)
            .flat_map(|(certificate, key)| [certificate].into_iter().chain(key))
            .map(|path| path.display().to_string());
        let files: BTreeSet<String> = own.chain(rotated).chain(elsewhere).collect();
        let mut directories = BTreeSet::from([PathBuf::new()]);
        for file in files.iter().filter(|file| !file.ends_with(".kubeconfig")) {
            let path = Path::new(file);
            if path.is_relative() {
                directories.extend(path.ancestors().skip(1).map(Path::to_owned));
            }
            let (kind, flaw) = if file.ends_with(".key") {
                (Kind::Key, self.mode(path, OTHERS))
            } else {
                (Kind::File, self.mode(path, OTHERS_WRITE))
            };
            add(rows, file, kind, flaw);
        }
        for directory in directories {
            let name = match directory.as_os_str().is_empty() {
                true => ".".to_owned(),
                false => directory.display().to_string(),
            };
            let flaw = self.mode(&directory, OTHERS_WRITE);
            add(rows, &name, Kind::Directory, flaw);
        }
    }

    /// The flaw of a file that gives others what they must not have.
    fn mode(&self, file: &Path, forbidden: u32) -> Option<Flaw> {
        let metadata = std::fs::metadata(self.dir.join(file)).ok()?;
        let mode = metadata.permissions().mode() & 0o7777;
        (mode & forbidden != 0).then_some(match forbidden {
            OTHERS => Flaw::Mode(mode),
            _ => Flaw::Writable(mode),
        })
    }
}

fn add(rows: &mut Vec<Row>, file: &str, kind: Kind, flaw: Option<Flaw>) {
    let Some(flaw) = flaw else { return };
    if let Some(row) = rows.iter_mut().find(|row| row.file == file) {
        row.flaws.push(flaw);
        return;
    }
    let mut row = Row::new(file.to_owned(), kind, "-");
    row.flaws.push(flaw);
    rows.push(row);
}
