//! The workloads, as a client does them.

mod bulk;
mod churn;
mod forward;
mod idle;
mod lines;
mod options;
mod pod_log;
mod setup;
mod stalled;
mod task;
mod turns;

pub(crate) use idle::{Point, park};
pub(crate) use options::Work;
pub use options::{Direction, WorkOptions, Workload};
pub(crate) use setup::once;
pub(crate) use task::{Halves, Tally, Task};
pub(crate) use turns::{gather, go_on};

use crate::{Error, Result};

/// Does one connection's share of a workload.
pub(crate) async fn run(task: Task) -> Result<()> {
    match task.work.workload {
        Workload::Log if task.route.follows_a_log() => pod_log::run(&task).await,
        _ if task.route.follows_a_log() => Err(Error::Unfit(
            "kubectl-logs carries lines of a log and nothing else; use --workload log".into(),
        )),
        Workload::Bulk => bulk::run(&task).await,
        Workload::Rr | Workload::Exec | Workload::Stall => turns::run(&task).await,
        Workload::Log => lines::run(&task).await,
        Workload::Forward => forward::run(&task).await,
        Workload::Setup => setup::run(&task).await,
        Workload::Stalled => stalled::run(&task).await,
        Workload::Churn => churn::run(&task).await,
        Workload::Idle => idle::run(&task).await,
    }
}
