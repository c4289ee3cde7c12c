//! Judges a request that comes with a certificate for break-glass. Nothing of it ever goes to an
//! API server.

use super::kept::Outcome;
use super::objects::{self, Sought};
use super::{BreakGlass, Claim, Denial, Holder, Permit, Wish};
use crate::events::{Passing, Unrecorded};
use crate::front::Front;
use crate::front::short::{Kubelets, Question, Right, Short, Wanted, Why};
use crate::front::status::{Words, answer, given};
use eyesplice_dataplane::seam::{ApiAnswer, ApiLabels, ApiRequest, ApiVerdict, Reason};
use eyesplice_identity::certificate::rfc3339;
use eyesplice_proto::api::{PodStream, pod_stream};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Why there is no stream.
struct Refused {
    outcome: Outcome,
    words: String,
}

impl Refused {
    fn new(outcome: Outcome, words: impl Into<String>) -> Self {
        Self {
            outcome,
            words: words.into(),
        }
    }
}

impl From<Denial> for Refused {
    fn from(denial: Denial) -> Self {
        let outcome = match denial {
            Denial::Unreviewed { .. } | Denial::Unread { .. } => Outcome::NoReview,
            Denial::Unplaced(_) => Outcome::NoPlace,
            Denial::Unruled { .. } => Outcome::NoRule,
        };
        Self::new(outcome, denial.to_string())
    }
}

impl Front {
    /// Decides on a request by break-glass.
    pub(in crate::front) async fn by_break_glass(
        &self,
        (glass, short): (&BreakGlass, &Short),
        kubelets: &dyn Kubelets,
        request: &ApiRequest,
        (claim, mut labels): (Claim, ApiLabels),
    ) -> ApiVerdict {
        let holder = match claim {
            Ok(holder) => holder,
            Err(why) => {
                let refused = Refused::new(Outcome::Certificate, why.to_string());
                return self.refuse(glass, &refused, labels);
            }
        };
        labels.user = Some(Arc::clone(&holder.user));
        let judged = match Sought::read(request) {
            Some(sought) => self.give(glass, request, (&holder, sought), &mut labels),
            None => {
                let opened = self.open(glass, short, kubelets, (request, &holder, &mut labels));
                opened.await
            }
        };
        match judged {
            Ok(verdict) => verdict,
            Err(refused) => self.refuse(glass, &refused, labels),
        }
    }

    /// Answers what kubectl reads before it opens a stream.
    fn give(
        &self,
        glass: &BreakGlass,
        request: &ApiRequest,
        (holder, sought): (&Holder, Sought),
        labels: &mut ApiLabels,
    ) -> Result<ApiVerdict, Refused> {
        let (object, told) = match sought {
            // It says nothing of this cluster, and without it kubectl does not show what is said of
            // the pod.
            Sought::Resources(list) => (list, "break-glass: which resources there are".to_owned()),
            Sought::Pod(stream) => {
                labels.namespace = Some((&*stream.namespace).into());
                labels.pod = Some((&*stream.pod).into());
                let permit = glass.permit_to_read(&holder.user, &stream, SystemTime::now());
                glass.must_be_in_force(&permit)?;
                let permit = permit?;
                self.record_read(request, (&stream, holder, &permit))?;
                log_use(&permit, holder, &stream, "pod");
                let seen = rfc3339(permit.seen);
                let told = format!("break-glass: the pod as it was seen {seen}");
                (objects::pod(&permit.place, permit.seen), told)
            }
        };
        glass.count(Outcome::Read);
        let answer = given(self.generation, &object, &told, labels.clone());
        Ok(ApiVerdict::Answer(Box::new(answer)))
    }

    /// Leaves the audit events of a pod that is given.
    fn record_read(
        &self,
        request: &ApiRequest,
        (stream, holder, permit): (&PodStream, &Holder, &Permit),
    ) -> Result<(), Refused> {
        let passing = Passing {
            request,
            stream,
            subresource: "",
            user: &permit.review.user,
            allowed: &permit.review.reason,
            node: "",
            break_glass: Some(&holder.serial),
        };
        let Some(recorder) = &self.recorder else {
            return Ok(());
        };
        let trail = recorder.begin(&passing).map_err(|Unrecorded| unaudited())?;
        if let Some(trail) = trail {
            trail.answered(200);
        }
        Ok(())
    }

    async fn open(
        &self,
        glass: &BreakGlass,
        short: &Short,
        kubelets: &dyn Kubelets,
        (request, holder, labels): (&ApiRequest, &Holder, &mut ApiLabels),
    ) -> Result<ApiVerdict, Refused> {
        if let Some(why) = request.short_failed {
            let words = format!("the kubelet did not do what it should: {why}; the log has more");
            return Err(Refused::new(Outcome::Kubelet, words));
        }
        let now = SystemTime::now();
        let stream = pod_stream(&request.head.target).ok_or_else(|| {
            let words = "it is for exec, attach, port-forward and logs of pods alone";
            Refused::new(Outcome::Request, words)
        })?;
        let question = Question {
            stream: &stream,
            head: &request.head,
            upgrade: request.upgrade,
            has_body: request.has_body,
            by_certificate: None,
            peer: request.peer.ip().to_canonical(),
            now,
        };
        let unclear =
            |why| Refused::new(Outcome::Request, format!("the request is not clear: {why}"));
        let wanted = Wanted::read(&question).map_err(unclear)?;
        let wish = Wish {
            user: &holder.user,
            stream: &stream,
            verbs: wanted.verbs(),
        };
        let permit = glass.permit(wish, now);
        glass.must_be_in_force(&permit)?;
        let permit = permit?;
        // Names of nodes may have to be looked up, which is not for the worker's thread.
        tokio::task::yield_now().await;
        let led = short.lead(kubelets, &question, &wanted, &permit.place);
        let led = led.await.map_err(|why| {
            if why == Why::Translation {
                let words = "only API servers translate this protocol for the kubelet; kubectl \
                             asks by SPDY after this";
                return Refused::new(Outcome::Request, words);
            }
            let words = format!("the kubelet cannot be reached: {why}");
            Refused::new(Outcome::Kubelet, words)
        })?;
        // An API server may have come back meanwhile, or a right may be gone.
        let permit = glass.permit(wish, now);
        glass.must_be_in_force(&permit)?;
        let permit = permit?;
        let request_to = led.by(Right {
            user: Arc::clone(&permit.review.user),
            allowed: Arc::clone(&permit.review.reason),
            until: Some(holder.until.min(now + glass.settings.max_stream)),
            break_glass: Some(Arc::clone(&holder.serial)),
        });
        let Some(verdict) = self.pass(request, &stream, request_to, labels) else {
            return Err(unaudited());
        };
        match &verdict {
            ApiVerdict::Forward(_) => {
                log_use(&permit, holder, &stream, stream.subresource.as_str());
                glass.count(Outcome::Opened);
            }
            ApiVerdict::Answer(_) => glass.count(Outcome::Limit),
        }
        Ok(verdict)
    }

    fn refuse(&self, glass: &BreakGlass, refused: &Refused, labels: ApiLabels) -> ApiVerdict {
        glass.count(refused.outcome);
        let (code, reason, label) = match refused.outcome {
            Outcome::Certificate => (401, "Unauthorized", Reason::Unverified),
            Outcome::Kubelet => (503, "ServiceUnavailable", Reason::DialFailed),
            Outcome::Audit => (503, "ServiceUnavailable", Reason::Unaudited),
            _ => (403, "Forbidden", Reason::Denied),
        };
        let told = format!("break-glass: {}", refused.words);
        let words = Words {
            code,
            reason,
            message: &format!("eyesplice: {told}"),
            told: &told,
            label,
        };
        let answer: ApiAnswer = answer(self.generation, words, labels);
        ApiVerdict::Answer(Box::new(answer))
    }
}

impl BreakGlass {
    fn must_be_in_force(&self, permit: &Result<Permit, Denial>) -> Result<(), Refused> {
        match self.why_not(Instant::now()) {
            None => Ok(()),
            Some(why) => {
                let words = format!("it is not in force: {why}; {}", rehearsed(permit));
                Err(Refused::new(Outcome::NotInForce, words))
            }
        }
    }
}

/// What would come of a request if it were in force: each one before is a drill.
fn rehearsed(permit: &Result<Permit, Denial>) -> String {
    match permit {
        Ok(permit) => format!(
            "if it were, rule {:?} would allow this, by a review of {} and the place of {} on \
             node {}",
            permit.rule,
            rfc3339(permit.review.at),
            rfc3339(permit.seen),
            permit.place.node.name()
        ),
        Err(denial) => format!("if it were, this would be refused all the same: {denial}"),
    }
}

fn unaudited() -> Refused {
    Refused::new(
        Outcome::Audit,
        "its audit events would be lost; see front.audit",
    )
}

fn log_use(permit: &Permit, holder: &Holder, stream: &PodStream, what: &str) {
    tracing::warn!(
        user = &*holder.user,
        serial = &*holder.serial,
        namespace = &*stream.namespace,
        pod = &*stream.pod,
        stream = what,
        node = permit.place.node.name(),
        rule = &*permit.rule,
        reviewed = rfc3339(permit.review.at),
        placed = rfc3339(permit.seen),
        "break-glass is used"
    );
}
