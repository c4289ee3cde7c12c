//! Replaces the key that signs service-account tokens, so that no token is refused on the way.
//!
//! `trust` makes the next key and adds its public half to what verifiers load; once all have it,
//! `switch` signs with it; once the last token of the old key has expired, `drop` takes the old one
//! away. Until then `undo` goes one step back, but never takes away a key that has signed: the one
//! that was switched back from stays trusted until it is switched to again or dropped. Where a rotation
//! stands follows from which files there are (`KEY`, `KEY.next`, `KEY.old`, `KEY.undone`), so a step
//! that was cut off is done again.

use crate::certificate::instant;
use crate::pem::FileRef;
use crate::token::file::{self, FileFault, Mode};
use crate::token::jwt::{
    Algorithm, KeyFileError, PublicKey, SignError, SigningKey, load_public_keys, load_signing_key,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The longest life of a pod's token: the API server extends tokens to a year unless
/// `--service-account-extend-token-expiration=false`.
pub const LONGEST_TOKEN: Duration = Duration::from_secs(365 * 24 * 3600);

/// Largest private key that is copied.
const MAX_KEY: u64 = 64 << 10;

/// Where a rotation stands.
#[derive(Clone, Debug, PartialEq, Eq, derive_more::Display)]
pub enum Stage {
    /// There is one key.
    #[display("no rotation is under way")]
    Idle,
    /// The next key is there, and is to be trusted before it signs.
    #[display("the next key {next} is trusted and signs nothing")]
    Trusted {
        /// Its identifier.
        next: String,
    },
    /// The next key signs; tokens of the old one are still about.
    #[display(
        "the old key {old} is trusted and has signed nothing since {}",
        instant((*at).into())
    )]
    Switched {
        /// The old key's identifier.
        old: String,
        /// Since when.
        at: SystemTime,
    },
    /// The old key signs again; tokens of the one that signed in between are still about.
    #[display(
        "the key {undone}, which was switched back from, is trusted and has signed nothing since \
         {}",
        instant((*at).into())
    )]
    Undone {
        /// The identifier of the key that signed in between.
        undone: String,
        /// Since when it does not.
        at: SystemTime,
    },
}

/// A rotation that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// A key file is wrong.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileFault),
    /// No key could be made.
    #[error(transparent)]
    Generate(#[from] SignError),
    /// The step is not the one whose turn it is.
    #[error("cannot {step}: {stage}; {remedy}")]
    Order {
        /// What was asked for.
        step: &'static str,
        /// Where the rotation stands.
        stage: Stage,
        /// What to do.
        remedy: &'static str,
    },
    /// A verifier does not have the next key.
    #[error(
        "cannot switch: the key set that was given has no key {0}; restart or reload what serves \
         it, and fetch it again"
    )]
    NotTrusted(String),
    /// Tokens of the old key may live.
    #[error(
        "cannot drop: tokens of the key {0} may live until {1}; wait, or refuse them all at \
         once with --force"
    )]
    Early(String, String),
}

fn out_of_turn(step: &'static str, stage: Stage, remedy: &'static str) -> RotationError {
    RotationError::Order {
        step,
        stage,
        remedy,
    }
}

/// The files of a rotation.
#[derive(Clone, Debug)]
pub struct Rotation {
    key: PathBuf,
    public: PathBuf,
}

impl Rotation {
    /// Names the signing key and the file of public keys that verifiers load.
    pub fn new(key: impl Into<PathBuf>, public: impl Into<PathBuf>) -> Self {
        Self {
            key: key.into(),
            public: public.into(),
        }
    }

    /// Where the rotation stands. A step that was cut off counts as not done.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn stage(&self) -> Result<Stage, RotationError> {
        let current = self.load(&self.key)?;
        // Two are there if a switch, or the undoing of one, was cut off before its last step; the
        // key that still signs tells which.
        if let Some((old, at)) = self.retired("old", current.public())? {
            return Ok(Stage::Switched { old, at });
        }
        if let Some((undone, at)) = self.retired("undone", current.public())? {
            return Ok(Stage::Undone { undone, at });
        }
        let next = self.side("next");
        if next.exists() {
            let next = self.load(&next)?.public().kid().to_owned();
            return Ok(Stage::Trusted { next });
        }
        Ok(Stage::Idle)
    }

    /// A key that has signed, and since when it does not: its file was written then.
    fn retired(
        &self,
        suffix: &str,
        current: &PublicKey,
    ) -> Result<Option<(String, SystemTime)>, RotationError> {
        let path = self.side(suffix);
        if !path.exists() {
            return Ok(None);
        }
        let key = self.load(&path)?;
        if key.public() == current {
            return Ok(None);
        }
        let written = fs::metadata(&path).and_then(|meta| meta.modified());
        let at = written.map_err(|error| FileFault::new("read", &path, error))?;
        Ok(Some((key.public().kid().to_owned(), at)))
    }

    /// Makes the next key and trusts it.
    ///
    /// # Errors
    /// A rotation is under way, or a file cannot be written.
    pub fn trust(&self, algorithm: Algorithm) -> Result<Stage, RotationError> {
        let _turn = file::lock(&self.key)?;
        let next = self.side("next");
        match self.stage()? {
            Stage::Idle => {
                let (_, pem) = SigningKey::generate(algorithm)?;
                file::create_new(&next, pem.as_bytes(), Mode::Secret)?;
            }
            // Cut off before its public half was written, or asked for twice.
            Stage::Trusted { .. } => {}
            stage @ Stage::Switched { .. } => {
                return Err(out_of_turn(
                    "begin another rotation",
                    stage,
                    "drop the old key first, or undo",
                ));
            }
            stage @ Stage::Undone { .. } => {
                return Err(out_of_turn(
                    "begin another rotation",
                    stage,
                    "switch to that key again, or drop it once its last token has expired",
                ));
            }
        }
        let mut keys = self.public_keys()?;
        // The signing key is a verifying key, too, whatever the file says.
        for key in [self.load(&self.key)?, self.load(&next)?] {
            if !keys.contains(key.public()) {
                keys.insert(0, key.public().clone());
            }
        }
        self.write_public(&keys)?;
        self.stage()
    }

    /// Signs with the next key. `served` are the keys of a verifier, where one can be asked.
    ///
    /// # Errors
    /// There is no next key, the verifier does not have it, or a file cannot be written.
    pub fn switch(&self, served: Option<&[PublicKey]>) -> Result<Stage, RotationError> {
        let _turn = file::lock(&self.key)?;
        let (next, source) = match self.stage()? {
            Stage::Trusted { next } => (next, "next"),
            Stage::Undone { undone, .. } => (undone, "undone"),
            stage => {
                return Err(out_of_turn(
                    "switch",
                    stage,
                    "run the stage trust first, and let every verifier load the public keys",
                ));
            }
        };
        let mut trusted = self.public_keys()?;
        if let Some(served) = served {
            trusted.retain(|key| served.iter().any(|other| other.spki() == key.spki()));
        }
        if !trusted.iter().any(|key| key.kid() == next) {
            return Err(RotationError::NotTrusted(next));
        }
        let old = self.side("old");
        if !old.exists() {
            let text = file::read(&self.key, MAX_KEY)?;
            file::create_new(&old, text.as_bytes(), Mode::Secret)?;
        }
        file::rename(&self.side(source), &self.key)?;
        self.stage()
    }

    /// Trusts the key that has signed no more, once its tokens, which live `longest`, have all expired,
    /// or at once.
    ///
    /// # Errors
    /// There is no old key, its tokens may live, or a file cannot be written.
    pub fn drop_old(
        &self,
        longest: Duration,
        force: bool,
        now: SystemTime,
    ) -> Result<Stage, RotationError> {
        let _turn = file::lock(&self.key)?;
        let (kid, at) = match self.stage()? {
            Stage::Switched { old, at } => (old, at),
            Stage::Undone { undone, at } => (undone, at),
            stage => {
                return Err(out_of_turn("drop", stage, "there is no old key to drop"));
            }
        };
        let until = at + longest;
        if now < until && !force {
            return Err(RotationError::Early(kid, instant(until.into())));
        }
        let mut keys = self.public_keys()?;
        keys.retain(|key| key.kid() != kid);
        self.write_public(&keys)?;
        // One of them is the key; the other is what the undoing of a switch left that was cut off.
        self.clear(&["old", "undone"])?;
        self.stage()
    }

    /// Goes one step back: signs with the old key again, or trusts the next one no more.
    ///
    /// # Errors
    /// There is nothing to undo, the key that it would take away has signed, or a file cannot be
    /// written.
    pub fn undo(&self) -> Result<Stage, RotationError> {
        let _turn = file::lock(&self.key)?;
        match self.stage()? {
            Stage::Switched { .. } => {
                // The key that signed in between stays trusted: its tokens are about.
                let undone = self.side("undone");
                if !undone.exists() {
                    let text = file::read(&self.key, MAX_KEY)?;
                    file::create_new(&undone, text.as_bytes(), Mode::Secret)?;
                }
                file::rename(&self.side("old"), &self.key)?;
            }
            Stage::Trusted { next: kid } => {
                let mut keys = self.public_keys()?;
                keys.retain(|key| key.kid() != kid);
                self.write_public(&keys)?;
                // With what a switch left that was cut off.
                self.clear(&["next", "old"])?;
            }
            stage @ Stage::Undone { .. } => {
                return Err(out_of_turn(
                    "undo further",
                    stage,
                    "its tokens would be refused: switch to it again, or drop it once the last \
                             one has expired",
                ));
            }
            stage @ Stage::Idle => {
                return Err(out_of_turn("undo", stage, "there is nothing to undo"));
            }
        }
        self.stage()
    }

    fn clear(&self, suffixes: &[&str]) -> Result<(), RotationError> {
        for suffix in suffixes {
            let path = self.side(suffix);
            if path.exists() {
                file::remove(&path)?;
            }
        }
        Ok(())
    }

    fn side(&self, suffix: &str) -> PathBuf {
        let mut name = self.key.file_name().unwrap_or_default().to_owned();
        name.push(".");
        name.push(suffix);
        self.key.with_file_name(name)
    }

    fn load(&self, path: &Path) -> Result<SigningKey, RotationError> {
        Ok(load_signing_key(&FileRef::new("--key", path))?)
    }

    fn public_keys(&self) -> Result<Vec<PublicKey>, RotationError> {
        Ok(load_public_keys(&FileRef::new(
            "--public-keys",
            &self.public,
        ))?)
    }

    fn write_public(&self, keys: &[PublicKey]) -> Result<(), RotationError> {
        let text: String = keys.iter().map(PublicKey::to_pem).collect();
        Ok(file::replace(&self.public, text.as_bytes(), Mode::Public)?)
    }
}

#[cfg(test)]
mod tests;
