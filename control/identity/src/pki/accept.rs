//! Takes certificates that a CA elsewhere signed: each for the role whose key it has, all or none.

use super::authority::is_self_signed;
use super::error::PkiError;
use super::judge::{ChainText, Flaw, Judged};
use super::maker::{Maker, external_chain};
use super::profile::Profile;
use super::refusal::{Place, Refusal};
use super::spec::Existing;
use super::tree::{Tree, Written, now};
use crate::certificate::CertificateFacts;
use crate::kubeconfig::Severity;
use crate::pem::{self, Fault, FileRef, NoteKind, PemError};
use rustls::pki_types::CertificateDer;
use std::path::{Path, PathBuf};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// How many CAs are sent behind a certificate: more are in no real chain, and a loop of CAs that
/// certify each other ends here.
const MAX_INTERMEDIATES: usize = 8;

/// What was accepted.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// What was written.
    pub written: Written,
    /// What is allowed, and probably not meant.
    pub warnings: Vec<String>,
}

/// A certificate that was given.
struct Given {
    place: Place,
    der: CertificateDer<'static>,
    facts: CertificateFacts,
}

/// A role with the key that its certificate must be for.
struct Role<'a> {
    profile: &'a Profile,
    spki: Vec<u8>,
}

/// A certificate that is what its role must have.
struct Chosen<'a> {
    profile: &'a Profile,
    given: &'a Given,
    chain: Vec<CertificateDer<'static>>,
}

/// What is taken of what was given, as far as it was judged.
struct Choice<'a> {
    tree: &'a Tree,
    roles: Vec<Role<'a>>,
    given: &'a [Given],
    chosen: Vec<Chosen<'a>>,
    refusals: Vec<Refusal>,
    warnings: Vec<String>,
}

impl<'a> Choice<'a> {
    fn judge(&mut self, given: &'a Given) -> Result<(), PkiError> {
        let Some(profile) = self.role(&given.facts) else {
            self.refusals.extend(stranger(given));
            return Ok(());
        };
        let taken = self.chosen.iter().find(|chosen| chosen.profile == profile);
        if taken.is_some_and(|chosen| chosen.given.der == given.der) {
            return Ok(());
        }
        let refuse = |problem: String| Refusal {
            given: Some(given.place.clone()),
            problem,
        };
        if let Some(chosen) = taken {
            let (name, other) = (&profile.name, &chosen.given.place);
            let problem = format!("is for {name}, and so is {other}; give one of them");
            self.refusals.push(refuse(problem));
            return Ok(());
        }
        if self.tree.is_in_place(profile, &given.der) {
            let (own, request) = (profile.certificate_file(), profile.request_file());
            let problem =
                format!("is what {own} has already; give the one that was signed for {request}");
            self.refusals.push(refuse(problem));
            return Ok(());
        }
        let chain = self.tree.chain(profile, given, self.given)?;
        for flaw in self.tree.judged(profile, &chain, &given.facts)? {
            let problem = refuse(demand(&flaw, profile));
            match flaw.severity() {
                Severity::Error => self.refusals.push(problem),
                Severity::Warning => self.warnings.push(problem.to_string()),
            }
        }
        self.chosen.push(Chosen {
            profile,
            given,
            chain,
        });
        Ok(())
    }

    /// The role whose key a certificate is for. Two have one key only if somebody copied it; then the
    /// subject tells them apart.
    fn role(&self, facts: &CertificateFacts) -> Option<&'a Profile> {
        let mut own = self.roles.iter().filter(|role| role.spki == facts.spki);
        let first = own.next()?.profile;
        let name = facts.subject.common_name.as_deref();
        let of_name = |profile: &&Profile| name == Some(&profile.common_name);
        let all = [first].into_iter().chain(own.map(|role| role.profile));
        Some(all.into_iter().find(of_name).unwrap_or(first))
    }
}

impl Tree {
    /// Installs certificates that CAs elsewhere signed, with the kubeconfigs that embed them, in place
    /// of their requests. Each file has any number of them, and what leads to their CA.
    ///
    /// # Errors
    /// A file cannot be read, or a certificate is for no key of the tree or not what its role must
    /// have: all of that at once. Nothing is changed.
    pub fn accept(self, files: &[PathBuf]) -> Result<Accepted, PkiError> {
        let given = read(files)?;
        let mut choice = Choice {
            tree: &self,
            roles: self.roles()?,
            given: &given,
            chosen: Vec::new(),
            refusals: Vec::new(),
            warnings: Vec::new(),
        };
        for each in &given {
            choice.judge(each)?;
        }
        let Choice {
            chosen,
            mut refusals,
            warnings,
            ..
        } = choice;
        if refusals.is_empty() && chosen.is_empty() {
            refusals.push(Refusal {
                given: None,
                problem: "the files have CAs only; give the certificates that were signed"
                    .to_owned(),
            });
        }
        if !refusals.is_empty() {
            return Err(PkiError::NotAccepted(refusals));
        }
        let mut maker = Maker::new(&self.plan, &self.dir, now());
        for Chosen { profile, chain, .. } in &chosen {
            maker.install(profile, chain)?;
        }
        Ok(Accepted {
            written: self.apply(&maker.into_change())?,
            warnings,
        })
    }

    /// Everything that is signed elsewhere and has a key.
    fn roles(&self) -> Result<Vec<Role<'_>>, PkiError> {
        let mut roles = Vec::new();
        for profile in self.plan.requested() {
            let file = self.file(&profile.name, profile.key_file());
            if !file.path.exists() {
                continue;
            }
            roles.push(Role {
                profile,
                spki: self.own_key(&file)?.spki().to_vec(),
            });
        }
        Ok(roles)
    }

    /// Says whether this certificate is the one that a request is to replace.
    fn is_in_place(&self, profile: &Profile, der: &CertificateDer<'_>) -> bool {
        let file = self.file(&profile.name, profile.certificate_file());
        let own = pem::certificates(&file);
        self.waits(profile) && own.is_ok_and(|own| own.first() == Some(der))
    }

    /// A certificate with what leads from it to a root: of what was given with it, and of what the
    /// file of its CA has besides the CA. Roots are not sent: a peer that trusts one has it.
    fn chain(
        &self,
        profile: &Profile,
        leaf: &Given,
        given: &[Given],
    ) -> Result<Vec<CertificateDer<'static>>, PkiError> {
        let mut pool: Vec<_> = given.iter().map(|each| each.der.clone()).collect();
        let authority = profile.authority();
        if let (Some(ca), Some(Existing::External(file))) =
            (self.plan.profile(authority), self.plan.existing(authority))
        {
            pool.extend(external_chain(ca, file)?);
        }
        let mut chain = vec![leaf.der.clone()];
        while chain.len() <= MAX_INTERMEDIATES {
            let last = chain.last();
            let is_next = |der: &&CertificateDer<'static>| {
                !chain.contains(der)
                    && !is_self_signed(der)
                    && last.is_some_and(|last| signs(der, last))
            };
            let Some(next) = pool.iter().find(is_next) else {
                break;
            };
            let next = next.clone();
            chain.push(next);
        }
        Ok(chain)
    }

    fn judged(
        &self,
        profile: &Profile,
        chain: &[CertificateDer<'static>],
        facts: &CertificateFacts,
    ) -> Result<Vec<Flaw>, PkiError> {
        let authority = profile.authority();
        let bundle = self.file(authority, format!("{authority}.crt"));
        let judged = Judged {
            profile,
            chain,
            authorities: &pem::certificates(&bundle)?,
            now: now().into(),
        };
        Ok(judged.flaws(facts))
    }
}

fn read(files: &[PathBuf]) -> Result<Vec<Given>, PkiError> {
    let mut given = Vec::new();
    for path in files {
        let file = FileRef::new("FILE", path);
        for (index, der) in pem::certificates(&file)?.into_iter().enumerate() {
            let number = index + 1;
            let facts = CertificateFacts::read(&der)
                .map_err(|problem| PemError::new(&file, Fault::BadCertificate(number, problem)))?;
            given.push(Given {
                place: place(path, number, &facts),
                der,
                facts,
            });
        }
    }
    Ok(given)
}

fn place(file: &Path, number: usize, facts: &CertificateFacts) -> Place {
    Place {
        file: file.to_owned(),
        number,
        subject: facts.subject.to_string(),
    }
}

/// Refuses a certificate that is for no key here, unless it may lead to others.
fn stranger(given: &Given) -> Option<Refusal> {
    (!given.facts.authority).then(|| Refusal {
        given: Some(given.place.clone()),
        problem: "is for none of the keys that await a certificate here; have the CA sign the \
                  requests of this directory as they are, with their keys"
            .to_owned(),
    })
}

/// Says whether one certificate is by name and signature that of the issuer of another.
fn signs(issuer: &CertificateDer<'_>, of: &CertificateDer<'_>) -> bool {
    let (Ok((_, issuer)), Ok((_, of))) = (
        X509Certificate::from_der(issuer),
        X509Certificate::from_der(of),
    ) else {
        return false;
    };
    issuer.subject().as_raw() == of.issuer().as_raw()
        && of.verify_signature(Some(issuer.public_key())).is_ok()
}

/// What is wrong with a certificate for a role, and what to ask its CA for.
fn demand(flaw: &Flaw, profile: &Profile) -> String {
    let request = profile.request_file();
    let name = &profile.name;
    match flaw {
        Flaw::Subject { found, expected } => format!(
            "is for {found}, and {name} is {expected}; ask the CA for the whole subject of {request}"
        ),
        Flaw::MissingName(host) => format!(
            "does not cover {host}, which {name} must; ask the CA to take over the subject \
             alternative names of {request}"
        ),
        Flaw::ForeignName(host) => {
            format!("covers {host}, which {name} does not have; ask the CA for no other names")
        }
        Flaw::MissingUsage(role) => format!(
            "has no extended key usage {role}, which {name} must; ask the CA to take over that of \
             {request}"
        ),
        Flaw::UnwantedUsage(role) => {
            format!(
                "has extended key usage {role}, which {name} does not need; ask the CA for none"
            )
        }
        Flaw::NoDigitalSignature => {
            format!("may not sign handshakes; ask the CA to take over the key usage of {request}")
        }
        Flaw::UnwantedAuthority => {
            format!("may sign others as a CA, which {name} must not; ask the CA for CA:FALSE")
        }
        Flaw::Chain { cause, authority } => {
            let text = ChainText { cause, authority };
            format!(
                "{text}; ask the CA of {authority} to sign {request}, and give the CAs in between, too"
            )
        }
        Flaw::Validity(NoteKind::Expired(_)) => {
            format!("has expired; have {request} signed again")
        }
        Flaw::Validity(NoteKind::ExpiresSoon(_)) => {
            "expires within a week; ask the CA for a longer time".to_owned()
        }
        other => other.to_string(),
    }
}
