//! Execution of a contract: the order of checks, effects, policy, visibility.

mod support;

use hufu_contract::{Asset, Context, Event};
use hufu_proof::transaction::Batch;
use hufu_proof::{Outcome, Sequence, Value};
use serde_json::json;
use support::*;

#[test]
fn a_lease_lives_from_offer_to_payment() {
    let (contract, mut world) = (leasing(), world());
    let (maker, plant) = (context("maker"), context("plant"));
    let mut go = |context: &Context, action: &str, params| {
        let invocation = invoke(&contract, action, Some("L1"), params);
        run(&contract, &mut world, context, &invocation)
    };
    let offer = json!({ "device": "D1", "lessee": "plant", "rate_per_hour": 500 });
    assert_eq!(go(&maker, "offer", offer.clone()), Outcome::Accepted);
    assert_eq!(go(&maker, "offer", offer), Outcome::AssetExists);
    assert_eq!(go(&maker, "bill", json!({ "hours": 1 })), Outcome::WrongState);
    assert_eq!(go(&maker, "accept", json!({})), Outcome::Policy);
    assert_eq!(go(&plant, "accept", json!({})), Outcome::Accepted);
    assert_eq!(go(&maker, "bill", json!({ "hours": 3 })), Outcome::Accepted);
    assert_eq!(go(&plant, "pay", json!({ "amount": 1501 })), Outcome::Invariant);
    assert_eq!(go(&plant, "pay", json!({ "amount": 1500 })), Outcome::Accepted);
    let lease = world.lease("L1");
    assert_eq!(lease.state, name("active"));
    assert_eq!(lease.fields["accrued"], Value::Int(1500));
    assert_eq!(lease.fields["paid"], Value::Int(1500));
    assert_eq!(lease.fields["lessor"], Value::Member(name("maker")));
    assert!(!lease.fields.contains_key("note") && !lease.fields.contains_key("lease_id"));
}

#[test]
fn effects_name_what_is_made_and_what_happened() {
    let (contract, mut world) = (leasing(), world());
    let effects = contract.apply(&offer(&contract, "plant", 1), &context("maker"), &world).unwrap();
    assert!(effects.writes[0].created && effects.events.is_empty());
    world.write(&effects);
    let accept = invoke(&contract, "accept", Some("L1"), json!({}));
    let effects = contract.apply(&accept, &context("plant"), &world).unwrap();
    assert!(!effects.writes[0].created);
    let event = Event {
        contract: name("equipment-leasing"),
        name: name("accepted"),
        asset_type: name("lease"),
        key: "L1".to_owned(),
    };
    assert_eq!(effects.events, [event]);
}

#[test]
fn the_first_failure_wins() {
    let (contract, world) = (leasing(), world());
    let maker = context("maker");
    let apply = |invocation: &_| contract.apply(invocation, &maker, &world).unwrap_err();

    let mut unknown = offer(&contract, "plant", 1);
    unknown.action = name("melt");
    assert_eq!(apply(&unknown), Outcome::NoAction);

    let bill = invoke(&contract, "bill", Some("L9"), json!({ "hours": 1 }));
    assert_eq!(apply(&bill), Outcome::NoAsset);

    let mut empty_key = offer(&contract, "plant", 1);
    empty_key.asset = String::new();
    assert_eq!(apply(&empty_key), Outcome::Parameter);

    let mut missing = offer(&contract, "plant", 1);
    missing.params.remove("lessee");
    assert_eq!(apply(&missing), Outcome::Parameter);

    let mut surplus = offer(&contract, "plant", 1);
    surplus.params.insert(name("discount"), Value::Int(1));
    assert_eq!(apply(&surplus), Outcome::Parameter);

    let mut typed = offer(&contract, "plant", 1);
    typed.params.insert(name("rate_per_hour"), Value::Decimal(1));
    assert_eq!(apply(&typed), Outcome::Parameter);

    let mut bounds = offer(&contract, "plant", 1);
    bounds.params.insert(name("rate_per_hour"), Value::Int(-1));
    assert_eq!(apply(&bounds), Outcome::Parameter);

    // The key may be repeated, but not otherwise.
    let mut repeated = offer(&contract, "plant", 1);
    repeated.params.insert(name("lease_id"), Value::Id("L1".into()));
    assert!(contract.apply(&repeated, &maker, &world).is_ok());
    repeated.params.insert(name("lease_id"), Value::Id("L2".into()));
    assert_eq!(apply(&repeated), Outcome::Parameter);

    // An unknown member is no parameter; a missing asset is no effect.
    assert_eq!(apply(&offer(&contract, "nobody", 1)), Outcome::Parameter);
    let mut dangling = offer(&contract, "plant", 1);
    dangling.params.insert(name("device"), Value::Ref("D2".into()));
    assert_eq!(apply(&dangling), Outcome::Effect);
}

#[test]
fn policies_follow_references_and_roles() {
    let (contract, mut world) = (leasing(), world());
    let apply = |world: &Maps, context: &Context, invocation: &_| {
        contract.apply(invocation, context, world).map(drop)
    };
    // The lessee must be in role lessee; the signer must own the device.
    let stranger = offer(&contract, "stranger", 1);
    assert_eq!(apply(&world, &context("maker"), &stranger), Err(Outcome::Policy));
    let good = offer(&contract, "plant", 1);
    assert_eq!(apply(&world, &context("plant"), &good), Err(Outcome::Policy));
    assert_eq!(apply(&world, &context("maker"), &good), Ok(()));
    // A device of the maker is not in the maker's roles.
    assert_eq!(apply(&world, &device("D1", "maker"), &good), Err(Outcome::Policy));
    // A member the world does not know may do nothing.
    assert_eq!(apply(&world, &context("nobody"), &good), Err(Outcome::Policy));

    // The device itself bills, another device does not.
    assert_eq!(run(&contract, &mut world, &context("maker"), &good), Outcome::Accepted);
    let accept = invoke(&contract, "accept", Some("L1"), json!({}));
    assert_eq!(run(&contract, &mut world, &context("plant"), &accept), Outcome::Accepted);
    let tick = invoke(&contract, "tick", Some("L1"), json!({ "hours": 2 }));
    assert_eq!(apply(&world, &device("D1", "maker"), &tick), Ok(()));
    assert_eq!(apply(&world, &device("D2", "maker"), &tick), Err(Outcome::Policy));
    assert_eq!(apply(&world, &context("maker"), &tick), Err(Outcome::Policy));

    // A forbid wins, and reads optional parameters.
    let annotate = |note: &str| invoke(&contract, "annotate", Some("L1"), json!({ "note": note }));
    assert_eq!(apply(&world, &context("maker"), &annotate("fine")), Ok(()));
    let forbidden = annotate("this is forbidden here");
    assert_eq!(apply(&world, &context("maker"), &forbidden), Err(Outcome::Policy));
    let silent = invoke(&contract, "annotate", Some("L1"), json!({}));
    assert_eq!(apply(&world, &context("maker"), &silent), Ok(()));
}

#[test]
fn overflow_refuses_and_changes_nothing() {
    let (contract, mut world) = (leasing(), world());
    let offer = offer(&contract, "plant", i64::MAX);
    assert_eq!(run(&contract, &mut world, &context("maker"), &offer), Outcome::Accepted);
    let accept = invoke(&contract, "accept", Some("L1"), json!({}));
    assert_eq!(run(&contract, &mut world, &context("plant"), &accept), Outcome::Accepted);
    let before = world.lease("L1");
    let bill = invoke(&contract, "bill", Some("L1"), json!({ "hours": 2 }));
    assert_eq!(run(&contract, &mut world, &context("maker"), &bill), Outcome::Effect);
    assert_eq!(world.lease("L1"), before);
}

#[test]
fn who_sees_a_lease() {
    let (contract, mut world) = (leasing(), world());
    run(&contract, &mut world, &context("maker"), &offer(&contract, "plant", 1));
    let lease = world.lease("L1");
    let sees = |member: &str| {
        let principal = context(member).principal;
        contract.visible(&principal, &name("lease"), "L1", &lease, &world)
    };
    assert!(sees("maker") && sees("plant") && sees("watcher"));
    assert!(!sees("stranger") && !sees("southern") && !sees("nobody"));
    let reads = |member: &str| {
        contract.stream_visible(&context(member).principal, &name("reading"), "D1", &world)
    };
    assert!(reads("watcher") && !reads("southern") && !reads("maker"));
}

#[test]
fn batches_are_checked_in_order() {
    let (contract, mut world) = (leasing(), world());
    let row = |value: i64| vec![Value::Symbol("t".into()), Value::Decimal(value)];
    let batch = |sequence, rows| Batch {
        contract: name("equipment-leasing"),
        stream: name("reading"),
        sequence: Sequence(sequence),
        rows,
    };
    let d1 = device("D1", "maker");
    let refused = |world: &Maps, context: &Context, batch: &Batch| {
        contract.append(batch, context, world).unwrap_err()
    };
    let good = batch(1, vec![row(1), row(2)]);
    let effects = contract.append(&good, &d1, &world).unwrap();
    assert_eq!((effects.device.as_str(), effects.sequence), ("D1", Sequence(1)));

    let mut elsewhere = good.clone();
    elsewhere.stream = name("other");
    assert_eq!(refused(&world, &d1, &elsewhere), Outcome::NoAction);
    assert_eq!(refused(&world, &d1, &batch(1, vec![row(1); 4])), Outcome::Oversized);
    assert_eq!(refused(&world, &device("D2", "maker"), &good), Outcome::NoAsset);
    // Another key that claims to be D1.
    let mut impostor = device("D1", "maker");
    impostor.principal.identity = identity("X");
    assert_eq!(refused(&world, &impostor, &good), Outcome::Forbidden);
    assert_eq!(refused(&world, &d1, &batch(2, vec![row(1)])), Outcome::Sequence);
    assert_eq!(refused(&world, &d1, &batch(0, vec![row(1)])), Outcome::Sequence);
    assert_eq!(refused(&world, &d1, &batch(1, vec![])), Outcome::Parameter);
    let short = vec![vec![Value::Symbol("t".into())]];
    assert_eq!(refused(&world, &d1, &batch(1, short)), Outcome::Parameter);
    let typed = vec![vec![Value::Symbol("t".into()), Value::Int(1)]];
    assert_eq!(refused(&world, &d1, &batch(1, typed)), Outcome::Parameter);
    assert_eq!(refused(&world, &d1, &batch(1, vec![row(1_000_000)])), Outcome::Invariant);

    world.sequences.insert((name("reading"), identity("D1")), Sequence(1));
    assert_eq!(refused(&world, &d1, &good), Outcome::Sequence);
    assert!(contract.append(&batch(2, vec![row(1)]), &d1, &world).is_ok());
    for asset in world.assets.values_mut() {
        asset.state = name("suspended");
    }
    assert_eq!(refused(&world, &d1, &batch(2, vec![row(1)])), Outcome::Policy);
}

#[test]
fn times_are_plausible_whoever_sends_them() {
    const BOUNDS: &str = r#"type = "time", min = "2020-01-01T00:00:00Z", max_ahead = 60000"#;
    let source =
        LEASING.replace("rows.metric", &format!("rows.at = {{ {BOUNDS} }}\nrows.metric")).replace(
            "params.hours = {",
            &format!("params.since = {{ {BOUNDS}, optional = true }}\nparams.hours = {{"),
        );
    let contract = leasing_with(&source, LEASING_POLICY).unwrap();
    let (mut world, d1) = (world(), device("D1", "maker"));
    let now = d1.block_time_ms.get();
    let min = 1_577_836_800_000;
    let append = |at: u64| {
        let row = vec![Value::Time(at), Value::Symbol("t".into()), Value::Decimal(1)];
        // Behind one that is plausible: all rows are looked at.
        let good = vec![Value::Time(now), Value::Symbol("t".into()), Value::Decimal(1)];
        let contract_name = name("equipment-leasing");
        let (stream, rows) = (name("reading"), vec![good, row]);
        let batch = Batch { contract: contract_name, stream, sequence: Sequence(1), rows };
        contract.append(&batch, &d1, &world).map(drop)
    };
    assert_eq!(append(min), Ok(()));
    assert_eq!(append(now + 60_000), Ok(()));
    assert_eq!(append(now + 60_001), Err(Outcome::Time));
    assert_eq!(append(min - 1), Err(Outcome::Time));
    // Seconds for milliseconds, and no time at all.
    assert_eq!(append(now / 1000), Err(Outcome::Time));
    assert_eq!(append(u64::MAX), Err(Outcome::Parameter));

    run(&contract, &mut world, &context("maker"), &offer(&contract, "plant", 1));
    let accept = invoke(&contract, "accept", Some("L1"), json!({}));
    run(&contract, &mut world, &context("plant"), &accept);
    let mut bill = |since: u64| {
        let params = json!({ "hours": 1, "since": since });
        let bill = invoke(&contract, "bill", Some("L1"), params);
        run(&contract, &mut world, &context("maker"), &bill)
    };
    assert_eq!(bill(now / 1000), Outcome::Time);
    assert_eq!(bill(now + 60_001), Outcome::Time);
    assert_eq!(bill(now), Outcome::Accepted);
}

#[test]
fn a_metric_has_one_spelling_whoever_signs_it() {
    let (contract, world) = (leasing(), world());
    let append = |metric: &str| {
        let rows = vec![vec![Value::Symbol(metric.to_owned()), Value::Decimal(1)]];
        let (of, stream) = (name("equipment-leasing"), name("reading"));
        let batch = Batch { contract: of, stream, sequence: Sequence(1), rows };
        contract.append(&batch, &device("D1", "maker"), &world).map(drop)
    };
    assert_eq!(append("temp\u{e9}rature"), Ok(()));
    for other in ["tempe\u{301}rature", "temp\u{200b}", "ｔemp", "temp\u{202e}", "temp "] {
        assert_eq!(append(other), Err(Outcome::Parameter), "{other:?}");
    }
}

#[test]
fn an_asset_that_grows_too_large_is_refused() {
    let contract = LEASING
        .replace("max = 4096", "max = 32768")
        .replace("[action.annotate]", "[action.annotate]\nset.log = \"asset.note\"");
    let contract = contract.replace(
        "states = [\"offered\"",
        "fields.log = { type = \"text\", max = 32768, optional = true }\nstates = [\"offered\"",
    );
    let contract = leasing_with(&contract, LEASING_POLICY).unwrap();
    let mut world = world();
    run(&contract, &mut world, &context("maker"), &offer(&contract, "plant", 1));
    let annotate =
        |text: String| invoke(&contract, "annotate", Some("L1"), json!({ "note": text }));
    // Without a note there is nothing to keep.
    let outcome = run(&contract, &mut world, &context("maker"), &annotate("a".repeat(32_768)));
    assert_eq!(outcome, Outcome::Effect);
    let place = (name("equipment-leasing"), name("lease"), "L1".to_owned());
    let lease = world.assets.get_mut(&place).unwrap();
    lease.fields.insert(name("note"), Value::Text("b".repeat(32_768)));
    let outcome = run(&contract, &mut world, &context("maker"), &annotate("a".repeat(32_768)));
    assert_eq!(outcome, Outcome::Limit);
    let _: &Asset = &world.lease("L1");
}
