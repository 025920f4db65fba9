//! What one action costs: the whole of it, and its parts.

#![allow(missing_docs, reason = "criterion makes public functions")]

#[path = "../tests/support/mod.rs"]
mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use hufu_proof::transaction::Batch;
use hufu_proof::{Sequence, Value};
use serde_json::json;
use support::*;

fn apply(criterion: &mut Criterion) {
    let (contract, mut world) = (leasing(), world());
    let (maker, plant) = (context("maker"), context("plant"));
    let offer = offer(&contract, "plant", 500);
    criterion.bench_function("create: offer a lease", |bencher| {
        bencher.iter(|| contract.apply(&offer, &maker, &world).unwrap())
    });
    run(&contract, &mut world, &maker, &offer);
    let accept = invoke(&contract, "accept", Some("L1"), json!({}));
    run(&contract, &mut world, &plant, &accept);
    let bill = invoke(&contract, "bill", Some("L1"), json!({ "hours": 1 }));
    criterion.bench_function("change: bill hours", |bencher| {
        bencher.iter(|| contract.apply(&bill, &maker, &world).unwrap())
    });
    let row = vec![Value::Symbol("temperature".into()), Value::Decimal(21_500)];
    let batch = Batch {
        contract: name("equipment-leasing"),
        stream: name("reading"),
        sequence: Sequence(1),
        rows: vec![row; 3],
    };
    let device = device("D1", "maker");
    criterion.bench_function("append: three rows", |bencher| {
        bencher.iter(|| contract.append(&batch, &device, &world).unwrap())
    });
    let lease = world.lease("L1");
    let asset_type = name("lease");
    criterion.bench_function("read: is a lease visible", |bencher| {
        bencher.iter(|| contract.visible(&plant.principal, &asset_type, "L1", &lease, &world))
    });
}

criterion_group!(benches, apply);
criterion_main!(benches);
