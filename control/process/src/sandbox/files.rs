//! The directories and files that a process reaches, as they are when it confines itself.
//!
//! A rule belongs to a directory that is there, not to its name: what lies below it is covered,
//! also what comes later, and a directory that takes its name later is not. So each rule is
//! remembered by device and inode, and the question whether a path is covered is answered as the
//! kernel answers it: by the directories above the file that the path leads to now.

use super::error::SandboxError;
use super::reach::{Access, Reach};
use nix::libc;
use nix::unistd::geteuid;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Links that lead from one to the next; the kernel follows as many.
const MAX_LINKS: usize = 40;

/// Mode of a directory that is made: it will have keys or a hand-over socket.
const OWNER_ONLY: u32 = 0o700;

/// Name lookups read these; what is not there is not missed.
pub(super) const RESOLVER: [&str; 9] = [
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/resolv.conf",
    "/etc/services",
];

/// glibc loads what nsswitch.conf names at the first lookup.
const LIBRARIES: [&str; 4] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"];

/// The CAs that the system trusts.
const TRUST_STORE: [&str; 5] = [
    "/etc/ca-certificates",
    "/etc/pki",
    "/etc/ssl",
    "/usr/local/share/ca-certificates",
    "/usr/share/ca-certificates",
];

/// A rule: what is open is a directory, or a file.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) open: File,
    pub(super) access: Access,
    pub(super) is_directory: bool,
}

/// What is covered, by device and inode.
#[derive(Debug, Default)]
pub(super) struct Covered {
    places: BTreeMap<(u64, u64), Access>,
    /// Of /proc no other directory would do: an inode there is forgotten when nobody has it open.
    _proc: Option<File>,
}

/// The rules of what a process reaches.
pub(super) fn rules(reach: &Reach) -> Result<(Vec<Rule>, Covered), SandboxError> {
    let mut wanted: BTreeMap<PathBuf, Access> = BTreeMap::new();
    let mut want = |path: PathBuf, access: Access| {
        let most = wanted.entry(path).or_insert(access);
        *most = access.max(*most);
    };
    for (file, access) in &reach.files {
        for directory in directories(file) {
            want(directory, *access);
        }
    }
    for (directory, access) in &reach.directories {
        make(directory, *access);
        want(directory.clone(), *access);
    }
    for path in system(reach, geteuid().is_root()) {
        want(path, Access::Read);
    }
    let mut rules = Vec::new();
    let mut covered = Covered::default();
    for (path, access) in wanted {
        let Some(rule) = rule(&path, access)? else {
            continue;
        };
        covered.add(&rule, &path)?;
        rules.push(rule);
    }
    covered._proc = rule(Path::new(OWN), Access::Read)?.map(|rule| rule.open);
    Ok((rules, covered))
}

/// Makes a directory in which the process will make files, where there is none: what is not there
/// has no place in a sandbox. What is in the way is reported by whoever needs it.
fn make(directory: &Path, access: Access) {
    let mut builder = DirBuilder::new();
    builder.mode(OWNER_ONLY).recursive(access == Access::Write);
    if access > Access::Read {
        let _ = builder.create(directory);
    }
}

/// What a process reads of itself: its descriptors, memory and times.
const OWN: &str = "/proc/self";

/// What every process of ours reads of its system. Resolver files are replaced by others of the
/// same name, so the directory is what is read, unless the process could read secrets there, as
/// root: then it is the files as they are now, and [`super::covers`] tells of one that was
/// replaced.
fn system(reach: &Reach, root: bool) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = [OWN, "/dev/urandom", "/dev/null"]
        .into_iter()
        .chain(LIBRARIES)
        .map(PathBuf::from)
        .collect();
    let etc = Path::new("/etc");
    if !root {
        paths.push(etc.to_owned());
    }
    for file in RESOLVER {
        let Ok(real) = fs::canonicalize(file) else {
            continue;
        };
        let parent = parent(&real);
        paths.push(if parent.starts_with(etc) {
            real
        } else {
            parent
        });
    }
    if reach.trust_store {
        paths.extend(TRUST_STORE.map(PathBuf::from));
    }
    paths
}

/// Opens what a rule is to be about; nothing where nothing is.
fn rule(path: &Path, access: Access) -> Result<Option<Rule>, SandboxError> {
    let failed = |source| SandboxError::Open {
        path: path.to_owned(),
        source,
    };
    let open = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path);
    let open = match open {
        Ok(open) => open,
        // Whoever needs it reports it.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let is_directory = open.metadata().map_err(failed)?.is_dir();
    Ok(Some(Rule {
        open,
        access,
        is_directory,
    }))
}

/// The directories in which a file may be replaced: that of its name, those of the links on the
/// way, and that where it lies. A device is opened where it is, and never replaced.
fn directories(file: &Path) -> Vec<PathBuf> {
    let found = fs::metadata(file);
    if found.is_ok_and(|found| found.file_type().is_char_device()) {
        return fs::canonicalize(file).into_iter().collect();
    }
    let mut directories = vec![parent(file)];
    let mut at = file.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(target) = fs::read_link(&at) else {
            break;
        };
        at = parent(&at).join(target);
        directories.push(parent(&at));
    }
    directories.extend(fs::canonicalize(file).map(|real| parent(&real)));
    directories
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

impl Covered {
    fn add(&mut self, rule: &Rule, path: &Path) -> Result<(), SandboxError> {
        let found = rule.open.metadata();
        let found = found.map_err(|source| SandboxError::Open {
            path: path.to_owned(),
            source,
        })?;
        let most = self
            .places
            .entry((found.dev(), found.ino()))
            .or_insert(rule.access);
        *most = rule.access.max(*most);
        Ok(())
    }

    /// Whether the file that a path leads to may be opened so. Nothing is where a path leads
    /// nowhere: then it is the directory that counts where it would be.
    pub(super) fn covers(&self, path: &Path, access: Access) -> bool {
        let real = fs::canonicalize(path).or_else(|_| fs::canonicalize(parent(path)));
        // A directory that is not there is another error's business.
        let Ok(real) = real else { return true };
        real.ancestors().any(|place| {
            let Ok(found) = fs::metadata(place) else {
                return false;
            };
            let known = self.places.get(&(found.dev(), found.ino()));
            known.is_some_and(|known| *known >= access)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn reach(file: &Path) -> Reach {
        let mut reach = Reach::default();
        reach.reads([file.to_owned()]);
        reach
    }

    #[test]
    fn file_is_covered_in_its_directory_and_where_its_links_lead() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for name in ["live", "archive", "etc", "other"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("archive/1.pem"), "1").unwrap();
        symlink("../archive/1.pem", at("live/tls.pem")).unwrap();
        symlink("../live/tls.pem", at("etc/tls.pem")).unwrap();
        fs::write(at("other/key"), "1").unwrap();
        let (_, covered) = rules(&reach(&at("etc/tls.pem"))).unwrap();
        fs::create_dir(at("archive/deep")).unwrap();
        for name in ["etc/new", "live/new", "archive/2.pem", "archive/deep/er"] {
            assert!(covered.covers(&at(name), Access::Read), "{name}");
            assert!(!covered.covers(&at(name), Access::Write), "{name}");
        }
        assert!(!covered.covers(&at("other/key"), Access::Read));
        // A link in a directory that is covered leads to one that is not.
        symlink("../other/key", at("etc/leak.pem")).unwrap();
        assert!(!covered.covers(&at("etc/leak.pem"), Access::Read));
    }

    #[test]
    fn directory_that_took_the_name_of_another_is_not_covered() {
        let root = tempfile::tempdir().unwrap();
        let keys = root.path().join("keys");
        fs::create_dir(&keys).unwrap();
        fs::write(keys.join("a.key"), "1").unwrap();
        let (_open, covered) = rules(&reach(&keys.join("a.key"))).unwrap();
        assert!(covered.covers(&keys.join("a.key"), Access::Read));
        fs::rename(&keys, root.path().join("old")).unwrap();
        fs::create_dir(&keys).unwrap();
        fs::write(keys.join("a.key"), "2").unwrap();
        assert!(!covered.covers(&keys.join("a.key"), Access::Read));
    }

    #[test]
    fn directory_that_will_be_written_is_made_and_one_that_is_read_is_not() {
        let root = tempfile::tempdir().unwrap();
        let (keys, tokens) = (root.path().join("a/keys"), root.path().join("tokens"));
        let mut reach = Reach::default();
        reach.uses(&keys, Access::Write);
        reach.uses(&tokens, Access::Read);
        let (_open, covered) = rules(&reach).unwrap();
        assert_eq!(fs::metadata(&keys).unwrap().mode() & 0o777, OWNER_ONLY);
        assert!(covered.covers(&keys.join("new"), Access::Write));
        assert!(!tokens.exists());
    }

    #[test]
    fn terminal_or_null_device_is_covered_alone() {
        assert_eq!(
            directories(Path::new("/dev/null")),
            [PathBuf::from("/dev/null")]
        );
    }

    #[test]
    fn system_of_root_is_single_files_and_of_others_the_whole_directory() {
        let etc = PathBuf::from("/etc");
        assert!(system(&Reach::default(), false).contains(&etc));
        let of_root = system(&Reach::default(), true);
        assert!(!of_root.contains(&etc), "{of_root:?}");
        assert!(of_root.contains(&PathBuf::from(OWN)));
    }
}
