//! Replaces a CA in stages, each of which can be undone until the last.
//!
//! | Stage | The CA's file trusts | Signs | Between this stage and the next |
//! |---|---|---|---|
//! | (none) | old | old | |
//! | `trust-both` | old, new | old | whoever trusts the CA loads its file again |
//! | `reissued` | new, old | new | whoever holds a certificate loads it again |
//! | `old-dropped` | new | new | whoever trusts the CA loads its file again |
//! | (none) | new | new | the old key is gone |
//!
//! A step is one change of the tree, so it is made or it is not; to resume is to run it again. Both
//! CAs stand in `rotation/` from the first stage to the last. A step that takes trust away is
//! refused while a file depends on what it takes.

use super::authority::Authority;
use super::cross;
use super::dependents::Dependents;
use super::error::PkiError;
use super::files::{Change, File};
use super::maker::{Maker, RenewedKey};
use super::profile::{CLUSTER_CA, Profile, Usage};
use super::reload::{self, Reload};
use super::spec::Existing;
use super::stage::Stage;
use super::tree::{Tree, Written, now};
use crate::certificate::{CertificateFacts, instant};
use crate::pem::{self, FileRef};
use rustls::pki_types::CertificateDer;
use std::path::PathBuf;
use std::sync::Arc;

/// Which way to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// To the next stage.
    Next,
    /// Back to the one before.
    Undo,
    /// Stays, and sends no more certificates by the CAs before it.
    Forget,
}

/// What a step came to.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// The stage that was reached.
    pub stage: Stage,
    /// What was written.
    pub written: Written,
    /// Who uses what was written.
    pub reload: Vec<Reload>,
}

/// A CA of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Old,
    New,
}

impl Which {
    fn other(self) -> Self {
        match self {
            Self::Old => Self::New,
            Self::New => Self::Old,
        }
    }
}

impl Tree {
    /// How far the rotation of a CA is.
    ///
    /// # Errors
    /// There is no such CA, it is kept elsewhere, or the tree says something else than a stage.
    pub fn rotation(&self, name: &str) -> Result<Stage, PkiError> {
        self.rotated(name)?;
        let path = self.dir.join(stage_file(name));
        if !path.exists() {
            return Ok(Stage::Idle);
        }
        let text = pem::text(&FileRef::new(name, &path))?;
        let found = Stage::NAMES.iter().find(|(word, _)| *word == text.trim());
        let stage = found.map(|(_, stage)| *stage);
        stage.ok_or(PkiError::RotationStage(path))
    }

    /// Until when what a CA signs goes out with certificates of it by the CAs before it, if it does.
    ///
    /// # Errors
    /// As [`Tree::rotation`].
    pub fn crossed_until(&self, name: &str) -> Result<Option<String>, PkiError> {
        let rotation = Rotation {
            profile: self.rotated(name)?,
            tree: self,
            key: RenewedKey::Kept,
            also: &[],
        };
        rotation.crossed_until()
    }

    /// Goes one stage on or back. `also` are files outside of the tree that depend on the CA:
    /// certificates, bundles and kubeconfigs.
    ///
    /// # Errors
    /// There is no such step, a file still depends on what it takes away, or a file cannot be read,
    /// signed or written; nothing is changed.
    pub fn rotate(
        self,
        name: &str,
        step: Step,
        key: RenewedKey,
        also: &[PathBuf],
    ) -> Result<Rotated, PkiError> {
        let stage = self.rotation(name)?;
        let rotation = Rotation {
            profile: self.rotated(name)?,
            tree: &self,
            key,
            also,
        };
        let (stage, change) = match (stage, step) {
            (Stage::Idle, Step::Next) => (Stage::TrustBoth, rotation.begin()?),
            (Stage::TrustBoth, Step::Next) => {
                rotation.refuse_unless_trusted("let the new CA sign", Which::New)?;
                (Stage::Reissued, rotation.reissue(Which::New)?)
            }
            (Stage::Reissued, Step::Next) => {
                rotation.refuse_unless_signed("drop the old CA", Which::New)?;
                (
                    Stage::OldDropped,
                    rotation.trust(Stage::OldDropped, &[Which::New])?,
                )
            }
            (Stage::OldDropped, Step::Next) => (Stage::Idle, rotation.end()),
            (Stage::Idle, Step::Forget) => (Stage::Idle, rotation.forget()?),
            (_, Step::Forget) => {
                let name = name.to_owned();
                return Err(PkiError::ForgetMidway(name, stage));
            }
            (Stage::Idle, Step::Undo) => {
                let name = name.to_owned();
                return Err(PkiError::NoRotation(name));
            }
            (Stage::TrustBoth, Step::Undo) => {
                rotation.refuse_unless_signed("drop the new CA", Which::Old)?;
                let mut change = rotation.trust(Stage::Idle, &[Which::Old])?;
                change.remove = rotation.end().remove;
                (Stage::Idle, change)
            }
            (Stage::Reissued, Step::Undo) => {
                rotation.refuse_unless_trusted("let the old CA sign", Which::Old)?;
                (Stage::TrustBoth, rotation.reissue(Which::Old)?)
            }
            (Stage::OldDropped, Step::Undo) => {
                let both = [Which::New, Which::Old];
                (Stage::Reissued, rotation.trust(Stage::Reissued, &both)?)
            }
        };
        let reload = reload::reloads(&self.plan.profiles, &change);
        Ok(Rotated {
            stage,
            written: self.apply(&change)?,
            reload,
        })
    }

    /// The CA of a name, if it is one that can be rotated here.
    fn rotated(&self, name: &str) -> Result<&Profile, PkiError> {
        let bare = name.strip_suffix(".crt").unwrap_or(name);
        let found = self.plan.profile(bare);
        let authority = found.filter(|profile| profile.usage == Usage::Authority);
        let authority = authority.ok_or_else(|| PkiError::NoSuchAuthority(name.to_owned()))?;
        match self.plan.existing(&authority.name) {
            None => Ok(authority),
            Some(Existing::Signs(pair)) => Err(PkiError::ForeignAuthority(
                authority.name.clone(),
                pair.certificate.clone(),
            )),
            Some(Existing::External(_)) => Err(PkiError::ExternalAuthority(authority.name.clone())),
        }
    }
}

/// One step of one CA.
struct Rotation<'a> {
    tree: &'a Tree,
    profile: &'a Profile,
    key: RenewedKey,
    also: &'a [PathBuf],
}

impl Rotation<'_> {
    /// Makes the new CA, and trusts both.
    fn begin(&self) -> Result<Change, PkiError> {
        let tree = self.tree;
        let mut maker = self.maker();
        let (authority, key) = maker.make_authority(self.profile)?;
        let mut old = pem::certificates(&tree.file(&self.name(), self.profile.certificate_file()))?;
        old.truncate(1);
        let old_key = pem::text(&tree.file(&self.name(), self.profile.key_file()))?;
        let bundle = vec![old[0].clone(), authority.certificate().clone()];
        let certificate = [authority.certificate().clone()];
        let mut files = vec![
            File::public(self.certificate(Which::Old), pem::encode(&old)),
            File::secret(self.secret(Which::Old), old_key),
            File::public(self.certificate(Which::New), pem::encode(&certificate)),
            File::secret(self.secret(Which::New), key),
            self.stage(Stage::TrustBoth),
        ];
        maker.trust(&self.profile.name, bundle);
        self.kubeconfigs(&mut maker)?;
        files.extend(maker.into_files());
        Ok(Change::writing(files))
    }

    /// Lets one of both CAs sign, and signs by it whatever the other one signed.
    fn reissue(&self, by: Which) -> Result<Change, PkiError> {
        let tree = self.tree;
        let (stage, bundle) = match by {
            Which::New => (Stage::Reissued, [Which::New, Which::Old]),
            Which::Old => (Stage::TrustBoth, [Which::Old, Which::New]),
        };
        let mut maker = self.maker();
        maker.trust(&self.profile.name, self.bundle(&bundle)?);
        let key = tree.file(&self.name(), self.secret(by));
        let authority = self.crossed(&maker, by)?;
        maker.make_chain(self.profile, &authority);
        maker.sign_by(&self.profile.name, Arc::new(authority));
        for profile in self.signed() {
            maker.renew(profile, self.key)?;
        }
        let mut files = maker.into_files();
        files.push(File::secret(self.profile.key_file(), pem::text(&key)?));
        files.push(self.stage(stage));
        Ok(Change::writing(files))
    }

    /// One of both CAs, with what the other one says of it.
    fn crossed(&self, maker: &Maker<'_>, which: Which) -> Result<Authority, PkiError> {
        let load = |which: Which, crosses: &[CertificateDer<'static>]| {
            let certificate = self.tree.file(&self.name(), self.certificate(which));
            let key = self.tree.file(&self.name(), self.secret(which));
            maker.load(self.profile, &certificate, &key, crosses)
        };
        let (own, other) = (load(which, &[])?, load(which.other(), &[])?);
        let cross = cross::certify(&self.name(), &own, &other, now())?;
        let new = match which {
            Which::New => &own,
            Which::Old => &other,
        };
        let crosses = cross::renewed(cross, maker.crosses(self.profile)?, new);
        load(which, &crosses)
    }

    /// Leaves out what the CAs before this one said of it.
    fn forget(&self) -> Result<Change, PkiError> {
        let mut maker = self.maker();
        let certificate = self
            .tree
            .file(&self.profile.name, self.profile.certificate_file());
        let key = self.tree.file(&self.profile.name, self.profile.key_file());
        let authority = maker.load(self.profile, &certificate, &key, &[])?;
        maker.make_chain(self.profile, &authority);
        Ok(Change::writing(maker.into_files()))
    }

    /// Changes only who is trusted.
    fn trust(&self, stage: Stage, whom: &[Which]) -> Result<Change, PkiError> {
        let mut maker = self.maker();
        maker.trust(&self.profile.name, self.bundle(whom)?);
        self.kubeconfigs(&mut maker)?;
        let mut files = maker.into_files();
        if stage != Stage::Idle {
            files.push(self.stage(stage));
        }
        Ok(Change::writing(files))
    }

    /// Forgets the rotation.
    fn end(&self) -> Change {
        let both = [Which::Old, Which::New];
        let mut remove = vec![stage_file(&self.profile.name)];
        remove.extend(both.map(|which| self.certificate(which)));
        remove.extend(both.map(|which| self.secret(which)));
        Change {
            remove,
            ..Change::default()
        }
    }

    /// Kubeconfigs embed the CA of the API server.
    fn kubeconfigs(&self, maker: &mut Maker<'_>) -> Result<(), PkiError> {
        if self.profile.name == CLUSTER_CA {
            let profiles = self.tree.plan.profiles.iter();
            for profile in profiles.filter(|profile| self.tree.is_live(profile, now().into())) {
                maker.make_kubeconfig(profile)?;
            }
        }
        Ok(())
    }

    fn refuse_unless_trusted(&self, step: &'static str, ca: Which) -> Result<(), PkiError> {
        self.dependents(ca)?.refuse(step, Dependents::trusting)
    }

    fn refuse_unless_signed(&self, step: &'static str, ca: Which) -> Result<(), PkiError> {
        self.dependents(ca)?.refuse(step, Dependents::signed)
    }

    fn dependents(&self, ca: Which) -> Result<Dependents<'_>, PkiError> {
        let bundle = self.bundle(&[ca])?;
        Ok(Dependents {
            tree: self.tree,
            profile: self.profile,
            signed: self.signed().collect(),
            authority: bundle,
            other: self.bundle(&[ca.other()])?,
            also: self.also,
            now: now().into(),
        })
    }

    /// What the CA signs in the tree.
    fn signed(&self) -> impl Iterator<Item = &Profile> {
        let profiles = self.tree.plan.profiles.iter();
        profiles.filter(|profile| {
            profile.usage != Usage::Authority
                && profile.authority() == self.profile.name
                && self.tree.is_live(profile, now().into())
        })
    }

    /// Until when certificates by the CAs before it are sent with what it signs, if any are.
    fn crossed_until(&self) -> Result<Option<String>, PkiError> {
        let crosses = self.maker().crosses(self.profile)?;
        let ends = crosses
            .iter()
            .filter_map(|der| CertificateFacts::read(der).ok());
        Ok(ends.map(|facts| facts.not_after).max().map(instant))
    }

    fn maker(&self) -> Maker<'_> {
        Maker::new(&self.tree.plan, &self.tree.dir, now())
    }

    fn bundle(&self, whom: &[Which]) -> Result<Vec<CertificateDer<'static>>, PkiError> {
        let mut bundle = Vec::new();
        for which in whom {
            let file = self.tree.file(&self.name(), self.certificate(*which));
            bundle.extend(pem::certificates(&file)?);
        }
        Ok(bundle)
    }

    fn stage(&self, stage: Stage) -> File {
        File::public(stage_file(&self.profile.name), format!("{stage}\n"))
    }

    fn name(&self) -> String {
        format!("rotation of {}", self.profile.name)
    }

    fn certificate(&self, which: Which) -> String {
        self.file(which, "crt")
    }

    fn secret(&self, which: Which) -> String {
        self.file(which, "key")
    }

    fn file(&self, which: Which, extension: &str) -> String {
        let which = match which {
            Which::Old => "old",
            Which::New => "new",
        };
        format!("rotation/{}/{which}.{extension}", self.profile.name)
    }
}

/// Every file that a rotation of a CA has.
pub(super) fn files(name: &str) -> Vec<String> {
    let file = |end: &str| format!("rotation/{name}/{end}");
    vec![
        file("old.crt"),
        file("old.key"),
        file("new.crt"),
        file("new.key"),
        stage_file(name),
    ]
}

/// Where the stage of a CA's rotation stands.
pub(super) fn stage_file(name: &str) -> String {
    format!("rotation/{name}/stage")
}
