//! A package keeps the meaning it was deployed with, whatever becomes of the
//! packages it requires.

mod support;

use hufu_proof::{Digest, Height, Outcome, Value};
use support::*;

const SEALS: &str = r#"
[package]
name = "seals"
version = "1.0.0"
title = { en = "Seals", zh = "封印" }
implements = ["tests of the state machine"]
requires = ["meters@1"]

[roles]
operator = { title = { en = "Operator", zh = "运营商" } }

[asset.seal]
title = { en = "Seal", zh = "封印" }
key = "seal_id"
fields.seal_id = { type = "id" }
fields.meter = { type = "ref", to = "meters/meter", title = { en = "Meter", zh = "仪表" } }
states = ["whole"]

[action.seal]
title = { en = "Seal", zh = "加封" }
creates = "seal"
params = ["seal_id", "meter"]
"#;

const SEALS_POLICY: &str = r#"
permit (principal in Role::"operator", action == Action::"seal", resource is Seal)
when { resource.meter.owner == principal.member };

permit (principal, action == Action::"read", resource is Seal);
"#;

#[test]
fn a_package_is_compiled_with_what_it_was_deployed_with() {
    let mut node = Node::new();
    install(&mut node, &["pump"]);
    let seals = sources(&[
        ("contract.toml", SEALS),
        ("policy.cedar", SEALS_POLICY),
        ("README.md", "Seals of meters, for tests of the state machine.\n"),
    ]);
    node.deploy(&seals);
    let seal = |id: &str| {
        let meter = Value::Ref("pump".into());
        invoke("seals", "seal", id, &[("seal_id", Value::Id(id.into())), ("meter", meter)])
    };
    node.must(&key("operator"), seal("S1"));
    let before = node.height();
    let (old, new) = (meters("1.0.0"), meters("2.0.0"));
    node.deploy(&new);

    // With the meters that are active now it would not even compile.
    let reader = node.reader();
    let active = reader.compiled_package(&new.digest()).unwrap().unwrap();
    let now = [(name("meters"), active)].into();
    assert!(hufu_contract::check(&seals, &now).is_err());
    drop(reader);

    // Also when nothing is compiled yet.
    for restart in [false, true] {
        if restart {
            node = node.restart();
        }
        let reader = node.reader();
        let contract = reader.compiled_package(&seals.digest()).unwrap().unwrap();
        let required = &contract.dependencies()[&name("meters")];
        assert_eq!(
            (required.digest(), required.version().to_string()),
            (old.digest(), "1.0.0".into())
        );
        let active = |height: Height| {
            let state = reader.state_at(height).unwrap();
            state.compiled(&name("meters")).unwrap().unwrap().digest()
        };
        assert_eq!((active(before), active(node.height())), (old.digest(), new.digest()));
        assert!(reader.compiled_package(&Digest::of(b"never deployed")).unwrap().is_none());
    }
    assert_eq!(node.one(&key("operator"), seal("S2")), Outcome::Accepted);
}
