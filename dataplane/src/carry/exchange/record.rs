//! One request and what became of it.

use crate::carry::ending::Ending;
use crate::context::StreamContext;
use crate::end::End;
use crate::seam::{
    ApiPath, ExchangeLabels, Follower, KeyExchange, Phase, Reason, RecordKind, Side, StreamBytes,
    StreamRecord, VerificationResult,
};
use eyesplice_proto::route::Action;
use eyesplice_proto::stream::Event;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// How the HTTP part of a connection ended.
pub(crate) enum Served {
    /// Both legs are done with; the exchange that ended so, unless its record is out already.
    Closed(Ending, Option<Box<Exchange>>),
    /// The legs carry raw bytes from here on.
    Upgraded(Box<Exchange>),
}

/// What follows a finished exchange.
pub(crate) enum Then {
    /// Another request may come.
    Next,
    /// The connection is over, in this way.
    Close(Event),
    /// A 101 was passed on.
    Switch,
    /// We answered, for this; another request may come.
    Answered(End),
    /// We answered, for this; the connection is over.
    Refused(End),
}

/// One request.
pub(crate) struct Exchange {
    pub(crate) number: u32,
    pub(crate) started_at: SystemTime,
    pub(crate) labels: Option<ExchangeLabels>,
    pub(crate) status: Option<u16>,
    /// Who hears what becomes of it; it is over for that one when this is dropped.
    pub(crate) follower: Option<Arc<dyn Follower>>,
    started: Instant,
    before: StreamBytes,
}

impl Exchange {
    /// Begins one.
    pub(crate) fn begin(cx: &StreamContext, number: u32) -> Box<Self> {
        cx.touch();
        Box::new(Self {
            number,
            started: Instant::now(),
            started_at: SystemTime::now(),
            labels: None,
            status: None,
            follower: None,
            before: cx.bytes(),
        })
    }

    /// The exchange's record: the stream's, with this request's part.
    pub(crate) fn record(
        &self,
        stream: &StreamRecord,
        cx: &StreamContext,
        failure: &End,
    ) -> StreamRecord {
        let mut record = stream.ended(cx, failure);
        record.exchange = self.number;
        record.exchange_labels.clone_from(&self.labels);
        record.status = self.status;
        record.started = self.started_at;
        record.duration = self.started.elapsed();
        record.bytes.up -= self.before.up;
        record.bytes.down -= self.before.down;
        if self.path() == Some(ApiPath::Answered) {
            of_no_server(&mut record);
        }
        record
    }

    /// The record of its begin.
    pub(crate) fn start_record(&self, stream: &StreamRecord, cx: &StreamContext) -> StreamRecord {
        let open = End::new(Reason::Completed, Side::Local, Phase::Exchange);
        let mut record = self.record(stream, cx, &open);
        record.kind = RecordKind::Start;
        record.duration = Duration::ZERO;
        record
    }

    /// Tells its follower of a reply that is ours.
    pub(crate) fn is_answered(&self, status: u16) {
        if let Some(follower) = &self.follower {
            follower.answered(status);
        }
    }

    /// Whether it asked for an upgrade that may be.
    pub(crate) fn is_upgrade(&self) -> bool {
        let labels = self.labels.as_ref();
        labels.is_some_and(|labels| labels.protocol.is_some())
    }

    fn path(&self) -> Option<ApiPath> {
        self.labels.as_ref().and_then(|labels| labels.path)
    }
}

/// Whether what is done so leaves a record of its begin, too.
pub(crate) fn has_start(action: Action) -> bool {
    matches!(action, Action::Exec | Action::Attach | Action::PortForward)
}

/// Takes off what is known of the server that the stream is connected to.
pub(crate) fn of_no_server(record: &mut StreamRecord) {
    record.address = None;
    record.via = None;
    record.node = None;
    record.warm = false;
    record.verification = VerificationResult::NotApplicable;
    record.key_exchange = KeyExchange {
        upstream: None,
        ..record.key_exchange
    };
}
