//! Keeps bootstrap tokens where a cluster does: as Secrets in kube-system.

use super::{CallError, call};
use eyesplice_identity::token::bootstrap::{
    Expiry, Record, RecordProblem, SECRET_TYPE, TokenId, secret_name,
};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use std::collections::BTreeMap;
use std::time::SystemTime;
use zeroize::{Zeroize, Zeroizing};

/// Where bootstrap tokens are, always.
const NAMESPACE: &str = "kube-system";
/// The resource in messages.
const RESOURCE: &str = "secrets in kube-system";

/// Why a cluster's tokens could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The API server did not do it.
    #[error("{0}")]
    Call(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is such a token already.
    #[error("bootstrap token {0} exists already; delete it, or choose another ID")]
    Exists(TokenId),
    /// There is no such token.
    #[error("there is no bootstrap token {0}; see `eyesplice token bootstrap list`")]
    Unknown(TokenId),
    /// A Secret is no bootstrap token's, or would be none.
    #[error("the Secret kube-system/{name} {problem}")]
    Record {
        /// Which.
        name: String,
        /// Why.
        problem: RecordProblem,
    },
}

/// The tokens of one cluster.
#[derive(Clone)]
pub struct Secrets {
    api: Api<Secret>,
}

/// A Secret whose data are wiped when it is dropped.
struct Wiped(Secret);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl Wiped {
    fn wipe(&mut self) {
        let data = self.0.data.iter_mut().flat_map(BTreeMap::values_mut);
        data.for_each(|value| value.0.zeroize());
    }

    fn name(&self) -> String {
        self.0.metadata.name.clone().unwrap_or_default()
    }

    fn record(&self) -> Result<Record, SecretsError> {
        let data = self.0.data.iter().flatten();
        let data = data
            .map(|(key, value)| (key.clone(), Zeroizing::new(value.0.clone())))
            .collect();
        let kind = self.0.type_.as_deref().unwrap_or_default();
        let name = self.name();
        Record::from_secret(&name, kind, &data)
            .map_err(|problem| SecretsError::Record { name, problem })
    }

    fn write(&mut self, record: &Record) {
        self.wipe();
        let data = record.to_data().into_iter();
        let data = data.map(|(key, value)| (key.to_owned(), ByteString(value.as_bytes().to_vec())));
        self.0.data = Some(data.collect());
    }
}

impl Secrets {
    /// The tokens of the cluster that the client is of.
    pub fn new(client: Client) -> Self {
        Self {
            api: Api::namespaced(client, NAMESPACE),
        }
    }

    /// Keeps a new token.
    ///
    /// # Errors
    /// It is wrong, exists already, or the API server does not take it.
    pub async fn create(&self, record: &Record) -> Result<(), SecretsError> {
        let name = secret_name(&record.token.id);
        if let Err(problem) = record.check() {
            return Err(SecretsError::Record { name, problem });
        }
        let mut secret = Wiped(Secret {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(NAMESPACE.to_owned()),
                ..ObjectMeta::default()
            },
            type_: Some(SECRET_TYPE.to_owned()),
            ..Secret::default()
        });
        secret.write(record);
        let parameters = PostParams::default();
        let created = self.api.create(&parameters, &secret.0);
        match call("create", RESOURCE, created).await.map(Wiped) {
            Ok(_) => Ok(()),
            Err(CallError::Conflict { .. }) => Err(SecretsError::Exists(record.token.id.clone())),
            Err(error) => Err(error.into()),
        }
    }

    /// Finds a token.
    ///
    /// # Errors
    /// It cannot be read, or is broken.
    pub async fn find(&self, id: &TokenId) -> Result<Option<Record>, SecretsError> {
        let found = self.get(id).await?;
        found.map(|secret| secret.record()).transpose()
    }

    /// Lists all tokens by ID; a Secret that is broken is an entry of its own.
    ///
    /// # Errors
    /// They cannot be listed.
    pub async fn list(&self) -> Result<Vec<Result<Record, SecretsError>>, SecretsError> {
        let tokens = ListParams::default().fields(&format!("type={SECRET_TYPE}"));
        let list = call("list", RESOURCE, self.api.list(&tokens)).await?;
        let mut secrets: Vec<Wiped> = list.items.into_iter().map(Wiped).collect();
        secrets.sort_by_key(Wiped::name);
        Ok(secrets.iter().map(Wiped::record).collect())
    }

    /// Deletes a token.
    ///
    /// # Errors
    /// There is none, or the API server does not do it.
    pub async fn delete(&self, id: &TokenId) -> Result<(), SecretsError> {
        let (name, parameters) = (secret_name(id), DeleteParams::default());
        let deleted = self.api.delete(&name, &parameters);
        match call("delete", RESOURCE, deleted).await {
            Ok(answer) => {
                drop(answer.map_left(Wiped));
                Ok(())
            }
            Err(CallError::Missing { .. }) => Err(SecretsError::Unknown(id.clone())),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets the end of a token.
    ///
    /// # Errors
    /// There is none, it was changed meanwhile, or the API server does not take it.
    pub async fn set_expiry(&self, id: &TokenId, expiry: Expiry) -> Result<Record, SecretsError> {
        let found = self.get(id).await?;
        let mut secret = found.ok_or_else(|| SecretsError::Unknown(id.clone()))?;
        let mut record = secret.record()?;
        record.expiry = expiry;
        secret.write(&record);
        let (name, parameters) = (secret_name(id), PostParams::default());
        let replaced = self.api.replace(&name, &parameters, &secret.0);
        drop(Wiped(call("update", RESOURCE, replaced).await?));
        Ok(record)
    }

    /// Deletes what has expired, as the token cleaner of a cluster does; broken Secrets stay.
    ///
    /// # Errors
    /// They cannot be listed, or one cannot be deleted.
    pub async fn delete_expired(&self, now: SystemTime) -> Result<Vec<TokenId>, SecretsError> {
        let mut deleted = Vec::new();
        for record in self.list().await?.into_iter().flatten() {
            if record.expiry.is_over(now) {
                match self.delete(&record.token.id).await {
                    // The cluster's own cleaner was first.
                    Ok(()) | Err(SecretsError::Unknown(_)) => deleted.push(record.token.id),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(deleted)
    }

    async fn get(&self, id: &TokenId) -> Result<Option<Wiped>, CallError> {
        let name = secret_name(id);
        match call("get", RESOURCE, self.api.get(&name)).await {
            Ok(found) => Ok(Some(Wiped(found))),
            Err(CallError::Missing(..)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl From<CallError> for SecretsError {
    fn from(error: CallError) -> Self {
        Self::Call(error.into())
    }
}

#[cfg(test)]
mod tests;
