//! Keeps bootstrap tokens where a cluster does: as Secrets in kube-system.
//!
//! Secrets travel as protobuf, which every API server takes. Metadata that this code does not know
//! go back as they came.

use super::{Act, CallError, call};
use eyesplice_identity::protobuf::{MEDIA_TYPE, ProtobufError, TypeMeta, open, seal};
use eyesplice_identity::token::bootstrap::{
    Expiry, Record, RecordProblem, SECRET_TYPE, TokenId, secret_name,
};
use http_body_util::{BodyExt, Limited};
use hyper::Request;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use kube::Client;
use kube::client::Body;
use prost::Message;
use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;
use zeroize::{Zeroize, Zeroizing};

/// Where bootstrap tokens are, always.
const NAMESPACE: &str = "kube-system";
/// The resource in messages.
const RESOURCE: &str = "secrets in kube-system";
/// A list: ten thousand tokens of 2 KiB, and room.
const LARGEST: usize = 32 << 20;

/// Why a cluster's tokens could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The API server did not do it.
    #[error("{0}")]
    Call(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer makes no sense.
    #[error("the API server's answer about {RESOURCE} cannot be read: {0}")]
    Answer(String),
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
    client: Client,
}

#[derive(Clone, PartialEq, Message)]
struct PbSecret {
    /// Kept as it came.
    #[prost(bytes = "vec", tag = "1")]
    metadata: Vec<u8>,
    #[prost(map = "string, bytes", tag = "2")]
    data: HashMap<String, Vec<u8>>,
    #[prost(string, tag = "3")]
    secret_type: String,
    #[prost(bool, optional, tag = "5")]
    immutable: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
struct PbMeta {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

#[derive(Clone, PartialEq, Message)]
struct PbSecretList {
    #[prost(message, repeated, tag = "2")]
    items: Vec<PbSecret>,
}

impl PbSecret {
    fn wipe(&mut self) {
        self.data.values_mut().for_each(Zeroize::zeroize);
    }

    fn name(&self) -> String {
        let meta = PbMeta::decode(self.metadata.as_slice());
        meta.map(|meta| meta.name).unwrap_or_default()
    }

    fn record(&self) -> Result<Record, SecretsError> {
        let name = self.name();
        let data = self.data.iter();
        let data: BTreeMap<_, _> = data
            .map(|(key, value)| (key.clone(), Zeroizing::new(value.clone())))
            .collect();
        Record::from_secret(&name, &self.secret_type, &data)
            .map_err(|problem| SecretsError::Record { name, problem })
    }

    fn write(&mut self, record: &Record) {
        self.wipe();
        let data = record.to_data().into_iter();
        self.data = data
            .map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()))
            .collect();
    }
}

impl Secrets {
    /// The tokens of the cluster that the client is of.
    pub fn new(client: Client) -> Self {
        Self { client }
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
        let meta = PbMeta {
            name,
            namespace: NAMESPACE.to_owned(),
        };
        let mut secret = PbSecret {
            metadata: meta.encode_to_vec(),
            secret_type: SECRET_TYPE.to_owned(),
            ..PbSecret::default()
        };
        secret.write(record);
        match self.send("create", "POST", "", Some(secret)).await {
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
        match self.get(id).await? {
            Some(mut secret) => {
                let record = secret.record();
                secret.wipe();
                record.map(Some)
            }
            None => Ok(None),
        }
    }

    /// Lists all tokens by ID; a Secret that is broken is an entry of its own.
    ///
    /// # Errors
    /// They cannot be listed.
    pub async fn list(&self) -> Result<Vec<Result<Record, SecretsError>>, SecretsError> {
        let query = "?fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken";
        let raw = self.send("list", "GET", query, None).await?;
        let list = PbSecretList::decode(raw.as_slice());
        let mut list = list.map_err(|error| SecretsError::Answer(error.to_string()))?;
        list.items.sort_by_key(PbSecret::name);
        let records = list.items.iter().map(PbSecret::record).collect();
        list.items.iter_mut().for_each(PbSecret::wipe);
        Ok(records)
    }

    /// Deletes a token.
    ///
    /// # Errors
    /// There is none, or the API server does not do it.
    pub async fn delete(&self, id: &TokenId) -> Result<(), SecretsError> {
        let path = format!("/{}", secret_name(id));
        match self.send("delete", "DELETE", &path, None).await {
            Ok(_) => Ok(()),
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
        let path = format!("/{}", secret_name(id));
        self.send("update", "PUT", &path, Some(secret)).await?;
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

    async fn get(&self, id: &TokenId) -> Result<Option<PbSecret>, SecretsError> {
        let path = format!("/{}", secret_name(id));
        match self.send("get", "GET", &path, None).await {
            Ok(raw) => PbSecret::decode(raw.as_slice())
                .map(Some)
                .map_err(|error| SecretsError::Answer(error.to_string())),
            Err(CallError::Missing { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends one request, and takes the object of the answer out of its envelope.
    async fn send(
        &self,
        verb: &'static str,
        method: &str,
        path: &str,
        secret: Option<PbSecret>,
    ) -> Result<Zeroizing<Vec<u8>>, CallError> {
        let body = secret.map(|mut secret| {
            let of = TypeMeta {
                api_version: "v1".to_owned(),
                kind: "Secret".to_owned(),
            };
            let body = seal(of, secret.encode_to_vec());
            secret.wipe();
            body
        });
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1/namespaces/{NAMESPACE}/secrets{path}"))
            // An error is a Status in JSON, which the client reads.
            .header(ACCEPT, MEDIA_TYPE)
            .header(CONTENT_TYPE, MEDIA_TYPE)
            .body(Body::from(body.unwrap_or_default()));
        let exchange = async {
            let request = request.map_err(kube::Error::HttpError)?;
            let response = self.client.send(request).await?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), LARGEST).collect().await;
            let body = body.map_err(kube::Error::Service)?.to_bytes();
            Ok((status, Zeroizing::new(body.to_vec())))
        };
        let (status, body) = call(verb, RESOURCE, exchange).await?;
        let refused = |message: String| CallError::answered(Act(verb, RESOURCE), status, message);
        if !(200..300).contains(&status) {
            return Err(refused(status_message(&body)));
        }
        let opened = open(&body).map_err(|error: ProtobufError| refused(error.to_string()))?;
        Ok(Zeroizing::new(opened.1))
    }
}

impl From<CallError> for SecretsError {
    fn from(error: CallError) -> Self {
        Self::Call(error.into())
    }
}

#[derive(Clone, PartialEq, Message)]
struct PbStatus {
    #[prost(string, tag = "3")]
    message: String,
}

/// The message of a Status, which comes as protobuf or as JSON.
fn status_message(body: &[u8]) -> String {
    let protobuf = open(body).ok().and_then(|(_, raw)| {
        let status = PbStatus::decode(raw.as_slice()).ok()?;
        Some(status.message)
    });
    let json = || {
        let status: serde_json::Value = serde_json::from_slice(body).ok()?;
        Some(status.get("message")?.as_str()?.to_owned())
    };
    protobuf.or_else(json).unwrap_or_default()
}

#[cfg(test)]
mod tests;
