//! The seam between the engine and control: plain data both ways.
//!
//! * A listener turns what arrives into one [`StreamRequest`] and asks [`Control::admit`] once; the
//!   answer is a [`Verdict`].
//! * Certificates, keys and limits reach the workers as one immutable [`Snapshot`] behind an
//!   atomic swap; a stream keeps the generation that it began with.
//! * What happened to a stream leaves as a [`StreamRecord`].

mod outcome;
mod record;
mod request;
mod snapshot;
mod verdict;

pub use outcome::{Phase, Reason, Side};
pub use record::{
    ExchangeLabels, RecordKind, StreamBytes, StreamMode, StreamRecord, VerificationResult,
};
pub use request::{ListenerName, Peer, StreamId, StreamRequest};
pub use snapshot::{AdmissionLimits, DownstreamTls, Snapshot, SnapshotCell};
pub use verdict::{
    ActionPolicy, ByName, Connect, Inside, LeafByPeer, Mode, PeerVerification, Refusal,
    StreamLimits, Terminate, TerminateVerified, UpstreamTls, Verdict, VerificationSlot,
};

use rustls::pki_types::CertificateDer;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What the engine asks of control.
///
/// All methods are called on a worker's thread and return at once: whatever may need a file, a
/// cache, a name server or a policy runs on control's own threads behind the receiver.
pub trait Control: Send + Sync + 'static {
    /// Decides what becomes of one stream.
    ///
    /// The engine waits for the answer at most [`AdmissionLimits::admit_timeout`]; a sender that is
    /// dropped counts as an internal error and the stream is refused.
    fn admit(&self, request: StreamRequest) -> oneshot::Receiver<Verdict>;

    /// Says in words why no stream or request may begin now that will leave a record of this kind: control could not
    /// keep it. Usually, and by default, nothing is in the way.
    fn unrecorded(&self, _kind: RecordKind) -> Option<String> {
        None
    }

    /// Names the owner of a verified certificate chain for audit and metrics (pure CPU, no I/O).
    fn identify(&self, chain: &[CertificateDer<'_>]) -> Arc<str>;
}
