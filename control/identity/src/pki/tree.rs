//! A directory that `pki init` filled: opened for one command at a time.

use super::disk::{Disk, Lock, Os};
use super::error::PkiError;
use super::files::{self, Change};
use super::kubeadm;
use super::maker::{Maker, RenewedKey};
use super::plan::{Plan, SPEC_FILE, conflicts};
use super::profile::{CLUSTER_CA, Profile, Usage};
use super::request::{self, PendingRequest};
use super::spec::{AgentName, BreakGlassUser, NodeSpec, Spec, UserSpec};
use crate::certificate::CertificateFacts;
use crate::document::Document;
use crate::pem::{self, FileRef};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use time::OffsetDateTime;

/// A tree that nobody else changes while this exists.
#[derive(derive_more::Debug)]
#[debug("Tree({dir:?})")]
pub struct Tree {
    pub(super) dir: PathBuf,
    pub(super) plan: Plan,
    /// Whether the plan says all that the directory shall hold.
    pub(super) planned: bool,
    pub(super) disk: Box<dyn Disk>,
    _lock: Lock,
}

/// Which certificates a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All that can be meant.
    All,
    /// Those that have lived two thirds of their time.
    Due,
    /// These.
    Names(Vec<String>),
}

/// A client of the tree.
pub(crate) struct Client {
    pub(crate) user: String,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// What was written.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// File names in the tree, in the order of making.
    pub files: Vec<String>,
    /// All requests that wait for a CA whose key is elsewhere.
    pub pending: Vec<PendingRequest>,
}

/// What becomes part of a tree.
#[derive(Clone, Debug, Default)]
pub struct Added {
    /// Nodes (`--node`).
    pub nodes: Vec<NodeSpec>,
    /// Users (`--user`).
    pub users: Vec<UserSpec>,
    /// Agents of tunnels (`--agent`).
    pub agents: Vec<AgentName>,
    /// Users who may break glass (`--break-glass`); those who are part of it already get another
    /// certificate.
    pub break_glass: Vec<BreakGlassUser>,
}

impl Added {
    fn is_empty(&self) -> bool {
        let Self {
            nodes,
            users,
            agents,
            break_glass,
        } = self;
        nodes.is_empty() && users.is_empty() && agents.is_empty() && break_glass.is_empty()
    }
}

impl Tree {
    /// Opens a tree; finishes a change that was interrupted.
    ///
    /// # Errors
    /// It is not there, another process has it, or its document is wrong.
    pub fn open(dir: &Path, config: Option<&Path>) -> Result<Self, PkiError> {
        let lock = Lock::take(dir)?;
        files::recover(&Os, dir)?;
        let own = dir.join(SPEC_FILE);
        let file = config.unwrap_or(&own);
        if config.is_none() && !own.exists() {
            return Err(PkiError::NoDocument(dir.to_owned()));
        }
        let spec = Spec::load(file)?.config;
        Ok(Self {
            dir: dir.to_owned(),
            plan: Plan::new(spec),
            planned: true,
            disk: Box::new(Os),
            _lock: lock,
        })
    }

    /// Opens a directory to look at it: a tree, or what kubeadm filled.
    ///
    /// # Errors
    /// As [`Tree::open`]; without a document, no file has a name of kubeadm's.
    pub fn open_to_inspect(dir: &Path, config: Option<&Path>) -> Result<Self, PkiError> {
        if config.is_some() || dir.join(SPEC_FILE).exists() {
            return Self::open(dir, config);
        }
        let lock = Lock::take(dir)?;
        let none = || PkiError::NoDocument(dir.to_owned());
        Ok(Self {
            dir: dir.to_owned(),
            plan: kubeadm::plan(dir)?.ok_or_else(none)?,
            planned: false,
            disk: Box::new(Os),
            _lock: lock,
        })
    }

    /// Makes certificates that are not there yet, among them those of `added`, which becomes
    /// part of the tree's document. What waits for a CA whose key is elsewhere is left alone.
    ///
    /// # Errors
    /// A name is unknown or its files exist, a CA cannot sign, or writing fails; nothing is changed.
    pub fn issue(
        mut self,
        names: &[String],
        added: &Added,
        force: bool,
    ) -> Result<Written, PkiError> {
        let mut selected = self.selected(names)?;
        let old = self.plan.profiles.clone();
        let mut spec = self.plan.spec.clone();
        spec.nodes.extend_from_slice(&added.nodes);
        spec.users.extend_from_slice(&added.users);
        spec.agents.extend_from_slice(&added.agents);
        for user in &added.break_glass {
            if self.plan.spec.break_glass.contains(user) {
                selected.extend(self.plan.profile(&user.file_name()).cloned());
            } else {
                spec.break_glass.push(user.clone());
            }
        }
        let problems = conflicts(&spec);
        if !problems.is_empty() {
            let problems = problems.into_iter().map(Into::into);
            return Err(PkiError::Options(problems.collect()));
        }
        self.plan = Plan::new(spec);
        let new = self
            .plan
            .profiles
            .iter()
            .filter(|profile| !old.contains(profile));
        selected.extend(new.cloned());
        let missing = |profile: &&Profile| {
            !profile.is_break_glass() && !self.has_certificate(profile) && !self.waits(profile)
        };
        if names.is_empty() && added.is_empty() {
            selected = self.plan.profiles.iter().filter(missing).cloned().collect();
        }
        let mut file_names = Vec::new();
        // A request that was lost is made for the key that is there.
        let (kept, made): (Vec<Profile>, Vec<Profile>) = selected
            .into_iter()
            .partition(|profile| !force && self.lacks_request(profile));
        // Those for break-glass take the place of others that have expired.
        for profile in made.iter().filter(|profile| !profile.is_break_glass()) {
            file_names.push(profile.certificate_file());
            file_names.push(profile.key_file());
            if self.plan.is_requested(profile) {
                file_names.push(profile.request_file());
            }
            if profile.usage == Usage::Authority {
                file_names.push(profile.chain_file());
            }
        }
        files::refuse_existing(&self.dir, &file_names, force)?;
        let mut maker = Maker::new(&self.plan, &self.dir, now());
        for profile in &made {
            maker.make(profile)?;
        }
        for profile in &kept {
            maker.request_by_kept_key(profile)?;
        }
        if !added.is_empty() {
            maker.make_documents();
        }
        self.apply(&maker.into_change())
    }

    /// Signs certificates again, with their subjects and names, and writes their kubeconfigs. Where
    /// the CA's key is elsewhere, writes a request for the key that is there, whatever `key` says.
    ///
    /// # Errors
    /// A name is unknown or a CA's, a file is missing, a CA cannot sign, or writing fails; nothing
    /// is changed.
    pub fn renew(self, selection: &Selection, key: RenewedKey) -> Result<Written, PkiError> {
        let selected = match selection {
            Selection::Names(names) => self.selected(names)?,
            Selection::All | Selection::Due => self.plan.profiles.clone(),
        };
        let named = matches!(selection, Selection::Names(_));
        let mut maker = Maker::new(&self.plan, &self.dir, now());
        for profile in &selected {
            if profile.usage == Usage::Authority {
                if named {
                    let name = profile.name.clone();
                    return Err(PkiError::RenewAuthority(name));
                }
                continue;
            }
            if !named && profile.is_break_glass() {
                continue;
            }
            if *selection == Selection::Due && !self.is_due(profile)? {
                continue;
            }
            maker.renew(profile, key)?;
        }
        self.apply(&maker.into_change())
    }

    /// All requests that wait for a CA whose key is elsewhere.
    pub fn pending(&self) -> Vec<PendingRequest> {
        request::pending(&self.plan, &self.dir)
    }

    /// Says whether a certificate has a request that a CA elsewhere is to sign.
    pub(super) fn waits(&self, profile: &Profile) -> bool {
        self.plan.is_requested(profile) && self.dir.join(profile.request_file()).exists()
    }

    /// Says whether a certificate is in use: one for break-glass may be gone, or have ended.
    pub(super) fn is_live(&self, profile: &Profile, now: SystemTime) -> bool {
        let file = self.file(&profile.name, profile.certificate_file());
        let facts = || {
            let chain = pem::certificates(&file).ok()?;
            CertificateFacts::read(chain.first()?).ok()
        };
        !profile.is_break_glass() || facts().is_some_and(|facts| facts.not_after > now)
    }

    pub(super) fn has_certificate(&self, profile: &Profile) -> bool {
        self.dir.join(profile.certificate_file()).exists()
    }

    /// Says whether there is a key to ask a CA elsewhere for, and nothing else.
    fn lacks_request(&self, profile: &Profile) -> bool {
        self.plan.is_requested(profile)
            && self.dir.join(profile.key_file()).exists()
            && !self.has_certificate(profile)
            && !self.waits(profile)
    }

    /// The URL of the API server.
    pub(crate) fn server(&self) -> String {
        self.plan.spec.cluster.server.to_string()
    }

    /// The file of the API server's CA.
    pub(crate) fn cluster_authority(&self) -> PathBuf {
        self.dir.join(format!("{CLUSTER_CA}.crt"))
    }

    /// A client's files; absent if the name is another role's.
    pub(crate) fn client(&self, name: &str) -> Result<Option<Client>, PkiError> {
        let found = self.selected(&[name.to_owned()])?.into_iter().next();
        let found = found.filter(|profile| profile.usage.client());
        if let Some(profile) = &found
            && self.waits(profile)
            && !self.has_certificate(profile)
        {
            return Err(PkiError::Awaited {
                name: profile.name.clone(),
                request: profile.request_file(),
            });
        }
        let client = found.map(|profile| Client {
            user: profile.common_name.clone(),
            certificate: self.dir.join(profile.certificate_file()),
            key: self.dir.join(profile.key_file()),
        });
        Ok(client)
    }

    /// What waits for its certificate is asked for already.
    fn is_due(&self, profile: &Profile) -> Result<bool, PkiError> {
        if self.waits(profile) {
            return Ok(false);
        }
        let file = FileRef::new(&profile.name, self.dir.join(profile.certificate_file()));
        let chain = pem::certificates(&file)?;
        let facts = CertificateFacts::read(&chain[0])
            .map_err(|problem| PkiError::Unreadable(profile.name.clone(), problem))?;
        let life = facts.not_after - facts.not_before;
        Ok(now() >= facts.not_before + life * 2 / 3)
    }

    /// Finds what is named.
    fn selected(&self, names: &[String]) -> Result<Vec<Profile>, PkiError> {
        let find = |name: &String| {
            // People copy file names.
            let bare = name.strip_suffix(".crt").unwrap_or(name);
            let unknown = || PkiError::NoSuchName(name.clone());
            self.plan.profile(bare).cloned().ok_or_else(unknown)
        };
        names.iter().map(find).collect()
    }

    pub(super) fn apply(&self, change: &Change) -> Result<Written, PkiError> {
        if !change.files.is_empty() || !change.remove.is_empty() {
            files::apply(self.disk.as_ref(), &self.dir, change)?;
        }
        let names = change.files.iter().map(|file| file.name.clone());
        Ok(Written {
            files: names.collect(),
            pending: self.pending(),
        })
    }

    /// A file of the tree, named by its certificate.
    pub(super) fn file(&self, name: &str, file: impl AsRef<Path>) -> FileRef {
        FileRef::new(name, self.dir.join(file))
    }
}

/// The time by the system's clock.
pub(super) fn now() -> OffsetDateTime {
    OffsetDateTime::from(SystemTime::now())
}
