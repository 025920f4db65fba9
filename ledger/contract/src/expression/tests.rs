use std::collections::BTreeMap;

use hufu_proof::transaction::IdentityKind;
use hufu_proof::{Digest, IdentityId, Name, Sequence, UnixMillis, Value};
use proptest::prelude::*;

use super::ast::{At, Binary, Node, Unary};
use super::parse::parse;
use super::{Checked, Environment, Expression, ExpressionError, Fault, MAX_DEPTH, Scope};
use crate::contract::Catalogue;
use crate::manifest;
use crate::package::Package;
use crate::types::Type;
use crate::world::{Asset, Context, Member, Principal, PrincipalKind, World};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

const MANIFEST: &str = r#"
[package]
name = "lease"
version = "1.0.0"
title = { en = "Lease", zh = "租赁" }

[asset.device]
key = "device_id"
fields.device_id = { type = "id" }
fields.owner = { type = "member" }
states = ["active"]

[asset.lease]
key = "lease_id"
fields.lease_id = { type = "id" }
fields.device = { type = "ref", to = "device" }
fields.lessee = { type = "member" }
fields.rate = { type = "int", unit = "CNY 0.01 per hour" }
fields.accrued = { type = "int", unit = "CNY 0.01" }
fields.count = { type = "int" }
fields.share = { type = "decimal", scale = 3 }
fields.note = { type = "text", optional = true }
fields.tags = { type = "set", of = "symbol", max = 4 }
fields.opened = { type = "time", clock = "block" }
fields.declared = { type = "time" }
states = ["open", "closed"]

[action.bill]
on = "lease"
from = ["open"]
params.hours = { type = "int", unit = "hour", max = 744 }
params.times = { type = "int" }
"#;

fn package() -> Package {
    let (package, problems) = manifest::read(MANIFEST);
    assert_eq!(problems, []);
    package.unwrap()
}

struct OneDevice;

impl World for OneDevice {
    fn asset(&self, _: &Name, asset_type: &Name, key: &str) -> Option<Asset> {
        (asset_type.as_str() == "device" && key == "D1").then(|| Asset {
            state: name("active"),
            fields: BTreeMap::from([(name("owner"), Value::Member(name("plant")))]),
        })
    }

    fn member(&self, _: &Name, _: &Name) -> Option<Member> {
        None
    }

    fn stream_sequence(&self, _: &Name, _: &Name, _: &IdentityId) -> Sequence {
        Sequence::ZERO
    }
}

fn check(source: &str, wanted: &Type) -> Result<Checked, ExpressionError> {
    let package = package();
    let dependencies = BTreeMap::new();
    let environment = Environment {
        asset: package.assets.get("lease"),
        unset: &[],
        params: &package.actions["bill"].params,
        row: None,
        catalogue: &Catalogue { package: &package, dependencies: &dependencies },
    };
    environment.check(&parse(source)?, wanted)
}

fn evaluate(source: &str, wanted: &Type, change: impl Fn(&mut Asset)) -> Result<Value, Fault> {
    let checked = check(source, wanted).unwrap_or_else(|error| panic!("{source}: {error}"));
    let mut asset = Asset {
        state: name("open"),
        fields: BTreeMap::from([
            (name("device"), Value::Ref("D1".into())),
            (name("lessee"), Value::Member(name("plant"))),
            (name("rate"), Value::Int(500)),
            (name("accrued"), Value::Int(10)),
            (name("count"), Value::Int(7)),
            (name("share"), Value::Decimal(-1500)),
            (name("tags"), Value::Set([Value::Symbol("new".into())].into())),
            (name("opened"), Value::Time(1000)),
            (name("declared"), Value::Time(500)),
        ]),
    };
    change(&mut asset);
    let params = BTreeMap::from([(name("hours"), Value::Int(3)), (name("times"), Value::Int(2))]);
    let context = Context {
        principal: Principal {
            identity: IdentityId(Digest::default()),
            member: Some(name("plant")),
            kind: PrincipalKind::Signer(IdentityKind::Member),
            subject: "plant".into(),
        },
        via: None,
        block_height: hufu_proof::Height(9),
        block_time_ms: UnixMillis(5000),
    };
    checked.evaluate(&Scope {
        asset: Some(("L1", &asset)),
        params: &params,
        row: &[],
        context: &context,
        world: &OneDevice,
    })
}

fn truth(source: &str) -> Result<bool, Fault> {
    match evaluate(source, &Type::Bool, |_| ()) {
        Ok(Value::Bool(value)) => Ok(value),
        Ok(other) => panic!("{source} is {other:?}"),
        Err(fault) => Err(fault),
    }
}

#[test]
fn what_is_true() {
    for source in [
        "asset.accrued + params.hours * asset.rate == 1510",
        "params.times * asset.rate == asset.rate + asset.rate",
        "1 + 2 * 3 == 7 && (1 + 2) * 3 == 9",
        "10 - 3 - 2 == 5",
        "-7 / 2 == -3 && -7 % 2 == -1",
        "asset.share == -1.5 && asset.share < -1.499 && asset.share < 0",
        "asset.share * 2 == -3",
        "asset.share * asset.share == 2.25",
        "truncate(asset.share, 0) == -1 && truncate(asset.share * asset.share, 1) == 2.2",
        "asset.state == 'open' && asset.state != 'closed'",
        "asset.state in ['open', 'closed'] && !('x' in asset.tags) && 'new' in asset.tags",
        "asset.lease_id == 'L1' && asset.device == 'D1'",
        "asset.device.owner == asset.lessee && asset.device.state == 'active'",
        "principal.member == 'plant' && principal.kind == 'member'",
        "asset.lease_id != asset.device && join(asset.device, 7, 'x') == 'D1-7-x'",
        "digest('a-1') == digest(join('a', 1)) && digest('a') != digest('b')",
        "size(with(asset.tags, 'old')) == 2 && size(with(asset.tags, 'new')) == 1",
        "size(without(asset.tags, 'new')) == 0 && !('new' in without(asset.tags, 'new'))",
        "block.height == 9 && block.time - asset.opened == 4000",
        "block.time > asset.opened && asset.opened + 60000 > block.time",
        "!has(asset.note) && has(asset.count) && size(asset.tags) == 1",
        "min(asset.count, 3, 9) == 3 && max(asset.count, 3) == 7 && abs(-4) == 4",
        "(asset.count > 5 ? 2 : 1) == 2",
        "true || asset.note == 'x'",
        "!(false && asset.note == 'x')",
        "1 in [] || 1 in [1, 2]",
    ] {
        assert_eq!(truth(source), Ok(true), "{source}");
    }
}

#[test]
fn what_faults() {
    assert_eq!(truth("asset.note == 'x'"), Err(Fault::Missing));
    assert_eq!(truth("asset.count / (params.times - 2) == 1"), Err(Fault::DivisionByZero));
    assert_eq!(truth("asset.count % (params.times - 2) == 1"), Err(Fault::DivisionByZero));
    assert_eq!(truth("asset.count * 9223372036854775807 == 1"), Err(Fault::Overflow));
    assert_eq!(truth("block.time - 6000 > asset.opened"), Err(Fault::Overflow));
    let nowhere = |asset: &mut Asset| {
        asset.fields.insert(name("device"), Value::Ref("D2".into()));
    };
    let source = "asset.device.owner == 'plant'";
    assert_eq!(evaluate(source, &Type::Bool, nowhere), Err(Fault::Missing));
}

#[test]
fn what_is_refused() {
    for (source, at, message) in [
        ("asset.accrued + params.hours", 14, "mixes int in CNY 0.01 with int in hour"),
        ("asset.accrued + asset.count", 14, "mixes int in CNY 0.01 with int; both sides"),
        ("asset.rate * asset.rate == asset.rate", 24, "mixes int in"),
        ("block.time > asset.declared", 11, "different clocks"),
        ("asset.share / asset.share == 1", 12, "division by a decimal is not exact"),
        ("asset.count == 1.5", 12, "has 1 decimals where there are 0"),
        ("asset.count == 'one'", 12, "is text, not int"),
        ("asset.missing == 1", 5, "has no field `missing`"),
        ("params.hour == 1", 6, "`params` has no field `hour`; it has hours, times"),
        ("open == asset.state", 0, "text goes in quotes"),
        ("asset", 0, "is no value"),
        ("row.value > 1", 0, "there is no `row` here"),
        ("asset.lessee == 'Not A Name'", 13, "is not a name"),
        ("asset.state < 'b'", 12, "has no order"),
        ("asset.count && true", 5, "is int, not true or false"),
        ("f(1)", 0, "no function `f`"),
        ("1 / 0 == 1", 2, "always fails: division by zero"),
        ("9223372036854775807 + 1 > asset.count", 20, "always fails"),
        ("9223372036854775808 > 1", 0, "does not fit into 64 bits"),
        ("[[1]] == [[1]]", 0, "a list of lists"),
        ("asset.count", 5, "mixes int with bool"),
        ("1.2.3 > 1", 3, "at most one point"),
        ("1 = 1", 2, "compare with `==`"),
        ("'abc", 0, "no closing"),
        ("'a\\d'", 2, "after a backslash"),
        ("(1", 2, "found the end where `)` is wanted"),
        ("1 2", 2, "found a number where an operator or the end is wanted"),
        ("asset. == 1", 7, "the name of a field"),
        ("x ~ y", 2, "has no meaning here"),
        ("has(1)", 4, "`has` wants a field"),
        ("truncate(asset.share, asset.count) == 1", 27, "write the number of decimals"),
    ] {
        let error = check(source, &Type::Bool).expect_err(source);
        assert!(error.message.contains(message), "{source}: {error}");
        assert_eq!(error.at, at, "{source}: {error}");
    }
}

#[test]
fn depth_and_length_are_bounded() {
    let deep = "(".repeat(100_000);
    assert!(parse(&deep).unwrap_err().message.contains("at most"));
    for opening in ["(", "!", "-", "[", "size("] {
        let source = opening.repeat(500);
        let error = parse(&source).unwrap_err();
        assert!(error.message.contains("nested deeper"), "{opening}: {error}");
    }
    let chain = vec!["1"; usize::from(MAX_DEPTH) + 2].join("+");
    assert!(parse(&chain).unwrap_err().message.contains("nested deeper"));
    let fields = format!("asset{}", ".a".repeat(80));
    assert!(parse(&fields).unwrap_err().message.contains("nested deeper"));
}

#[test]
fn cost_counts_the_dearer_branch_and_references() {
    let cost = |source| check(source, &Type::Bool).unwrap().cost();
    assert_eq!(cost("true"), 1);
    assert_eq!(cost("asset.count > 1"), 3);
    assert!(cost("asset.device.owner == 'plant'") > 50);
    assert_eq!(
        cost("asset.count > 1 ? asset.device.owner == 'plant' : true"),
        cost("asset.device.owner == 'plant'") + 4
    );
}

/// Any tree, small enough that parentheses stay within the depth.
fn trees() -> impl Strategy<Value = Expression> {
    let make = |node| Expression { node, at: At(0) };
    let leaf = prop_oneof![
        (0..=i64::MAX, 0..4_u8).prop_map(|(digits, scale)| Node::Number { digits, scale }),
        "[ -~\n\té租]{0,8}".prop_map(Node::Text),
        any::<bool>().prop_map(Node::Bool),
        "[a-z_][a-z0-9_]{0,5}x".prop_map(Node::Name),
    ]
    .prop_map(make);
    leaf.prop_recursive(4, 40, 3, move |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        let binary = prop::sample::select(vec![
            Binary::Or,
            Binary::And,
            Binary::Equal,
            Binary::Unequal,
            Binary::Less,
            Binary::LessOrEqual,
            Binary::Greater,
            Binary::GreaterOrEqual,
            Binary::In,
            Binary::Add,
            Binary::Subtract,
            Binary::Multiply,
            Binary::Divide,
            Binary::Remainder,
        ]);
        let unary = prop::sample::select(vec![Unary::Not, Unary::Negate]);
        let items = prop::collection::vec(inner, 0..3);
        let word = "[a-z]{1,5}x";
        prop_oneof![
            (boxed.clone(), word).prop_map(|(of, field)| Node::Field(of, field)),
            (unary, boxed.clone()).prop_map(|(operator, of)| Node::Unary(operator, of)),
            (binary, boxed.clone(), boxed.clone())
                .prop_map(|(operator, one, other)| Node::Binary(operator, one, other)),
            (boxed.clone(), boxed.clone(), boxed)
                .prop_map(|(condition, one, other)| Node::Choice(condition, one, other)),
            items.clone().prop_map(Node::List),
            (word, items).prop_map(|(name, arguments)| Node::Call(name, arguments)),
        ]
        .prop_map(make)
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(tree in trees()) {
        let written = tree.to_string();
        // Numbers of one value may be written in one way only.
        prop_assert_eq!(parse(&written), Ok(tree), "{}", written);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_near_expression_makes_check_panic(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "asset", ".", "count", "share", "device", "owner", "tags", "note", "opened", "params",
                "hours", "block", "time", "1", "1.5", "'a'", "(", ")", "[", "]", ",", "+", "-", "*",
                "/", "%", "==", "<", "in", "?", ":", "&&", "||", "!", "size", "has", "min", "truncate",
                "true", "0",
            ]),
            0..24,
        )
    ) {
        let source = words.join(" ").replace(" . ", ".");
        let _ = check(&source, &Type::Bool);
    }

    #[test]
    fn integer_arithmetic_is_that_of_i64(one in any::<i64>(), other in any::<i64>()) {
        for (operator, expected) in [
            ("+", one.checked_add(other)),
            ("-", one.checked_sub(other)),
            ("*", one.checked_mul(other)),
            ("/", one.checked_div(other)),
            ("%", if other == -1 { Some(0) } else { one.checked_rem(other) }),
        ] {
            let source = format!("asset.count {operator} params.times");
            let checked = check(&source, &Type::int()).unwrap();
            let asset = Asset {
                state: name("open"),
                fields: BTreeMap::from([(name("count"), Value::Int(one))]),
            };
            let params = BTreeMap::from([(name("times"), Value::Int(other))]);
            let context = Context {
                principal: Principal {
                    identity: IdentityId(Digest::default()),
                    member: Some(name("plant")),
                    kind: PrincipalKind::Signer(IdentityKind::Member),
                    subject: String::new(),
                },
                via: None,
                block_height: hufu_proof::Height(0),
                block_time_ms: UnixMillis::ZERO,
            };
            let result = checked.evaluate(&Scope {
                asset: Some(("L1", &asset)),
                params: &params,
                row: &[],
                context: &context,
                world: &OneDevice,
            });
            prop_assert_eq!(result.ok(), expected.map(Value::Int));
        }
    }
}
