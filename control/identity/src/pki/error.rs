//! Why a tree was not made, read or changed.

use super::authority::AuthorityError;
use super::files::FileError;
use super::judge::Flaw;
use super::options::OptionProblem;
use super::refusal::Refusal;
use super::stage::Stage;
use crate::certificate::FactsError;
use crate::document::ConfigErrors;
use crate::pem::PemError;
use std::fmt;
use std::path::PathBuf;

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

struct Lines<'a>(&'a [Refusal]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
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
