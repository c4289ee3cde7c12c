//! Where the command line's bootstrap tokens are: a directory, or a cluster.

use crate::cli::token::form::Failure;
use crate::cli::token_args::DirArgs;
use eyesplice_authority::apiserver::{Place, Secrets, SecretsError};
use eyesplice_identity::token::bootstrap::{Expiry, Record, Store, StoreError, TokenId};
use std::time::SystemTime;
use tokio::runtime::{Builder, Runtime};

/// A directory, or a cluster and the runtime of its client.
pub(super) enum Tokens {
    Dir(Store),
    Cluster(Runtime, Box<Secrets>),
}

impl Tokens {
    /// Opens what the command line names.
    pub(super) fn open(args: &DirArgs) -> Result<Self, Failure> {
        let Some(kubeconfig) = &args.kubeconfig else {
            return Ok(Self::Dir(Store::new(&args.dir)));
        };
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let place = Place::Kubeconfig(kubeconfig.clone());
        let client = runtime.block_on(place.connect())?;
        let secrets = Box::new(Secrets::new(client));
        Ok(Self::Cluster(runtime, secrets))
    }

    pub(super) fn create(&self, record: &Record) -> Result<(), Failure> {
        match self {
            Self::Dir(store) => store.create(record)?,
            Self::Cluster(runtime, secrets) => runtime.block_on(secrets.create(record))?,
        }
        Ok(())
    }

    pub(super) fn find(&self, id: &TokenId) -> Result<Record, Failure> {
        match self {
            Self::Dir(store) => {
                let unknown = || StoreError::Unknown(id.clone(), store.dir().to_owned());
                Ok(store.find(id)?.ok_or_else(unknown)?)
            }
            Self::Cluster(runtime, secrets) => {
                let found = runtime.block_on(secrets.find(id))?;
                Ok(found.ok_or_else(|| SecretsError::Unknown(id.clone()))?)
            }
        }
    }

    /// All tokens; one that is broken is an error of its own.
    pub(super) fn list(&self) -> Result<Vec<Result<Record, Failure>>, Failure> {
        Ok(match self {
            Self::Dir(store) => {
                let records = store.list()?.into_iter();
                records.map(|record| record.map_err(Into::into)).collect()
            }
            Self::Cluster(runtime, secrets) => {
                let records = runtime.block_on(secrets.list())?.into_iter();
                records.map(|record| record.map_err(Into::into)).collect()
            }
        })
    }

    pub(super) fn delete(&self, id: &TokenId) -> Result<(), Failure> {
        match self {
            Self::Dir(store) => store.delete(id)?,
            Self::Cluster(runtime, secrets) => runtime.block_on(secrets.delete(id))?,
        }
        Ok(())
    }

    pub(super) fn set_expiry(&self, id: &TokenId, expiry: Expiry) -> Result<Record, Failure> {
        Ok(match self {
            Self::Dir(store) => store.set_expiry(id, expiry)?,
            Self::Cluster(runtime, secrets) => runtime.block_on(secrets.set_expiry(id, expiry))?,
        })
    }

    pub(super) fn delete_expired(&self, now: SystemTime) -> Result<Vec<TokenId>, Failure> {
        Ok(match self {
            Self::Dir(store) => store.delete_expired(now)?,
            Self::Cluster(runtime, secrets) => runtime.block_on(secrets.delete_expired(now))?,
        })
    }
}
