//! A cluster's certificates, keys, kubeconfigs and node inventory, made and kept in one directory.
//!
//! The layout is kubeadm's (`ca`, `apiserver`, `front-proxy-ca`, `etcd/ca`, ...) with what kubeadm
//! lacks. `spec` says what a tree shall hold, read from `PKIConfig` (`document`, written by `render`) or flags
//! (`options`); `profile` is the table of certificates that follows from it. `maker` makes them in
//! memory and checks each by `judge` before `files` writes them, all or none. `tree` opens a
//! directory for the later commands, `inspect` lists what is in it, `rotation` replaces a CA. Where a
//! CA's key is elsewhere, `request` asks for what it shall sign, and `accept` takes it.

mod accept;
mod authority;
mod cross;
mod dependents;
mod disk;
mod document;
mod error;
mod files;
mod from_request;
mod held;
mod inspect;
mod inventory;
mod issue;
mod judge;
mod key;
mod kubeadm;
pub mod kubeconfig;
mod maker;
mod modes;
mod name;
mod names;
mod options;
mod plan;
mod profile;
mod refusal;
mod reload;
mod render;
mod request;
mod rotation;
mod serial;
mod spec;
mod stage;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tree;

pub use accept::Accepted;
pub use authority::{Authority, AuthorityError};
pub use error::PkiError;
pub use files::FileError;
pub use from_request::{IssueForError, Wanted, issue_for};
pub use held::{Expected, unfit};
pub use inspect::{Kind, Row};
pub use issue::{BACKDATE, alternative_names};
pub use judge::Flaw;
pub use maker::RenewedKey;
pub use options::{InitOptions, OptionProblem};
pub use plan::Conflict;
pub use refusal::Refusal;
pub use reload::{Reload, notice};
pub use request::PendingRequest;
pub use rotation::{Rotated, Step};
pub use serial::random_serial;
pub use spec::{
    AgentName, AgentNameError, BREAK_GLASS_GROUP, BREAK_GLASS_LIFETIME, BreakGlassUser,
    BreakGlassUserError, DEFAULT_SERVICE_IP, NodeSpec, NodeSpecError, ServiceCidr,
    ServiceCidrError, UserSpec, UserSpecError,
};
pub use stage::Stage;
pub use tree::{Added, Selection, Tree, Written};

use crate::document::{Document, Finding, Loaded};
use disk::{Disk, Lock, Os};
use maker::Maker;
use plan::Plan;
use spec::Spec;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// For fuzzing: reads a document, and panics if it does not read the same after it was written.
#[cfg(any(test, feature = "fuzzing"))]
pub fn check_any(text: &str) -> bool {
    let file = Path::new("/pki.yaml");
    let Ok(Loaded { config: spec, .. }) = Spec::parse(text, file) else {
        return false;
    };
    let written = render::render(&spec);
    let again = Spec::parse(&written, file).map(|again| render::render(&again.config));
    assert!(
        matches!(&again, Ok(again) if *again == written),
        "{written}"
    );
    true
}

/// What a new tree is made from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A document.
    Config(PathBuf),
    /// Flags.
    Options(Box<InitOptions>),
}

/// What was written.
#[derive(Clone, Debug)]
pub struct InitReport {
    /// The directory, as it was given.
    pub dir: PathBuf,
    /// File names in it, in the order of writing.
    pub files: Vec<String>,
    /// When the CAs that were made end.
    pub authorities_expire: SystemTime,
    /// When everything else ends, unless its CA ends before.
    pub leaves_expire: SystemTime,
    /// What is allowed, and probably not meant.
    pub warnings: Vec<Finding>,
    /// What CAs whose keys are elsewhere are to sign.
    pub pending: Vec<PendingRequest>,
}

/// Writes a new PKI into `dir`; all of it or nothing.
///
/// # Errors
/// All mistakes of the source at once; files that exist already, unless `force`; I/O.
pub fn init(dir: &Path, source: &Source, force: bool) -> Result<InitReport, PkiError> {
    init_on(&Os, dir, source, force)
}

fn init_on(
    disk: &dyn Disk,
    dir: &Path,
    source: &Source,
    force: bool,
) -> Result<InitReport, PkiError> {
    let Loaded {
        config: spec,
        warnings,
    } = match source {
        Source::Config(file) => Spec::load(file)?,
        Source::Options(options) => Loaded {
            config: options.spec().map_err(PkiError::Options)?,
            warnings: Vec::new(),
        },
    };
    let plan = Plan::new(spec);
    files::refuse_existing(dir, &plan.file_names(), force)?;
    let now = tree::now();
    let mut maker = Maker::new(&plan, dir, now);
    for profile in &plan.profiles {
        maker.make(profile)?;
    }
    if plan.signs_service_accounts() {
        maker.make_service_account_key()?;
    }
    maker.make_documents();
    let change = maker.into_change();
    disk.create_dir(dir).map_err(|source| FileError::Io {
        step: "create the directory",
        path: dir.to_owned(),
        source,
    })?;
    let _lock = Lock::take(dir)?;
    files::recover(disk, dir)?;
    files::apply(disk, dir, &change)?;
    let lifetimes = plan.spec.lifetimes;
    Ok(InitReport {
        dir: dir.to_owned(),
        files: change.files.into_iter().map(|file| file.name).collect(),
        authorities_expire: (now + lifetimes.authorities).into(),
        leaves_expire: (now + lifetimes.certificates).into(),
        warnings,
        pending: plan.requested().map(PendingRequest::of).collect(),
    })
}

#[cfg(test)]
mod tests;
