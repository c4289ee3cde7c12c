//! Why a tree was not made, read or changed.

use super::authority::AuthorityError;
use super::files::FileError;
use super::judge::Flaw;
use super::options::OptionProblem;
use super::refusal::Refusal;
use super::stage::Stage;
use crate::certificate::FactsError;
use crate::document::ConfigErrors;
use crate::joined::{Joined, Lines};
use crate::pem::PemError;
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
    #[error("the tree has no certificate {0}; see pki show for their names")]
    NoSuchName(String),
    /// A CA is not renewed, but rotated.
    #[error("{0} is a CA, which others trust by its key; use pki rotate-ca {0}")]
    RenewAuthority(String),
    /// A name that no CA of the tree has.
    #[error("the tree has no CA {0}; see pki show for their names")]
    NoSuchAuthority(String),
    /// A CA that is not the tree's to rotate.
    #[error(
        "the CA {0} is kept in {file}, so it is rotated there: trust both in that file, sign by the \
         new one, renew, drop the old one", file = .1.display()
    )]
    ForeignAuthority(String, PathBuf),
    /// A CA whose key is elsewhere.
    #[error(
        "the key of the CA {0} is not here, so it signs and is rotated where its key is: put both \
         CAs into {0}.crt, have all renewed by the new one, accept, and drop the old one"
    )]
    ExternalAuthority(String),
    /// A CA's certificate, whose key is elsewhere, is no CA's that may sign.
    #[error("cannot take over the CA {0}")]
    TakeOver(String, #[source] Box<AuthorityError>),
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
    #[error("no rotation of {0} is under way, so there is nothing to undo")]
    NoRotation(String),
    /// There is nothing to forget yet.
    #[error(
        "cannot leave out what the CA before {0} says of it: the rotation is at stage {1}; end \
         it by --next first"
    )]
    ForgetMidway(String, Stage),
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
    #[error("cannot issue {0}")]
    Issue(String, #[source] rcgen::Error),
    /// The system gave no random bytes.
    #[error("cannot draw a serial number for {0}: the system's random source failed")]
    Random(String),
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
    #[error("cannot sign by the CA {0}")]
    Authority(String, #[source] Box<AuthorityError>),
    /// What was made fails its own check.
    #[error("refused to write {0}: it {1}")]
    Rejected(String, Box<Flaw>),
    /// A certificate of the tree cannot be read.
    #[error("the certificate {0} {1}; issue it again")]
    Unreadable(String, FactsError),
    /// A file of the tree cannot be used.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The files could not be written.
    #[error(transparent)]
    File(#[from] FileError),
}
