//! What contracts do by themselves, on a machine: who is asked, what is recorded,
//! what is left of what was refused.

mod support;

use hufu_contract::Sources;
use hufu_machine::Event;
use hufu_proof::transaction::Firing;
use hufu_proof::{Outcome, Payload, Value};
use support::*;

const RULES: &str = r#"
[package]
name = "rules"
version = "VERSION"
title = { en = "Rules", zh = "规则" }
requires = ["meters@1"]

[asset.rule]
title = { en = "Rule", zh = "规则" }
key = "rule_id"
fields.rule_id = { type = "id" }
fields.meter = { type = "ref", to = "meters/meter", title = { en = "Meter", zh = "仪表" } }
fields.most = { type = "decimal", scale = 3, title = { en = "Most", zh = "上限" } }
fields.until = { type = "time", clock = "block", title = { en = "Until", zh = "期限" } }
fields.over = { type = "int", initial = 0, max = 3, title = { en = "Times over", zh = "超限次数" } }
states = ["open", "ended"]

[action.watch]
title = { en = "Watch", zh = "监测" }
creates = "rule"
params = ["rule_id", "meter", "most"]
set.until = "block.time + 5000"

[action.count]
title = { en = "Count", zh = "计数" }
on = "rule"
from = ["open"]
set.over = "asset.over + 1"
emit = "over"

[action.end]
title = { en = "End", zh = "结束" }
on = "rule"
from = ["open"]
to = "ended"

TRIGGER
[trigger.ended]
on = "rule"
due = "asset.until"
do = "end"
target = "asset.rule_id"
"#;

const OVER: &str = r#"[trigger.over]
on = "meters/reading"
find = { asset = "rule", key = "row.device" }
when = "row.value > asset.most"
do = "count"
target = "asset.rule_id"
"#;

const POLICY: &str = r#"
permit (principal, action == Action::"watch", resource is Rule)
when { resource.meter.owner == principal.member };
permit (principal, action == Action::"count", resource is Rule)
when { principal.kind == "device" && context has via && context.via == "rules/over" };
permit (principal, action == Action::"end", resource is Rule)
when { principal.kind == "clock" };
permit (principal, action == Action::"read", resource is Rule);
"#;

fn rules(version: &str, trigger: &str) -> Sources {
    let contract = RULES.replace("VERSION", version).replace("TRIGGER", trigger);
    let readme = "Rules for meters, for tests of the state machine.\n";
    sources(&[("contract.toml", &contract), ("policy.cedar", POLICY), ("README.md", readme)])
}

/// A rule for the pump: at most 10.
fn watched(version: &str, trigger: &str) -> Node {
    let mut node = Node::new();
    install(&mut node, &["pump"]);
    node.deploy(&rules(version, trigger));
    let most = [("meter", Value::Ref("pump".into())), ("most", Value::Decimal(10_000))];
    node.must(&key("operator"), invoke("rules", "watch", "pump", &most));
    node
}

fn over(node: &Node) -> (Value, String) {
    let state = node.reader().state().unwrap();
    let rule = state.asset_record(&name("rules"), &name("rule"), "pump").unwrap().unwrap();
    (rule.fields["over"].clone(), rule.state.to_string())
}

/// What fired in the last block, and what became of it.
fn fired(node: &Node) -> Vec<(String, Outcome)> {
    let replay = node.reader().replay(node.height()).unwrap().unwrap();
    let fired = replay.events.iter().filter_map(|event| match event {
        Event::Fired { contract, trigger, outcome, .. } => {
            Some((format!("{contract}/{trigger}"), *outcome))
        }
        _ => None,
    });
    fired.collect()
}

fn fire() -> Payload {
    let (contract, trigger) = (name("rules"), name("ended"));
    Payload::Fire(Firing { contract, trigger, asset: "pump".into() })
}

#[test]
fn a_row_of_another_contract_triggers_what_its_device_may_do() {
    let mut node = watched("1.0.0", OVER);
    let rows = vec![reading(9_000), reading(10_001), reading(11_000)];
    node.must(&key("pump"), append("meters", "reading", 1, rows));
    let once = ("rules/over".to_owned(), Outcome::Accepted);
    let twice = [once.clone(), once];
    assert_eq!(fired(&node), twice);
    assert_eq!(over(&node).0, Value::Int(2));

    // The third may be counted, the fourth not; the readings stand all the same.
    let rows = vec![reading(12_000), reading(13_000)];
    node.must(&key("pump"), append("meters", "reading", 2, rows));
    let outcomes: Vec<Outcome> = fired(&node).into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(outcomes, [Outcome::Accepted, Outcome::Effect]);
    assert_eq!(over(&node).0, Value::Int(3));

    // Opened again, it goes on the same.
    let root = node.reader().commitment(node.height()).unwrap().unwrap().state_root;
    let mut node = node.restart();
    assert_eq!(node.reader().commitment(node.height()).unwrap().unwrap().state_root, root);
    node.must(&key("pump"), append("meters", "reading", 3, vec![reading(14_000)]));
    assert_eq!(fired(&node), [("rules/over".to_owned(), Outcome::Effect)]);
}

#[test]
fn nobody_counts_by_hand_and_a_new_version_may_stop_listening() {
    let mut node = watched("1.0.0", OVER);
    let by_hand = invoke("rules", "count", "pump", &[]);
    assert_eq!(node.one(&key("operator"), by_hand.clone()), Outcome::Policy);
    assert_eq!(node.one(&key("pump"), by_hand), Outcome::Policy);
    node.deploy(&rules("1.1.0", ""));
    node.must(&key("pump"), append("meters", "reading", 1, vec![reading(11_000)]));
    assert_eq!(fired(&node), []);
    node.deploy(&rules("1.2.0", OVER));
    node.must(&key("pump"), append("meters", "reading", 2, vec![reading(11_000)]));
    assert_eq!(fired(&node), [("rules/over".to_owned(), Outcome::Accepted)]);
}

#[test]
fn a_date_is_pointed_at_by_whoever_notices() {
    let mut node = watched("1.0.0", OVER);
    assert_eq!(node.one(&key("regulator"), fire()), Outcome::NotDue);
    for _ in 0..10 {
        node.run(Vec::new());
    }
    let ended = node.must(&key("pump"), fire());
    assert_eq!(over(&node).1, "ended");
    assert_eq!(fired(&node), [("rules/ended".to_owned(), Outcome::Accepted)]);
    // It has a receipt like everything else.
    assert!(node.reader().entry(&ended.id()).unwrap().is_some());
    // In its new state it is still due, and there is nothing to end.
    assert_eq!(node.one(&key("regulator"), fire()), Outcome::WrongState);
    let unknown = |contract: &str, trigger: &str, asset: &str| {
        let (contract, trigger) = (name(contract), name(trigger));
        Payload::Fire(Firing { contract, trigger, asset: asset.into() })
    };
    for (payload, outcome) in [
        (unknown("nothing", "ended", "pump"), Outcome::NoContract),
        (unknown("rules", "begun", "pump"), Outcome::NoAction),
        (unknown("rules", "over", "pump"), Outcome::NoAction),
        (unknown("rules", "ended", "fan"), Outcome::NoAsset),
        (unknown("rules", "ended", ""), Outcome::Malformed),
        (unknown("rules", "ended", &"a".repeat(129)), Outcome::Oversized),
    ] {
        assert_eq!(node.one(&key("regulator"), payload), outcome);
    }
}
