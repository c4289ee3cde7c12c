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
mod files;
mod from_request;
mod held;
mod inspect;
mod issue;
mod judge;
mod key;
mod kubeadm;
mod maker;
mod modes;
mod name;
mod names;
mod options;
mod plan;
mod profile;
mod reload;
mod render;
mod request;
mod rotation;
mod serial;
mod spec;
mod table;
#[cfg(test)]
pub(crate) mod testing;
mod tree;

pub use accept::{Accepted, Refusal};
pub use authority::{Authority, AuthorityError};
pub use files::FileError;
pub(crate) use from_request::{IssueForError, Wanted, issue_for};
pub(crate) use held::{Expected, unfit};
pub use inspect::{Kind, Row};
pub(crate) use issue::alternative_names;
pub use judge::{Flaw, Severity};
pub use maker::RenewedKey;
pub use options::{InitOptions, OptionProblem};
pub use plan::Conflict;
pub use reload::{Reload, notice};
pub use request::PendingRequest;
pub use rotation::{Rotated, Stage, Step};
pub(crate) use serial::random_serial;
pub use spec::{
    DEFAULT_SERVICE_IP, NodeSpec, NodeSpecError, ServiceCidr, ServiceCidrError, UserSpec,
    UserSpecError,
};
pub use table::role_table;
pub use tree::{Selection, Tree, Written};

use crate::config::{ConfigErrors, Finding};
use crate::identity::FactsError;
use crate::pem::PemError;
use disk::{Disk, Lock, Os};
use maker::Maker;
use plan::Plan;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use time::Duration;

/// Clients whose clocks are behind ours accept a new certificate (kubeadm's value).
pub(crate) const BACKDATE: Duration = Duration::minutes(5);

/// Why a tree was not made, read or changed. In every case its files are as they were.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// One or more options are wrong.
    #[error("cannot lay out the PKI: {}", Joined(.0))]
    Options(Vec<OptionProblem>),
    /// The document is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// There is none.
    #[error("{} has no pki.yaml; name the document by --config, or run pki init", .0.display())]
    NoDocument(PathBuf),
    /// A name that no certificate of the tree has.
    #[error("the tree has no certificate {name}; see pki show for their names")]
    NoSuchName {
        /// The name.
        name: String,
    },
    /// A CA is not renewed, but rotated.
    #[error("{name} is a CA, which others trust by its key; use pki rotate-ca {name}")]
    RenewAuthority {
        /// The CA.
        name: String,
    },
    /// A name that no CA of the tree has.
    #[error("the tree has no CA {name}; see pki show for their names")]
    NoSuchAuthority {
        /// The name.
        name: String,
    },
    /// A CA that is not the tree's to rotate.
    #[error(
        "the CA {name} is kept in {}, so it is rotated there: trust both in that file, sign by the \
         new one, renew, drop the old one", .file.display()
    )]
    ForeignAuthority {
        /// The name.
        name: String,
        /// Where it is kept.
        file: PathBuf,
    },
    /// A CA whose key is elsewhere.
    #[error(
        "the key of the CA {name} is not here, so it signs and is rotated where its key is: put both \
         CAs into {name}.crt, have all renewed by the new one, accept, and drop the old one"
    )]
    ExternalAuthority {
        /// The name.
        name: String,
    },
    /// A CA's certificate, whose key is elsewhere, is no CA's that may sign.
    #[error("cannot take over the CA {name}")]
    TakeOver {
        /// The name.
        name: String,
        /// Why.
        source: Box<AuthorityError>,
    },
    /// The certificate is not there yet.
    #[error("{name} awaits its certificate; have {request} signed, then pki accept")]
    Awaited {
        /// The name.
        name: String,
        /// The request.
        request: String,
    },
    /// Certificates that were signed elsewhere do not do.
    #[error("nothing was accepted:{}", Lines(.0))]
    NotAccepted(Vec<Refusal>),
    /// Nothing to undo.
    #[error("no rotation of {name} is under way, so there is nothing to undo")]
    NoRotation {
        /// The CA.
        name: String,
    },
    /// There is nothing to forget yet.
    #[error(
        "cannot leave out what the CA before {name} says of it: the rotation is at stage {stage}; end \
         it by --next first"
    )]
    ForgetMidway {
        /// The CA.
        name: String,
        /// How far it is.
        stage: Stage,
    },
    /// The file of the stage was changed by somebody else.
    #[error(
        "{} holds no stage of a rotation; write trust-both, reissued or old-dropped there", .0.display()
    )]
    RotationStage(PathBuf),
    /// A step would break files.
    #[error(
        "cannot {step} of {authority}: {} ({count} in all) would not work afterwards; renew or reload \
         them first", .files.join(", ")
    )]
    Depends {
        /// What was attempted.
        step: &'static str,
        /// The CA.
        authority: String,
        /// The first few files.
        files: Vec<String>,
        /// How many there are.
        count: usize,
    },
    /// A key or certificate could not be made.
    #[error("cannot issue {name}")]
    Issue {
        /// File name without extension.
        name: String,
        /// What the certificate library said.
        source: rcgen::Error,
    },
    /// The system gave no random bytes.
    #[error("cannot draw a serial number for {name}: the system's random source failed")]
    Random {
        /// File name without extension.
        name: String,
    },
    /// A CA's time is over.
    #[error("cannot issue {name}: its CA {authority} expired {expired}; use pki rotate-ca")]
    AuthorityExpired {
        /// File name without extension.
        name: String,
        /// The CA.
        authority: String,
        /// When.
        expired: String,
    },
    /// A CA cannot sign.
    #[error("cannot sign by the CA {name}")]
    Authority {
        /// File name without extension.
        name: String,
        /// Why.
        source: Box<AuthorityError>,
    },
    /// What was made fails its own check.
    #[error("refused to write {name}: it {flaw}")]
    Rejected {
        /// File name without extension.
        name: String,
        /// What is wrong with it.
        flaw: Box<Flaw>,
    },
    /// A certificate of the tree cannot be read.
    #[error("the certificate {name} {problem}; issue it anew")]
    Unreadable {
        /// File name without extension.
        name: String,
        /// What is wrong with it.
        problem: FactsError,
    },
    /// A file of the tree cannot be used.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The files could not be written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// For fuzzing: reads a document, and panics if it does not read the same after it was written.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn check_any(text: &str) -> bool {
    let file = Path::new("/pki.yaml");
    let Ok((spec, _)) = document::parse(text, file) else {
        return false;
    };
    let written = render::render(&spec);
    let again = document::parse(&written, file).map(|(again, _)| render::render(&again));
    assert!(
        matches!(&again, Ok(again) if *again == written),
        "{written}"
    );
    true
}

struct Joined<'a>(&'a [OptionProblem]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

struct Lines<'a>(&'a [Refusal]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
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
    let (spec, warnings) = match source {
        Source::Config(file) => document::load(file)?,
        Source::Options(options) => {
            let spec = options.spec().map_err(PkiError::Options)?;
            (spec, Vec::new())
        }
    };
    let plan = Plan::new(spec);
    files::refuse_existing(dir, &plan.file_names(), force)?;
    let now = tree::now();
    let mut maker = Maker::new(&plan, dir, now);
    for profile in &plan.profiles {
        maker.make(profile)?;
    }
    maker.make_service_account_key()?;
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
