//! HTTP/1.1 between two legs whose TLS is terminated here: one request at a time, heads written
//! again, bodies passed on as they are.
//!
//! One upstream connection serves one downstream connection and no other, so no identity ever meets
//! another's bytes. Raw bytes pass only after a 101 that matches what was asked (CVE-2018-1002105).
//! What a kubelet is asked is judged here, by an action policy. What a server of the Kubernetes API
//! is asked is judged by control: see `front`.

mod answer;
mod kubelet;
mod pass;
mod record;
mod reply;

pub(crate) use answer::{concluded, fail, failed, hostile, over, refuse};
pub(crate) use kubelet::{Made, Terms, authorise, serve};
pub(crate) use pass::{Pass, Request, Seen};
pub(crate) use record::{Exchange, Served, Then, has_start, of_no_server};
