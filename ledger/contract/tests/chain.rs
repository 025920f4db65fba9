//! What actions call, and what rows, changes and dates trigger.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use hufu_contract::{Contract, Problem, World as _, check};
use hufu_proof::transaction::{Batch, Firing, Invocation};
use hufu_proof::{Outcome, Sequence, UnixMillis, Value};
use proptest::prelude::*;

use support::*;

const GOODS: &str = r#"
[package]
name = "goods"
version = "1.0.0"
title = { en = "Goods", zh = "货物" }

[asset.item]
key = "item_id"
fields.item_id = { type = "id" }
fields.identity = { type = "identity" }
fields.owner = { type = "member" }
states = ["held", "sold"]

[action.make]
creates = "item"
params = ["item_id", "identity"]
set.owner = "principal.member"

[action.sell]
on = "item"
from = ["held"]
to = "sold"
params = ["owner"]
emit = "sold"

[stream.weighing]
signer = "item"
sequence = "strict"
rows.kg = { type = "int", unit = "kg" }
rows.at = { type = "time" }
max_rows = 100
"#;

const GOODS_POLICY: &str = r#"
permit (principal, action == Action::"make", resource is Item);
permit (principal, action == Action::"sell", resource is Item)
when { resource.owner == principal.member && context has via && context.via == "market/hand-over" };
permit (principal, action == Action::"append", resource is Weighing);
"#;

const MARKET: &str = r#"
[package]
name = "market"
version = "1.0.0"
title = { en = "Market", zh = "市场" }
requires = ["goods@1"]

[asset.offer]
key = "offer_id"
fields.offer_id = { type = "id" }
fields.item = { type = "ref", to = "goods/item" }
fields.seller = { type = "member" }
fields.buyer = { type = "member", optional = true }
fields.most = { type = "int", unit = "kg", initial = 10 }
fields.weighed = { type = "int", unit = "kg", initial = 0 }
fields.watchers = { type = "set", of = "member", max = 4, initial = [] }
fields.until = { type = "time", clock = "block" }
states = ["open", "closed", "expired"]

[asset.receipt]
key = "receipt_id"
fields.receipt_id = { type = "id" }
fields.item = { type = "ref", to = "goods/item" }
fields.seal = { type = "digest" }
states = ["made"]

[action.offer]
creates = "offer"
params = ["offer_id", "item"]
set.seller = "principal.member"
set.until = "block.time + 1000"

[action.hand-over]
on = "offer"
from = ["open"]
to = "closed"
params.buyer = { field = true, optional = false }
set.watchers = "with(asset.watchers, params.buyer)"
[[action.hand-over.then]]
do = "goods/sell"
target = "asset.item"
with.owner = "asset.buyer"
when = "asset.buyer != asset.seller"

[action.weigh]
on = "offer"
from = ["open"]
params.kg = { type = "int", unit = "kg" }
set.weighed = "max(asset.weighed, params.kg)"

[action.expire]
on = "offer"
from = ["open"]
to = "expired"

[action.issue]
creates = "receipt"
params = ["receipt_id", "item"]
set.seal = "digest(join('sold', params.item))"

[trigger.sold]
on = "goods/item"
to = ["sold"]
do = "issue"
target = "join('receipt', asset.item_id)"
with.item = "asset.item_id"

[trigger.weighed]
on = "goods/weighing"
find = { asset = "offer", key = "join('offer', row.device)" }
when = "row.kg > asset.weighed"
do = "weigh"
target = "asset.offer_id"
with.kg = "row.kg"

[trigger.expired]
on = "offer"
from = ["open"]
due = "asset.until"
do = "expire"
target = "asset.offer_id"

[invariant.not-heavy]
on = "offer"
holds = "asset.weighed <= asset.most"
"#;

const MARKET_POLICY: &str = r#"
permit (principal, action in [Action::"offer", Action::"hand-over"], resource is Offer);
permit (principal, action == Action::"weigh", resource is Offer)
when { principal.kind == "device" && context has via && context.via == "market/weighed" };
permit (principal, action == Action::"expire", resource is Offer)
when { principal.kind == "clock" };
permit (principal, action == Action::"issue", resource is Receipt)
when { context has via };
"#;

fn compile(
    manifest: &str,
    policy: &str,
    needs: &[&Arc<Contract>],
) -> Result<Arc<Contract>, Vec<Problem>> {
    let files = [("contract.toml", manifest), ("policy.cedar", policy), ("README.md", "# It\n")];
    let needs = needs.iter().map(|one| (one.name().clone(), Arc::clone(one))).collect();
    check(&sources(&files), &needs).map(Arc::new)
}

fn said(problems: Vec<Problem>) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Members plant and maker; item pump of the maker, and its offer.
struct Fair {
    world: Maps,
    goods: Arc<Contract>,
    market: Arc<Contract>,
}

impl Fair {
    fn new() -> Self {
        Self::with(MARKET, MARKET_POLICY)
    }

    fn with(market: &str, policy: &str) -> Self {
        let goods = compile(GOODS, GOODS_POLICY, &[]).unwrap_or_else(|p| panic!("{}", said(p)));
        let market = compile(market, policy, &[&goods]).unwrap_or_else(|p| panic!("{}", said(p)));
        let mut world = world();
        for contract in [&goods, &market] {
            world.contracts.insert(contract.name().clone(), Arc::clone(contract));
        }
        let mut fair = Self { world, goods, market };
        let key = Value::Identity(identity("pump"));
        fair.act("maker", "goods", "make", "pump", &[("identity", key)]).unwrap();
        let item = Value::Ref("pump".into());
        fair.act("maker", "market", "offer", "offer-pump", &[("item", item)]).unwrap();
        fair
    }

    fn act(
        &mut self,
        who: &str,
        contract: &str,
        action: &str,
        on: &str,
        params: &[(&str, Value)],
    ) -> Result<hufu_contract::Effects, Outcome> {
        let invocation = Invocation {
            contract: name(contract),
            action: name(action),
            asset: on.into(),
            params: params.iter().map(|(key, value)| (name(key), value.clone())).collect(),
        };
        let contract = self.world.contracts[&name(contract)].clone();
        let effects = contract.apply(&invocation, &context(who), &self.world)?;
        self.world.write(&effects);
        Ok(effects)
    }

    fn hand_over(&mut self, who: &str) -> Result<hufu_contract::Effects, Outcome> {
        let buyer = Value::Member(name("plant"));
        self.act(who, "market", "hand-over", "offer-pump", &[("buyer", buyer)])
    }

    fn weigh(&mut self, kilograms: &[i64]) -> hufu_contract::StreamEffects {
        let batch = Batch {
            contract: name("goods"),
            stream: name("weighing"),
            sequence: Sequence(1),
            rows: kilograms.iter().map(|kg| vec![Value::Time(1), Value::Int(*kg)]).collect(),
        };
        let effects = self.goods.append(&batch, &device("pump", "maker"), &self.world).unwrap();
        self.world.write(&effects.triggered);
        effects
    }

    fn fire(&mut self, after: u64) -> Result<hufu_contract::Effects, Outcome> {
        let mut context = context("stranger");
        context.block_time_ms = UnixMillis(context.block_time_ms.get() + after);
        let firing = Firing {
            contract: name("market"),
            trigger: name("expired"),
            asset: "offer-pump".into(),
        };
        self.market.fire(&firing, &context, &self.world)
    }

    fn state(&self, contract: &str, asset: &str, key: &str) -> Option<String> {
        let asset = self.world.asset(&name(contract), &name(asset), key)?;
        Some(asset.state.to_string())
    }
}

#[test]
fn what_an_action_calls_happens_with_it() {
    let mut fair = Fair::new();
    let effects = fair.hand_over("maker").unwrap();
    assert_eq!(fair.state("market", "offer", "offer-pump").unwrap(), "closed");
    assert_eq!(fair.state("goods", "item", "pump").unwrap(), "sold");
    let item = fair.world.asset(&name("goods"), &name("item"), "pump").unwrap();
    assert_eq!(item.fields["owner"], Value::Member(name("plant")));
    // The change of the item triggers a receipt in the market's books.
    let receipt = fair.world.asset(&name("market"), &name("receipt"), "receipt-pump").unwrap();
    let seal = hufu_proof::Digest::of(b"sold-pump");
    assert_eq!(receipt.fields["seal"], Value::Digest(seal));
    let told: Vec<String> =
        effects.events.iter().map(|event| format!("{}/{}", event.contract, event.name)).collect();
    assert_eq!(told, ["goods/sold"]);
    let fired: Vec<(String, Outcome)> =
        effects.fired.iter().map(|one| (one.trigger.to_string(), one.outcome)).collect();
    assert_eq!(fired, [("sold".to_owned(), Outcome::Accepted)]);
    let offer = fair.world.asset(&name("market"), &name("offer"), "offer-pump").unwrap();
    assert_eq!(offer.fields["watchers"], Value::Set([Value::Member(name("plant"))].into()));
}

#[test]
fn what_is_called_is_judged_by_its_own_guard_and_takes_all_with_it() {
    let mut fair = Fair::new();
    // The market lets anybody hand over; the goods let nobody but the owner sell.
    assert_eq!(fair.hand_over("plant"), Err(Outcome::Policy));
    assert_eq!(fair.state("market", "offer", "offer-pump").unwrap(), "open");
    // Nor does anybody sell without the market.
    let buyer = Value::Member(name("plant"));
    let sold = fair.act("maker", "goods", "sell", "pump", &[("owner", buyer)]);
    assert_eq!(sold, Err(Outcome::Policy));
}

#[test]
fn a_trigger_that_is_refused_refuses_nothing_but_itself() {
    let mut fair = Fair::new();
    let effects = fair.weigh(&[3, 2, 7]);
    let fired: Vec<Outcome> = effects.triggered.fired.iter().map(|one| one.outcome).collect();
    assert_eq!(fired, [Outcome::Accepted, Outcome::Accepted], "2 is not more than 3");
    assert_eq!(effects.triggered.writes.len(), 1, "an asset that was written twice is one");
    let effects = fair.weigh(&[11, 9]);
    let fired: Vec<Outcome> = effects.triggered.fired.iter().map(|one| one.outcome).collect();
    assert_eq!(fired, [Outcome::Invariant, Outcome::Accepted]);
    let offer = fair.world.asset(&name("market"), &name("offer"), "offer-pump").unwrap();
    assert_eq!(offer.fields["weighed"], Value::Int(9));
    let cause = &effects.triggered.fired[0].cause;
    assert_eq!((cause.asset_type.as_str(), cause.key.as_str()), ("item", "pump"));
}

#[test]
fn a_date_is_due_once_it_has_come() {
    let mut fair = Fair::new();
    assert_eq!(fair.fire(999), Err(Outcome::NotDue));
    let effects = fair.fire(1000).unwrap();
    assert_eq!(effects.writes[0].asset.state.as_str(), "expired");
    fair.world.write(&effects);
    assert_eq!(fair.fire(1000), Err(Outcome::WrongState));
    let by_hand = fair.act("maker", "market", "expire", "offer-pump", &[]);
    assert_eq!(by_hand, Err(Outcome::WrongState));
    // A row's trigger is no date.
    let firing =
        Firing { contract: name("market"), trigger: name("weighed"), asset: "offer-pump".into() };
    let context = context("maker");
    assert_eq!(fair.market.fire(&firing, &context, &fair.world), Err(Outcome::NoAction));
}

#[test]
fn what_only_the_clock_may_do_nobody_signs() {
    let mut fair = Fair::new();
    assert_eq!(fair.act("maker", "market", "expire", "offer-pump", &[]), Err(Outcome::Policy));
}

#[test]
fn what_would_go_on_for_ever_ends() {
    let again = r#"
[action.touch]
on = "offer"
from = ["open"]
set.weighed = "asset.weighed + 1"

[trigger.again]
on = "offer"
do = "touch"
target = "asset.offer_id"
"#;
    let manifest = format!("{MARKET}{again}");
    let policy = format!(
        "{MARKET_POLICY}\npermit (principal, action == Action::\"touch\", resource is Offer);"
    );
    let mut fair = Fair::with(&manifest, &policy);
    let before = fair.world.asset(&name("market"), &name("offer"), "offer-pump").unwrap();
    let Value::Int(before) = before.fields["weighed"] else { panic!("{before:?}") };
    let effects = fair.act("maker", "market", "touch", "offer-pump", &[]).unwrap();
    let last = effects.fired.last().map(|one| one.outcome);
    assert!(effects.fired.iter().any(|one| one.outcome == Outcome::Limit), "{last:?}");
    let after = &effects.writes[0].asset.fields["weighed"];
    assert_eq!(*after, Value::Int(before + i64::from(5_u32)), "as deep as calls go");
    // Wide is bounded, too.
    let rows: Vec<i64> = (0..100).map(|kg| kg % 2).collect();
    assert!(fair.weigh(&rows).triggered.fired.len() <= 65);
}

#[test]
fn of_too_many_rows_that_trigger_the_last_is_told_that_there_was_no_room() {
    let manifest = MARKET.replace("initial = 10 }", "initial = 1000 }");
    let mut fair = Fair::with(&manifest, MARKET_POLICY);
    let rows: Vec<i64> = (1..=100).collect();
    let fired = fair.weigh(&rows).triggered.fired;
    let accepted = fired.iter().filter(|one| one.outcome.is_accepted()).count();
    assert_eq!((accepted, fired.len()), (64, 65));
    assert_eq!(fired.last().unwrap().outcome, Outcome::Limit);
    let offer = fair.world.asset(&name("market"), &name("offer"), "offer-pump").unwrap();
    assert_eq!(offer.fields["weighed"], Value::Int(64));
}

#[test]
fn a_call_that_cannot_be_is_refused_at_check() {
    let goods = compile(GOODS, GOODS_POLICY, &[]).unwrap();
    for (from, to, expected) in [
        ("do = \"goods/sell\"", "do = \"goods/melt\"", "there is no action goods/melt"),
        ("with.owner = \"asset.buyer\"", "with.owner = \"asset.most\"", "mixes"),
        ("with.owner = \"asset.buyer\"", "", "gives no `owner`, which goods/sell asks for"),
        ("with.owner = \"asset.buyer\"", "with.price = \"1\"", "no such parameter"),
        ("do = \"goods/sell\"", "do = \"other/sell\"", "of a contract that this one does not"),
        ("target = \"asset.item\"", "target = \"asset.most\"", "mixes"),
        (
            "do = \"goods/sell\"\ntarget = \"asset.item\"\nwith.owner = \"asset.buyer\"",
            "do = \"hand-over\"\ntarget = \"asset.offer_id\"\nwith.buyer = \"asset.buyer\"",
            "calls itself",
        ),
        ("to = [\"sold\"]", "to = [\"lost\"]", "has no state `lost`"),
        ("to = [\"sold\"]", "due = \"block.time\"", "a date is of an asset of this package"),
        ("due = \"asset.until\"", "due = \"asset.most\"", "mixes"),
        ("on = \"goods/weighing\"", "on = \"goods/shouting\"", "no stream or asset type"),
        ("row.device)\"", "row.colour)\"", "no field `colour`"),
        ("when = \"row.kg > asset.weighed\"", "when = \"row.kg\"", "mixes"),
        ("digest(join('sold', params.item))", "digest(block.height == 1)", "has no digest"),
        (
            "with(asset.watchers, params.buyer)",
            "with(asset.watchers, 1)",
            "is a whole number, not member",
        ),
    ] {
        let manifest = MARKET.replacen(from, to, 1);
        assert_ne!(manifest, MARKET, "{from}");
        let problems = compile(&manifest, MARKET_POLICY, &[&goods]).unwrap_err();
        let text = said(problems);
        assert!(text.contains(expected), "{from}: {text}");
    }
}

#[test]
fn batches_whose_triggers_cost_too_much_are_refused_at_check() {
    let goods = compile(&GOODS.replace("max_rows = 100", "max_rows = 10000"), GOODS_POLICY, &[]);
    let goods = goods.unwrap();
    assert!(compile(MARKET, MARKET_POLICY, &[&goods]).is_ok());
    let long = ["row.kg > asset.weighed"; 40].join(" && ");
    let manifest = MARKET.replace("row.kg > asset.weighed", &long);
    assert_ne!(manifest, MARKET);
    let dear = manifest.replace(
        "[trigger.sold]",
        "[trigger.dear]\non = \"goods/weighing\"\nfind = { asset = \"offer\", key = \
         \"join('offer', row.device)\" }\nwhen = \"digest(join('a', row.kg)) == \
         digest(join('b', row.kg))\"\ndo = \"weigh\"\ntarget = \"asset.offer_id\"\nwith.kg = \
         \"row.kg\"\n\n[trigger.sold]",
    );
    let text = said(compile(&dear, MARKET_POLICY, &[&goods]).unwrap_err());
    assert!(text.contains("are accepted: make its condition shorter"), "{text}");
}

#[test]
fn another_major_version_is_not_called() {
    let mut fair = Fair::new();
    let goods = GOODS.replace("version = \"1.0.0\"", "version = \"2.0.0\"");
    let goods = compile(&goods, GOODS_POLICY, &[]).unwrap();
    fair.world.contracts.insert(goods.name().clone(), goods);
    assert_eq!(fair.hand_over("maker"), Err(Outcome::NoContract));
}

#[test]
fn a_review_says_what_happens_by_itself() {
    let fair = Fair::new();
    let told: Vec<String> = fair
        .market
        .automatic()
        .iter()
        .map(|one| format!("{} ({}) calls {}", one.cause, one.waits_for, one.calls))
        .collect();
    assert_eq!(
        told,
        [
            "hand-over (each time) calls goods/sell",
            "trigger expired (asset.until of market/offer in open) calls market/expire",
            "trigger sold (goods/item to be sold) calls market/issue",
            "trigger weighed (a row of goods/weighing) calls market/weigh",
        ]
    );
    let looser = MARKET.replace("when = \"asset.buyer != asset.seller\"\n", "");
    let looser = looser.replace("version = \"1.0.0\"", "version = \"1.1.0\"");
    let looser = compile(&looser, MARKET_POLICY, &[&fair.goods]).unwrap();
    let changes = hufu_contract::compare::compare(&fair.market, &looser);
    assert!(changes.iter().any(|one| one.thing == "action.hand-over.then"), "{changes:?}");
}

#[test]
fn dates_of_an_asset_are_told() {
    let fair = Fair::new();
    let (offer, context) = (name("offer"), context("maker"));
    let asset = fair.world.asset(&name("market"), &offer, "offer-pump").unwrap();
    let market = &fair.market;
    let dates = market.dates(&offer, "offer-pump", &asset, &context, &fair.world);
    let dates: BTreeMap<String, u64> =
        dates.map(|(trigger, due)| (trigger.to_string(), due)).collect();
    let due = context.block_time_ms.get() + 1000;
    assert_eq!(dates, BTreeMap::from([("expired".to_owned(), due)]));
    assert!(market.has_dates(&offer) && !market.has_dates(&name("receipt")));
}

proptest! {
    /// Whatever is weighed, in whatever order: the invariant holds, and what was
    /// taken in is the greatest that it lets in.
    #[test]
    fn rows_trigger_in_their_order(kilograms in prop::collection::vec(-5_i64..20, 1..60)) {
        let mut fair = Fair::new();
        let effects = fair.weigh(&kilograms);
        let mut expected = 0;
        for kg in &kilograms {
            if *kg > expected && *kg <= 10 {
                expected = *kg;
            }
        }
        let offer = fair.world.asset(&name("market"), &name("offer"), "offer-pump").unwrap();
        prop_assert_eq!(&offer.fields["weighed"], &Value::Int(expected));
        let accepted = effects.triggered.fired.iter().filter(|one| one.outcome.is_accepted());
        let rises = accepted.count();
        prop_assert!(rises <= 10);
    }
}
