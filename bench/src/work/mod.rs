//! The workloads, as a client does them.

mod bulk;
mod churn;
mod forward;
mod idle;
mod lines;
mod options;
mod setup;
mod stalled;
mod task;
mod turns;

pub(crate) use idle::{Point, park};
pub(crate) use options::Work;
pub use options::{Direction, WorkOptions, Workload};
pub(crate) use task::{Tally, Task};

use crate::Result;

/// Does one connection's share of a workload.
pub(crate) async fn run(task: Task) -> Result<()> {
    match task.work.workload {
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
