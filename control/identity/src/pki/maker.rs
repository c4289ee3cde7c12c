//! Makes keys, certificates and kubeconfigs in memory, each checked before anybody writes it.

use super::authority::{self, Authority};
use super::cross;
use super::error::PkiError;
use super::files::{Change, File};
use super::inventory;
use super::issue::{self, Request};
use super::judge::Judged;
use super::key::{self, SigningKey};
use super::plan::{INVENTORY_FILE, Plan, SERVICE_ACCOUNT_KEY, SERVICE_ACCOUNT_PUBLIC, SPEC_FILE};
use super::profile::{CLUSTER_CA, Profile, Usage};
use super::spec::{Existing, Pair};
use crate::certificate::CertificateFacts;
use crate::kubeconfig::Severity;
use crate::kubeconfig::{Credential, Kubeconfig, Source};
use crate::pem::{self, FileRef, PrivateKey};
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// Which key a renewed certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewedKey {
    /// A new one, which the holder must load together with the certificate.
    New,
    /// The one that is there, whatever it is made of.
    Kept,
}

/// Makes files for one plan at one time; nothing is written.
pub(super) struct Maker<'a> {
    pub(super) plan: &'a Plan,
    pub(super) dir: PathBuf,
    now: OffsetDateTime,
    authorities: HashMap<String, Arc<Authority>>,
    /// What verifiers trust, where it is not what stands in the tree.
    bundles: HashMap<String, Vec<CertificateDer<'static>>>,
    made: HashMap<String, Made>,
    pub(super) files: Vec<File>,
    /// What the new files take the place of.
    pub(super) remove: Vec<String>,
}

/// A certificate as its file will have it.
struct Made {
    chain: String,
    key: Zeroizing<String>,
}

impl<'a> Maker<'a> {
    /// `dir` is where to look for what is not made here.
    pub(super) fn new(plan: &'a Plan, dir: &Path, now: OffsetDateTime) -> Self {
        Self {
            plan,
            dir: dir.to_owned(),
            now,
            authorities: HashMap::new(),
            bundles: HashMap::new(),
            made: HashMap::new(),
            files: Vec::new(),
            remove: Vec::new(),
        }
    }

    /// Lets `name` be signed for by another CA than that of the tree.
    pub(super) fn sign_by(&mut self, name: &str, authority: Arc<Authority>) {
        self.authorities.insert(name.to_owned(), authority);
    }

    /// Lets verifiers trust other CAs for `name` than the tree says.
    pub(super) fn trust(&mut self, name: &str, bundle: Vec<CertificateDer<'static>>) {
        let text = pem::encode(&bundle);
        self.files.push(File::public(format!("{name}.crt"), text));
        self.bundles.insert(name.to_owned(), bundle);
    }

    /// Writes down what a CA signs with, for those who sign by it outside of the tree.
    pub(super) fn make_chain(&mut self, profile: &Profile, authority: &Authority) {
        let text = pem::encode(&authority.chain());
        self.files.push(File::public(profile.chain_file(), text));
    }

    /// Everything that was made.
    pub(super) fn into_files(self) -> Vec<File> {
        self.files
    }

    /// Everything that was made, and what goes for it.
    pub(super) fn into_change(self) -> Change {
        Change {
            files: self.files,
            remove: self.remove,
        }
    }

    /// Makes a certificate with a new key, and its kubeconfig; a request, if its CA is external.
    pub(super) fn make(&mut self, profile: &Profile) -> Result<(), PkiError> {
        match self.plan.existing(&profile.name) {
            Some(Existing::Signs(pair)) => return self.adopt(profile, pair),
            Some(Existing::External(file)) => return self.adopt_certificate(profile, file),
            None if self.plan.is_requested(profile) => return self.request_by_new_key(profile),
            None => {}
        }
        let failed = |source| PkiError::Issue(profile.name.clone(), source);
        let request = issue::from_profile(profile).map_err(failed)?;
        self.finish_by_new_key(profile, request)
    }

    fn finish_by_new_key(&mut self, profile: &Profile, request: Request) -> Result<(), PkiError> {
        let failed = |source| PkiError::Issue(profile.name.clone(), source);
        let new = key::generate(self.plan.spec.keys).map_err(failed)?;
        let secret = new.pem.clone();
        self.files.push(File::secret(profile.key_file(), new.pem));
        self.finish(profile, request, &new.key, secret)
    }

    /// Signs again what stands in a certificate of the tree. If its CA is external, makes the request
    /// for that, by the key that is there.
    pub(super) fn renew(&mut self, profile: &Profile, key: RenewedKey) -> Result<(), PkiError> {
        if self.plan.is_requested(profile) {
            return self.request_by_kept_key(profile);
        }
        let failed = |source| PkiError::Issue(profile.name.clone(), source);
        let chain = pem::certificates(&self.file(profile, profile.certificate_file()))?;
        let request = issue::from_certificate(&chain[0], profile).map_err(failed)?;
        match key {
            RenewedKey::New => self.finish_by_new_key(profile, request),
            RenewedKey::Kept => {
                let file = self.file(profile, profile.key_file());
                let (kept, text) = (PrivateKey::load(&file)?, pem::text(&file)?);
                self.finish(profile, request, &kept, text)
            }
        }
    }

    /// Makes a CA that takes nobody's place yet, and gives it with its key.
    pub(super) fn make_authority(
        &self,
        profile: &Profile,
    ) -> Result<(Authority, Zeroizing<String>), PkiError> {
        let failed = |source| PkiError::Issue(profile.name.clone(), source);
        let new = key::generate(self.plan.spec.keys).map_err(failed)?;
        let request = issue::from_profile(profile).map_err(failed)?;
        let chain = self.sign(profile, request, &new.key, None)?;
        let authority = Authority::new(chain, &new.key);
        Ok((
            authority.map_err(|source| refused(profile, source))?,
            new.pem,
        ))
    }

    /// Makes the service-account key pair.
    pub(super) fn make_service_account_key(&mut self) -> Result<(), PkiError> {
        let algorithm = self.plan.spec.keys.for_service_accounts();
        let new = key::generate(algorithm)
            .map_err(|source| PkiError::Issue(SERVICE_ACCOUNT_KEY.to_owned(), source))?;
        self.files
            .push(File::secret(SERVICE_ACCOUNT_KEY.to_owned(), new.pem));
        let public = SERVICE_ACCOUNT_PUBLIC.to_owned();
        self.files.push(File::public(public, new.public_pem));
        Ok(())
    }

    /// Writes down what the tree is made from.
    pub(super) fn make_documents(&mut self) {
        let spec = &self.plan.spec;
        let nodes = inventory::render(&spec.nodes);
        self.files
            .push(File::public(INVENTORY_FILE.to_owned(), nodes));
        let text = super::render::render(spec);
        self.files.push(File::public(SPEC_FILE.to_owned(), text));
    }

    /// Makes the kubeconfig of a certificate, made here or standing in the tree.
    pub(super) fn make_kubeconfig(&mut self, profile: &Profile) -> Result<(), PkiError> {
        let Some(name) = profile.kubeconfig_file() else {
            return Ok(());
        };
        let bundle = self.bundle(CLUSTER_CA)?;
        let (chain, key) = match self.made.get(&profile.name) {
            Some(made) => (made.chain.clone(), made.key.clone()),
            None => (
                pem::text(&self.file(profile, profile.certificate_file()))?.to_string(),
                pem::text(&self.file(profile, profile.key_file()))?,
            ),
        };
        let cluster = &self.plan.spec.cluster;
        let config = Kubeconfig {
            cluster: cluster.name.clone(),
            server: cluster.server.to_string(),
            tls_server_name: None,
            namespace: None,
            user: profile.common_name.clone(),
            authority: Some(Source::Data(pem::encode(&bundle).into())),
            credential: Credential::Certificate {
                certificate: Source::Data(chain.into()),
                key: Source::Data(key),
            },
        };
        self.files.push(File::secret(name, config.render()));
        Ok(())
    }

    /// Takes over a CA that exists: its certificate is trusted here, its key stays where it is.
    fn adopt(&mut self, profile: &Profile, pair: &Pair) -> Result<(), PkiError> {
        let authority = load_pair(profile, pair)?;
        let bundle = vec![authority.certificate().clone()];
        self.trust(&profile.name, bundle);
        self.make_chain(profile, &authority);
        self.sign_by(&profile.name, Arc::new(authority));
        Ok(())
    }

    /// Takes over the certificate of a CA whose key is elsewhere.
    fn adopt_certificate(&mut self, profile: &Profile, file: &Path) -> Result<(), PkiError> {
        let chain = external_chain(profile, file)?;
        let bundle = vec![chain[0].clone()];
        self.check(profile, &bundle)?;
        self.trust(&profile.name, bundle);
        self.remove.push(profile.chain_file());
        Ok(())
    }

    /// Puts a certificate that was signed elsewhere, with what is sent behind it, into its place, and
    /// into the kubeconfig.
    pub(super) fn install(
        &mut self,
        profile: &Profile,
        chain: &[CertificateDer<'static>],
    ) -> Result<(), PkiError> {
        let key = pem::text(&self.file(profile, profile.key_file()))?;
        self.remove.push(profile.request_file());
        self.put(profile, pem::encode(chain), key)
    }

    /// Puts a certificate into its place, and into the kubeconfig.
    fn put(
        &mut self,
        profile: &Profile,
        chain: String,
        key: Zeroizing<String>,
    ) -> Result<(), PkiError> {
        let file = File::public(profile.certificate_file(), chain.clone());
        self.files.push(file);
        self.made.insert(profile.name.clone(), Made { chain, key });
        self.make_kubeconfig(profile)
    }

    fn finish(
        &mut self,
        profile: &Profile,
        request: Request,
        key: &PrivateKey,
        secret: Zeroizing<String>,
    ) -> Result<(), PkiError> {
        let authority = match profile.usage {
            Usage::Authority => None,
            _ => Some(self.authority(profile.authority())?),
        };
        let chain = self.sign(profile, request, key, authority)?;
        let text = if profile.usage == Usage::Authority {
            let authority = Authority::new(chain.clone(), key);
            let authority = authority.map_err(|source| refused(profile, source))?;
            self.make_chain(profile, &authority);
            self.sign_by(&profile.name, Arc::new(authority));
            // What is above it is none of its verifiers' business: they trust this CA alone.
            self.bundles
                .insert(profile.name.clone(), vec![chain[0].clone()]);
            pem::encode(&chain[..1])
        } else {
            pem::encode(&chain)
        };
        self.check(profile, &chain)?;
        self.put(profile, text, secret)
    }

    fn sign(
        &self,
        profile: &Profile,
        request: Request,
        key: &PrivateKey,
        authority: Option<Arc<Authority>>,
    ) -> Result<Vec<CertificateDer<'static>>, PkiError> {
        let key = self.signing_key(profile, key)?;
        let lifetimes = &self.plan.spec.lifetimes;
        let (authority, lifetime) = match (profile.usage, authority) {
            (Usage::Authority, _) => (self.parent(profile)?, lifetimes.authorities),
            (_, authority) if profile.is_break_glass() => (authority, lifetimes.break_glass),
            (_, authority) => (authority, lifetimes.certificates),
        };
        issue::sign(
            &profile.name,
            request,
            &key,
            authority.as_deref(),
            lifetime,
            self.now,
        )
    }

    pub(super) fn signing_key(
        &self,
        profile: &Profile,
        key: &PrivateKey,
    ) -> Result<SigningKey, PkiError> {
        let file = self.file(profile, profile.key_file());
        let unsupported = |_| pem::PemError::new(&file, pem::Fault::UnsupportedKey);
        Ok(SigningKey::new(key).map_err(unsupported)?)
    }

    /// Refuses to publish what its role would refuse.
    fn check(&self, profile: &Profile, chain: &[CertificateDer<'static>]) -> Result<(), PkiError> {
        let authorities = match profile.usage {
            Usage::Authority => Vec::new(),
            _ => self.bundle(profile.authority())?,
        };
        let facts = CertificateFacts::read(&chain[0])
            .map_err(|problem| PkiError::Unreadable(profile.name.clone(), problem))?;
        let judged = Judged {
            profile,
            chain,
            authorities: &authorities,
            now: self.now.into(),
        };
        let flaws = judged.flaws(&facts).into_iter();
        match flaws
            .into_iter()
            .find(|flaw| flaw.severity() == Severity::Error)
        {
            None => Ok(()),
            Some(flaw) => Err(PkiError::Rejected(profile.name.clone(), Box::new(flaw))),
        }
    }

    /// The CA that signs for `name`: made here, existing elsewhere, or standing in the tree.
    fn authority(&mut self, name: &str) -> Result<Arc<Authority>, PkiError> {
        if let Some(known) = self.authorities.get(name) {
            return Ok(Arc::clone(known));
        }
        let unknown = || PkiError::NoSuchName(name.to_owned());
        let profile = self.plan.profile(name).ok_or_else(unknown)?;
        let authority = match self.plan.existing(name) {
            Some(Existing::Signs(pair)) => load_pair(profile, pair)?,
            Some(Existing::External(_)) => {
                return Err(PkiError::ExternalAuthority(name.to_owned()));
            }
            None => {
                let certificate = self.file(profile, profile.certificate_file());
                let key = self.file(profile, profile.key_file());
                self.load(profile, &certificate, &key, &self.crosses(profile)?)?
            }
        };
        let authority = Arc::new(authority);
        self.sign_by(name, Arc::clone(&authority));
        Ok(authority)
    }

    /// Loads a CA that was made here once; behind what it signs go certificates of it by other CAs.
    pub(super) fn load(
        &self,
        profile: &Profile,
        certificate: &FileRef,
        key: &FileRef,
        crosses: &[CertificateDer<'static>],
    ) -> Result<Authority, PkiError> {
        // During a rotation the file trusts two; the first one signs.
        let mut chain = pem::certificates(certificate)?;
        chain.truncate(1);
        chain.extend(self.above(profile)?);
        chain.extend_from_slice(crosses);
        let key = PrivateKey::load(key)?;
        Authority::new(chain, &key).map_err(|source| refused(profile, source))
    }

    /// What CAs before it say of the CA that signs in the tree, as its chain file has it.
    pub(super) fn crosses(
        &self,
        profile: &Profile,
    ) -> Result<Vec<CertificateDer<'static>>, PkiError> {
        let own = pem::certificates(&self.file(profile, profile.certificate_file()))?;
        let above = self.above(profile)?;
        let chain = self.file(profile, profile.chain_file());
        cross::kept(&chain, &own[0], &above, self.now)
    }

    /// What leads from a CA to the root above it.
    fn above(&self, profile: &Profile) -> Result<Vec<CertificateDer<'static>>, PkiError> {
        let parent = self.parent(profile)?;
        Ok(parent.map_or_else(Vec::new, |parent| parent.intermediates().to_vec()))
    }

    /// What signs a CA, unless it signs itself.
    fn parent(&self, profile: &Profile) -> Result<Option<Arc<Authority>>, PkiError> {
        let Some(pair) = &self.plan.spec.authorities.parent else {
            return Ok(None);
        };
        load_pair(profile, pair).map(|parent| Some(Arc::new(parent)))
    }

    /// What verifiers of the certificates of `name` trust.
    pub(super) fn bundle(&self, name: &str) -> Result<Vec<CertificateDer<'static>>, PkiError> {
        if let Some(bundle) = self.bundles.get(name) {
            return Ok(bundle.clone());
        }
        let path = self.dir.join(format!("{name}.crt"));
        Ok(pem::certificates(&FileRef::new(name, path))?)
    }

    pub(super) fn file(&self, profile: &Profile, name: String) -> FileRef {
        FileRef::new(&profile.name, self.dir.join(name))
    }
}

fn load_pair(profile: &Profile, pair: &Pair) -> Result<Authority, PkiError> {
    let field = |end: &str| format!("authorities, {}: {end}", profile.name);
    let certificate = FileRef::new(field("certFile"), &pair.certificate);
    let key = FileRef::new(field("keyFile"), &pair.key);
    Authority::load(&certificate, &key).map_err(|source| refused(profile, source))
}

/// The certificate of a CA whose key is elsewhere, with what its file has besides.
pub(super) fn external_chain(
    profile: &Profile,
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let field = format!("authorities, {}: certFile", profile.name);
    let chain = pem::certificates(&FileRef::new(field, file));
    let refused = |source| PkiError::TakeOver(profile.name.clone(), Box::new(source));
    let chain = chain.map_err(|error| refused(error.into()))?;
    authority::may_sign(&chain).map_err(refused)?;
    Ok(chain)
}

fn refused(profile: &Profile, source: super::AuthorityError) -> PkiError {
    PkiError::Authority(profile.name.clone(), Box::new(source))
}
