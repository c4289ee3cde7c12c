//! Judges a certificate against the role that it plays. Pure: the time is an argument.

use super::profile::{Profile, Usage};
use super::stage::Stage;
use crate::certificate::{CertificateFacts, Weakness};
use crate::inventory::{HostAddress, certificate_name};
use crate::kubeconfig::Severity;
use crate::pem::{FileRef, NoteKind, PemError, Role, note};
use crate::verify::Cause;
use crate::verify::chain::leads;
use rustls::pki_types::{CertificateDer, ServerName};
use std::fmt;
use std::time::SystemTime;
use webpki::EndEntityCert;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// What is wrong with one file of a tree, or deserves a look.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// It, or its key, cannot be used.
    #[error("{0}")]
    File(PemError),
    /// Others than its owner may read it.
    #[error("may be read by others (mode {0:04o}); set it to 0600")]
    Mode(u32),
    /// Others than its owner may write it, or put other files into it.
    #[error("may be changed by others (mode {0:04o}); set it to {right:04o}", right = .0 & !0o022)]
    Writable(u32),
    /// The CA's key is not here; its certificates are renewed elsewhere.
    #[error("the CA's key is not here; issue and renew where it is kept")]
    NoAuthorityKey,
    /// There is no certificate yet: a CA whose key is elsewhere is to sign the request of this file.
    #[error("awaits its certificate; have {0} signed by its CA, then pki accept")]
    Awaited(String),
    /// A CA whose key is elsewhere is to sign the next certificate.
    #[error("is to be replaced; have {0} signed by its CA, then pki accept")]
    RenewalAwaited(String),
    /// There is no certificate, and no request for one.
    #[error("is not there, and no request for it; pki issue writes {0}")]
    Unrequested(String),
    /// The request is for another key than that of the role.
    #[error("has {request} for another key than {name}.key; pki renew {name} writes it again")]
    ForeignRequest {
        /// The role.
        name: String,
        /// The request's file.
        request: String,
    },
    /// It is somebody else's.
    #[error("is for {found}, its role is {expected}; issue it again")]
    Subject {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// It must sign others, and may not.
    #[error("is no CA that may sign: basic constraints or key usage lack it; replace it")]
    NoAuthority,
    /// It may sign others, and must not.
    #[error("may sign others as a CA, which its role must not; issue it again")]
    UnwantedAuthority,
    /// Its root signature is not its own, or its parent did not sign it.
    #[error("is not signed by its own key or its parent's; write the CA's file again")]
    AuthoritySignature,
    /// Its key or its signature is not taken.
    #[error("{0}")]
    Weak(Weakness),
    /// It lacks an extended key usage.
    #[error("has no extended key usage {0}; issue it again")]
    MissingUsage(Role),
    /// It has an extended key usage that its role has no use for.
    #[error("has extended key usage {0}, which its role does not need")]
    UnwantedUsage(Role),
    /// It may not sign handshakes.
    #[error("may not sign handshakes: key usage lacks it; issue it again")]
    NoDigitalSignature,
    /// It does not cover a name that its role is called by.
    #[error("does not cover {0}; renew it, which adds its role's names")]
    MissingName(HostAddress),
    /// It covers no name at all.
    #[error(
        "has no DNS name or IP address as subject alternative name, so that nobody accepts it as a \
         server's; issue it again"
    )]
    Nameless,
    /// It covers a name that its role does not have.
    #[error("covers {0}, which its role does not have; issue it again without it")]
    ForeignName(String),
    /// No path leads to its CA.
    #[error("{}; issue it again", ChainText { cause, authority })]
    Chain {
        /// Why.
        cause: Cause,
        /// The CA's file.
        authority: String,
    },
    /// Its time.
    #[error("{0}")]
    Validity(NoteKind),
    /// What is embedded here is not what stands in its own file.
    #[error("embeds another certificate or key than {0}; renew to write it again")]
    Stale(String),
    /// The two halves of a key pair are not of one pair.
    #[error("is not the public half of sa.key; write both again")]
    KeyPair,
    /// What others sign by is not this CA.
    #[error("{0} begins with another CA; write both files again")]
    SignerChain(String),
    /// It is being replaced.
    #[error("is being rotated, stage {0}; go on with pki rotate-ca")]
    Rotation(Stage),
    /// A kubeconfig's own flaw.
    #[error("{0}")]
    Kubeconfig(crate::kubeconfig::Flaw),
}

impl Flaw {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match self {
            Self::NoAuthorityKey
            | Self::RenewalAwaited(_)
            | Self::UnwantedUsage(_)
            | Self::ForeignName(_)
            | Self::Rotation(_)
            | Self::Validity(NoteKind::ExpiresSoon(_)) => Severity::Warning,
            Self::Kubeconfig(flaw) => flaw.severity(),
            _ => Severity::Error,
        }
    }
}

/// Why no path leads to a CA.
pub(super) struct ChainText<'a> {
    pub(super) cause: &'a Cause,
    pub(super) authority: &'a str,
}

impl fmt::Display for ChainText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cause, authority } = self;
        match cause {
            Cause::SelfSigned => write!(f, "is signed by itself, not by {authority}"),
            Cause::UnknownIssuer => write!(f, "is not signed by a CA of {authority}"),
            Cause::IssuerSignature => {
                write!(
                    f,
                    "is signed by another key than that of the CA in {authority}"
                )
            }
            Cause::IssuerExpired => write!(f, "is signed by a CA in {authority} that has expired"),
            Cause::IssuerNotYetValid => {
                write!(f, "is signed by a CA in {authority} that is not valid yet")
            }
            Cause::WeakSignature => f.write_str("is signed by an algorithm that is not trusted"),
            Cause::NameConstraint => {
                write!(f, "has names that the CA in {authority} may not sign for")
            }
            Cause::Unusable(error) => {
                write!(f, "cannot be verified against {authority} ({error:?})")
            }
            other => write!(f, "fails against {authority} ({})", other.as_str()),
        }
    }
}

/// What is judged, and against what.
pub(super) struct Judged<'a> {
    pub(super) profile: &'a Profile,
    /// The certificate, and what is sent with it.
    pub(super) chain: &'a [CertificateDer<'static>],
    /// The CAs that its verifiers trust; for a CA, what may have signed it.
    pub(super) authorities: &'a [CertificateDer<'static>],
    pub(super) now: SystemTime,
}

impl Judged<'_> {
    /// Tells all flaws. The chain must not be empty, and its first certificate be `facts`.
    pub(super) fn flaws(&self, facts: &CertificateFacts) -> Vec<Flaw> {
        let end = SystemTime::from(facts.not_after);
        if self.profile.is_break_glass() && self.now > end {
            // That is what it is for.
            return Judged { now: end, ..*self }.flaws(facts);
        }
        let mut flaws = Vec::new();
        let file = FileRef::new(self.profile.certificate_file(), "");
        if let Some(note) = note(&file, facts, self.now)
            && !(self.profile.is_break_glass() && matches!(note.kind, NoteKind::ExpiresSoon(_)))
        {
            flaws.push(Flaw::Validity(note.kind));
        }
        if let Some(weakness) = facts.weakness() {
            flaws.push(Flaw::Weak(weakness.clone()));
        }
        self.subject(facts, &mut flaws);
        if self.profile.usage == Usage::Authority {
            if !facts.authority || !facts.usage.sign_certificates {
                flaws.push(Flaw::NoAuthority);
            }
            if !self.signed_by_itself_or_parent() {
                flaws.push(Flaw::AuthoritySignature);
            }
            return flaws;
        }
        self.usages(facts, &mut flaws);
        self.names(facts, &mut flaws);
        if let Err(cause) = self.path(facts) {
            // A usage that is missing was told in its own words.
            if cause != Cause::WrongKeyUsage && cause != Cause::AuthorityAsServer {
                let authority = format!("{}.crt", self.profile.authority());
                flaws.push(Flaw::Chain { cause, authority });
            }
        }
        flaws
    }

    fn subject(&self, facts: &CertificateFacts, flaws: &mut Vec<Flaw>) {
        let Profile {
            common_name,
            organizations,
            usage,
            ..
        } = self.profile;
        let mut found = facts.subject.organizations.clone();
        let mut wanted = organizations.clone();
        found.sort();
        wanted.sort();
        let name = facts.subject.common_name.as_deref();
        // A CA that existed before has a name of its own.
        let fits = *usage == Usage::Authority || name == Some(common_name) && found == wanted;
        if !fits {
            let expected = crate::certificate::Subject {
                common_name: Some(common_name.clone()),
                organizations: organizations.clone(),
                uid: None,
            };
            flaws.push(Flaw::Subject {
                found: facts.subject.to_string(),
                expected: expected.to_string(),
            });
        }
    }

    fn usages(&self, facts: &CertificateFacts, flaws: &mut Vec<Flaw>) {
        let usage = self.profile.usage;
        let both = [
            (Role::Server, usage.server(), facts.usage.server),
            (Role::Client, usage.client(), facts.usage.client),
        ];
        for (role, wanted, found) in both {
            match (wanted, found) {
                (true, false) => flaws.push(Flaw::MissingUsage(role)),
                (false, true) => flaws.push(Flaw::UnwantedUsage(role)),
                _ => {}
            }
        }
        if !facts.usage.sign {
            flaws.push(Flaw::NoDigitalSignature);
        }
        if facts.authority {
            flaws.push(Flaw::UnwantedAuthority);
        }
    }

    fn names(&self, facts: &CertificateFacts, flaws: &mut Vec<Flaw>) {
        let Some(Ok(certificate)) = self.chain.first().map(EndEntityCert::try_from) else {
            return;
        };
        for name in &self.profile.names {
            // A wildcard is no name that a client asks for: it must stand there as it is.
            let literal = || facts.names.iter().any(|own| own == &name.to_string());
            let covered = server_name(name)
                .is_some_and(|name| certificate.verify_is_valid_for_subject_name(&name).is_ok());
            if !(covered || name.is_wildcard() && literal()) {
                flaws.push(Flaw::MissingName(name.clone()));
            }
        }
        if !self.profile.usage.server() {
            return;
        }
        for name in &facts.names {
            let known = certificate_name(name).is_ok_and(|name| self.profile.names.contains(&name));
            if !known {
                flaws.push(Flaw::ForeignName(name.clone()));
            }
        }
    }

    fn path(&self, facts: &CertificateFacts) -> Result<(), Cause> {
        let role = if self.profile.usage.server() {
            Role::Server
        } else {
            Role::Client
        };
        let mut authorities: Vec<_> = self.authorities.iter().collect();
        leads(self.chain, &authorities, self.now, role, facts)?;
        // webpki takes anchors as they are; openssl and Go do not take them expired.
        authorities.retain(|der| self.is_in_time(der));
        let valid = leads(self.chain, &authorities, self.now, role, facts);
        valid.map_err(|_| Cause::IssuerExpired)
    }

    fn is_in_time(&self, der: &CertificateDer<'_>) -> bool {
        CertificateFacts::read(der).is_ok_and(|facts| {
            let (start, end) = (facts.not_before, facts.not_after);
            SystemTime::from(start) <= self.now && self.now <= SystemTime::from(end)
        })
    }

    /// A root is signed by itself; another CA by one that is known to stand above it, or else
    /// nobody here can tell.
    fn signed_by_itself_or_parent(&self) -> bool {
        let Some(Ok((_, own))) = self.chain.first().map(|der| X509Certificate::from_der(der))
        else {
            return false;
        };
        if own.subject().as_raw() == own.issuer().as_raw() {
            return own.verify_signature(None).is_ok();
        }
        // The file that a CA was taken from has the CA itself, too, and it cannot be its own parent.
        let others = self.authorities.iter().chain(self.chain.iter().skip(1));
        let mut parents = others
            .filter(|der| Some(*der) != self.chain.first())
            .peekable();
        parents.peek().is_none()
            || parents.any(|der| {
                X509Certificate::from_der(der).is_ok_and(|(_, parent)| {
                    own.verify_signature(Some(parent.public_key())).is_ok()
                })
            })
    }
}

fn server_name(name: &HostAddress) -> Option<ServerName<'static>> {
    match name {
        HostAddress::Ip(ip) => Some(ServerName::IpAddress((*ip).into())),
        HostAddress::Dns(name) => ServerName::try_from(name.clone()).ok(),
    }
}
