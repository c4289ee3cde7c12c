//! Bootstrap tokens: what a node that has nothing yet asks for its first certificate with.
//!
//! Format, Secret and semantics are Kubernetes' own: a token is kept as the very Secret that
//! `kubeadm token create` makes in kube-system, one file each, so that the file can be applied to a
//! cluster and the cluster's Secret be read here. Source: cluster-bootstrap `token/api/types.go`,
//! `util/secrets/secrets.go`; `plugin/pkg/auth/authenticator/token/bootstrap/bootstrap.go`.

mod bound;
mod format;
mod record;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use bound::Bound;
#[cfg(any(test, feature = "fuzzing"))]
pub use format::check_any as check_any_token;
pub use format::{BootstrapToken, FormatError, TokenId, TokenSecret};
pub use record::{
    DEFAULT_GROUP, Expiry, Record, RecordProblem, Refusal, SECRET_TYPE, USER_PREFIX, Usages,
    secret_name,
};
#[cfg(any(test, feature = "fuzzing"))]
pub use store::check_any;
pub use store::{Store, StoreError};

#[cfg(test)]
mod tests;
