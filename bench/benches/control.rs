//! The control half: a CSR read, approved and signed, tokens of each kind, a kubelet's chain, a verdict.
#![forbid(unsafe_code)]

mod steps {
    pub(crate) mod control;
    mod step;
    pub(crate) use step::Step;
}

use criterion::{Criterion, criterion_group, criterion_main};

fn control(criterion: &mut Criterion) {
    for mut step in steps::control::steps() {
        criterion.bench_function(step.name, |bencher| bencher.iter(&mut step.run));
    }
}

criterion_group!(benches, control);
criterion_main!(benches);
