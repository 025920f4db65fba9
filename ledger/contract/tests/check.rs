//! What a check says: every problem, with its line and the remedy.

mod support;

use std::collections::BTreeMap;

use hufu_contract::compare::{ChangeKind, compare, incompatibilities};
use hufu_contract::review::Permission;
use hufu_contract::{Contract, Problem, Sources, check};
use support::*;

/// The line of `text` in `source`, from 1.
fn line(source: &str, text: &str) -> u32 {
    let at = source.find(text).unwrap_or_else(|| panic!("no `{text}`"));
    u32::try_from(source[..at].matches('\n').count()).unwrap() + 1
}

fn problems(contract: &str, policy: &str) -> Vec<Problem> {
    leasing_with(contract, policy).map(drop).expect_err("the package must not pass")
}

fn shown(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn each_mistake_has_its_line_and_remedy() {
    for (from, to, message) in [
        ("name = \"equipment-leasing\"", "name = \"Equipment\"", "is not a name"),
        ("version = \"1.0.0\"", "version = \"1.0\"", "three numbers"),
        ("zh = \"工业设备租赁\" }", "de = \"x\" }", "zh: is missing"),
        ("requires = [\"device-registry@1\"]", "requires = [\"device-registry\"]", "NAME@MAJOR"),
        (
            "requires = [\"device-registry@1\"]",
            "requires = [\"device-registry@2\"]",
            "1.2.0 is there",
        ),
        ("lessor = {}", "lessor = { jurisdictions = true }", "unknown key"),
        ("type = \"member\" }", "type = \"float\" }", "is not exact"),
        ("type = \"member\" }", "type = \"meber\" }", "is not a type; there are bool"),
        (
            "type = \"member\" }",
            "type = \"member\", unit = \"h\" }",
            "units are for int and decimal",
        ),
        ("unit = \"CNY 0.01 per hour\", min = 0", "unit = \"per\"", "is not a unit"),
        ("min = 0 }", "min = 5, max = 1 }", "is over max"),
        ("min = 0 }", "min = 0.5 }", "is not a whole number"),
        ("initial = 0 }", "initial = \"nought\" }", "is not a whole number"),
        ("max = 4096, optional", "max = 99999999, optional", "1 to 32768 are accepted"),
        ("optional = true }", "private = [\"lessor\"] }", "private fields are not supported yet"),
        ("to = \"device-registry/device\" }", "to = \"other/device\" }", "does not require"),
        (
            "to = \"device-registry/device\" }",
            "to = \"device-registry/robot\" }",
            "which is not there",
        ),
        ("key = \"lease_id\"", "key = \"id\"", "the key must be a field"),
        ("fields.note", "fields.big-note", "write `_` instead of `-`"),
        ("fields.note", "fields.group", "a word of SQL"),
        ("\"offered\", \"active\", \"ended\"]", "\"offered\", \"offered\"]", "different states"),
        ("creates = \"lease\"", "creates = \"loan\"", "no valid asset type `loan`"),
        ("creates = \"lease\"", "creates = \"lease\"\non = \"lease\"", "one of `creates` and `on`"),
        ("\"lessee\", \"rate_per_hour\"]", "\"rate_per_hour\"]", "gives field `lessee` no value"),
        ("\"lessee\", \"rate_per_hour\"]", "\"lesse\", \"rate_per_hour\"]", "has no field `lesse`"),
        ("from = [\"offered\"]", "from = [\"open\"]", "has no state `open`"),
        ("to = \"active\"", "to = \"gone\"", "has no state `gone`"),
        ("emit = \"accepted\"", "emitt = \"accepted\"", "unknown key"),
        ("set.paid =", "set.payed =", "has no field `payed`"),
        ("set.paid =", "set.lease_id =", "the key of an asset does not change"),
        ("+ params.amount", "+ params.amont", "has no field `amont`"),
        ("+ params.amount", "+ +", "found `+` where a value is wanted"),
        (
            "params.hours * asset.rate_per_hour\"\nemit",
            "params.hours\"\nemit",
            "mixes int in CNY 0.01 with int in hour",
        ),
        ("set.lessor = \"principal.member\"", "set.lessor = \"asset.lessor\"", "has no value yet"),
        ("sequence = \"strict\"", "sequence = \"loose\"", "must be \"strict\""),
        ("signer = \"device-registry/device\"", "signer = \"lease\"", "a field `identity`"),
        ("rows.metric", "rows.device", "a column that every stream has"),
        (
            "rows.metric = { type = \"symbol\" }",
            "rows.metric = { type = \"time\", min = \"yesterday\" }",
            "is not a time",
        ),
        (
            "rows.metric = { type = \"symbol\" }",
            "rows.metric = { type = \"time\", max_ahead = -1 }",
            "a number of milliseconds",
        ),
        (
            "rows.metric = { type = \"symbol\" }",
            "rows.metric = { type = \"symbol\", max_ahead = 1 }",
            "is for a signer's time",
        ),
        ("max_rows = 3", "max_rows = 100000", "1 to 10000 are accepted"),
        ("holds = \"asset.paid <= asset.accrued\"", "holds = \"asset.paid\"", "mixes int"),
        ("on = \"reading\"", "on = \"readings\"", "no valid asset type or stream"),
        ("[action.accept]", "[action.read]", "an action that every contract has"),
        (
            "[invariant.plausible]",
            "[trigger.hot]\non = \"reading\"\ndo = \"accept\"\n[invariant.plausible]",
            "trigger.hot.target: is missing",
        ),
        ("[action.accept]", "[action.accept]\nwhen = \"true\"", "written in policy.cedar"),
        ("max_rows = 3", "max_rows = 3\nmax_rows = 4", "duplicate key"),
        ("max_rows = 3", "max_rows = ", ""),
    ] {
        assert!(LEASING.contains(from), "{from}");
        let contract = LEASING.replacen(from, to, 1);
        let problems = problems(&contract, LEASING_POLICY);
        let found = problems
            .iter()
            .find(|problem| problem.to_string().contains(message))
            .unwrap_or_else(|| panic!("{to}: {}", shown(&problems)));
        assert_eq!(found.file, "contract.toml");
        if found.line > 0 {
            let near = line(&contract, to.lines().next().unwrap());
            assert!(found.line.abs_diff(near) <= 3, "{to}: {found}, near {near}");
        }
    }
}

#[test]
fn everything_wrong_is_reported_at_once() {
    let contract = LEASING
        .replace("to = \"active\"", "to = \"gone\"")
        .replace("+ params.amount", "+ params.amont")
        .replace("emit = \"billed\"", "emitt = \"billed\"");
    let problems = problems(&contract, LEASING_POLICY);
    assert_eq!(problems.len(), 3, "{}", shown(&problems));
    assert!(problems.windows(2).all(|pair| pair[0] <= pair[1]));
}

#[test]
fn an_expression_is_located_inside_its_line() {
    let contract = LEASING.replace(
        "set.paid = \"asset.paid + params.amount\"",
        "set.paid = '''\nasset.paid +\nparams.amont'''",
    );
    let problems = problems(&contract, LEASING_POLICY);
    assert_eq!(problems[0].line, line(&contract, "params.amont"));
    assert_eq!(problems[0].thing, "action.pay.set.paid");
}

#[test]
fn policies_are_validated_strictly() {
    for (from, to, message) in [
        ("Role::\"lessor\"", "Role::\"lesor\"", "lesor"),
        ("resource.lessee == principal.member", "resource.lesee == principal.member", "lesee"),
        ("Action::\"accept\"", "Action::\"acept\"", "acept"),
        ("resource.lessee == principal.member", "resource.lessee == \"plant\"", "types"),
        ("context.params has note && ", "", "note"),
        ("permit (principal, action == Action::\"pay\"", "permit (principal, actoin", ""),
        ("resource.device.owner", "resource.device.owner.kinds.contains(\"x\").y.z", ""),
        (
            "permit (principal, action == Action::\"pay\", resource is Lease)",
            "permit (principal == ?principal, action == Action::\"pay\", resource is Lease)",
            "templates",
        ),
    ] {
        assert!(LEASING_POLICY.contains(from), "{from}");
        let policy = LEASING_POLICY.replacen(from, to, 1);
        let problems = problems(LEASING, &policy);
        let text = shown(&problems);
        assert!(text.contains(message), "{to}: {text}");
        assert!(problems.iter().all(|problem| problem.file == "policy.cedar"), "{text}");
        if !to.is_empty() && message != "templates" {
            let near = line(&policy, to);
            assert!(problems[0].line.abs_diff(near) <= 1, "{to} near {near}: {text}");
        }
    }
}

#[test]
fn a_policy_that_is_nested_too_deep_is_refused() {
    // Up to what fits into a file.
    let parentheses = |depth: usize| format!("{}true{}", "!(".repeat(depth), ")".repeat(depth));
    let choices = |depth: usize| {
        format!("{}true{}", "if true then ".repeat(depth), " else false".repeat(depth))
    };
    let sets = |depth: usize| format!("{}{} == []", "[".repeat(depth), "]".repeat(depth));
    for condition in [
        parentheses(150),
        parentheses(40_000),
        choices(300),
        choices(5_000),
        sets(60_000),
        format!("principal{}", ".a".repeat(60_000)),
        vec!["principal.kind == \"member\""; 300].join(" || "),
    ] {
        let policy = format!(
            "permit (principal, action == Action::\"pay\", resource is Lease) when {{ {condition} }};"
        );
        // Neither the caller's stack nor the build decides.
        std::thread::Builder::new()
            .stack_size(512 * 1024)
            .spawn(move || {
                let found = problems(LEASING, &policy);
                let here = found.iter().all(|problem| problem.file == "policy.cedar");
                assert!(here, "{}", shown(&found));
            })
            .unwrap()
            .join()
            .unwrap();
    }
}

#[test]
fn files_of_a_package_are_bounded() {
    let new = |path: &str, bytes: Vec<u8>| Sources::new(BTreeMap::from([(path.to_owned(), bytes)]));
    for path in ["../contract.toml", "controls/../x.sql", "controls/X.sql", "x.rs", "", "cases/a"] {
        assert!(new(path, vec![]).is_err(), "{path}");
    }
    assert!(new("contract.toml", vec![b'#'; 128 * 1024]).is_ok());
    assert!(new("contract.toml", vec![b'#'; 128 * 1024 + 1]).is_err());
    assert!(new("contract.toml", vec![0xff]).is_err());
    let many = (0..4).map(|n| (format!("cases/c{n}.toml"), vec![b'#'; 128 * 1024])).collect();
    assert!(Sources::new(many).is_err());
    assert!(Sources::from_bytes(&[0xff; 64]).is_err());
    let mut bytes = new("contract.toml", vec![]).unwrap().to_bytes();
    bytes.push(0);
    assert!(Sources::from_bytes(&bytes).is_err());
}

#[test]
fn a_package_without_its_files_says_which() {
    let problems = check(&sources(&[]), &BTreeMap::new()).unwrap_err();
    let files: Vec<&str> = problems.iter().map(|problem| problem.file.as_str()).collect();
    assert_eq!(files, ["README.md", "contract.toml", "policy.cedar"]);
}

#[test]
fn controls_and_cases_are_checked() {
    let files = |controls: &str, sql: &str, case: &str| {
        let files = [
            ("contract.toml", REGISTRY),
            ("policy.cedar", REGISTRY_POLICY),
            ("README.md", "# Registry\n"),
            ("controls.toml", controls),
            ("controls/old.sql", sql),
            ("cases/one.toml", case),
        ];
        check(&sources(&files), &BTreeMap::new())
    };
    let sql = "-- id: old\n-- title: Old\n-- title-zh: 旧\n-- clause: art. 1\n\
               -- clause-zh: 第一条\n-- severity: low\n-- subject: device_id\nSELECT device_id FROM device_registry.device WHERE :years > 1";
    let controls = "[control.old]\n\
                    parameters.years = { title = { en = \"Years\", zh = \"年数\" }, type = \"int\", default = 3 }\n\
                    columns.device_id = { title = { en = \"Device\", zh = \"设备\" }, type = \"id\" }\n\
                    [set.base]\ntitle = { en = \"Base\", zh = \"基线\" }\ncontrols = [\"old\"]\n\
                    parameters.old = { years = 5 }\n";
    let case = "title = \"x\"\n[[step]]\nas = \"maker\"\ndo = \"a/b\"\nexpect = \"ok\"\n";
    let contract = files(controls, sql, case).unwrap_or_else(|found| panic!("{}", shown(&found)));
    let (control, values) = &contract.control_sets()["base"].controls[0];
    assert_eq!(control.as_str(), "old");
    assert_eq!(values["years"], hufu_proof::Value::Int(5));
    assert!(contract.control("old").unwrap().sql.starts_with("SELECT"));

    let refused = |controls: &str, sql: &str, case: &str| {
        shown(&files(controls, sql, case).map(drop).expect_err("must not pass"))
    };
    let text = refused(controls, &sql.replace("id: old", "id: new"), case);
    assert!(text.contains("controls/old.sql:1: id: must be the name of the file"), "{text}");
    let text = refused(controls, &sql.replace("severity: low", "severity: grave"), case);
    assert!(text.contains("controls/old.sql:6: severity: must be info"), "{text}");
    let text = refused(controls, &sql.replace("-- title-zh: 旧\n", ""), case);
    assert!(text.contains("`-- title-zh: ...`"), "{text}");
    // What people read is there in both languages.
    let text = refused(controls, &sql.replace("-- clause-zh: 第一条\n", ""), case);
    assert!(text.contains("`-- clause-zh: ...`"), "{text}");
    let text = refused(controls, &sql.replace("第一条", "art. 1 of the rules"), case);
    assert!(text.contains("controls/old.sql:5: clause-zh: is not Chinese"), "{text}");
    for (from, to, words) in [
        ("zh = \"设备\"", "", "control.old.columns.device_id.title.zh: is missing"),
        ("zh = \"设备\"", "zh = \"Device\"", "title.zh: is not Chinese; translate it"),
        ("title = { en = \"Device\", zh = \"设备\" }, type", "type", "device_id.title: is missing"),
        (", type = \"id\" }", " }", "columns.device_id.type: is missing"),
        ("title = { en = \"Years\", zh = \"年数\" }, ", "", "parameters.years.title: is missing"),
        ("columns.device_id", "columns.device", "`-- subject: device_id`"),
        ("type = \"id\" }", "type = \"id\", role = \"since\" }", "does not fit the type"),
        ("type = \"id\" }", "type = \"id\", words = \"x\" }", "there is no [words.x]"),
        ("type = \"id\" }", "type = \"id\", unit_by = \"x\" }", "is for a number"),
        (
            "[set.base]",
            "range = { to = \"device_id\", high = \":years\" }\n[set.base]",
            "drawn from numbers",
        ),
        (
            "[set.base]",
            "range = { to = \"age\", high = \":years\" }\n[set.base]",
            "there is no column `age`",
        ),
    ] {
        assert!(controls.contains(from), "{from}");
        let text = refused(&controls.replacen(from, to, 1), sql, case);
        assert!(text.contains(words), "{from} -> {to}: {text}");
    }
    let text = refused(&controls.replace("[control.old]", "[control.other]"), sql, case);
    assert!(text.contains("control.old: is missing; declare the columns"), "{text}");
    let text = refused(&controls.replace("default = 3", "default = \"x\""), sql, case);
    assert!(text.contains("controls.toml:2"), "{text}");
    let text = refused(&controls.replace("years = 5", "age = 5"), sql, case);
    assert!(text.contains("has no such parameter"), "{text}");
    let text = refused(&controls.replace("[\"old\"]", "[\"young\"]"), sql, case);
    assert!(text.contains("no valid control `young`"), "{text}");
    let text = refused(controls, sql, &case.replace("\"ok\"", "\"fine\""));
    assert!(text.contains("cases/one.toml:5"), "{text}");
    let text = refused(controls, sql, &case.replace("do =", "does ="));
    assert!(text.contains("do: is missing") && text.contains("unknown key"), "{text}");
}

fn permission(
    contract: &Contract,
    role: Option<&str>,
    action: &str,
    state: Option<&str>,
) -> Permission {
    let cells = contract.permissions();
    let cell = cells.iter().find(|cell| {
        cell.action == action
            && !cell.device
            && cell.role.as_ref().map(|role| role.as_str()) == role
            && cell.state.as_ref().map(|state| state.as_str()) == state
            && cell.on.as_str() != "reading"
    });
    cell.unwrap().permission
}

#[test]
fn the_matrix_says_who_may_do_what() {
    let contract = leasing();
    use Permission::{Conditional, Denied};
    assert_eq!(permission(&contract, Some("lessor"), "offer", None), Conditional);
    assert_eq!(permission(&contract, Some("lessee"), "offer", None), Denied);
    assert_eq!(permission(&contract, None, "accept", Some("offered")), Conditional);
    // `tick` is for devices.
    assert_eq!(permission(&contract, Some("lessor"), "tick", Some("active")), Denied);
    let cells = contract.permissions();
    let device = cells.iter().find(|cell| cell.device && cell.action == "tick").unwrap();
    assert_eq!(device.permission, Conditional);
    // Only a constant makes "always".
    let policy = format!(
        "{LEASING_POLICY}\npermit (principal in Role::\"lessee\", action == Action::\"bill\", resource is Lease) \
         when {{ resource.state == \"active\" || [\"x\"].contains(resource.state) }};"
    );
    let contract = leasing_with(LEASING, &policy).unwrap();
    assert_eq!(
        permission(&contract, Some("lessee"), "bill", Some("active")),
        Permission::Permitted
    );
}

#[test]
fn costs_are_known_before() {
    let costs = leasing().costs();
    let of = |action: &str| costs.iter().find(|cost| cost.action == action).unwrap();
    assert!(of("bill").expressions > of("accept").expressions);
    assert!(of("offer").policy > 0 && of("append reading").expressions >= 3 * 3);
}

#[test]
fn an_upgrade_says_what_it_changes() {
    let old = leasing();
    let contract = LEASING
        .replace("1.0.0", "1.1.0")
        .replace("max = 4096", "max = 8192")
        .replace(
            "states = [\"offered\"",
            "fields.site = { type = \"symbol\", optional = true }\nstates = [\"offered\"",
        )
        .replace("max = 744", "max = 800");
    let policy = LEASING_POLICY.replace(
        "when { resource.lessee == principal.member };",
        "when { principal.kind == \"member\" };",
    );
    let new = leasing_with(&contract, &policy).unwrap();
    assert_eq!(incompatibilities(&old, &new), []);
    let changes = compare(&old, &new);
    let has = |kind, thing: &str| changes.iter().any(|c| c.kind == kind && c.thing.contains(thing));
    assert!(has(ChangeKind::Added, "asset.lease.fields.site"), "{changes:?}");
    assert!(has(ChangeKind::Changed, "asset.lease.fields.note"), "{changes:?}");
    assert!(has(ChangeKind::Loosened, "a member in no role: pay lease in active"), "{changes:?}");
    assert!(has(ChangeKind::Changed, "policy.cedar"), "{changes:?}");
    assert_eq!(compare(&old, &leasing()), []);
}

#[test]
fn an_upgrade_keeps_the_meaning_of_what_is_recorded() {
    let old = leasing();
    for (from, to, message) in [
        ("1.0.0", "1.0.0", "must be over 1.0.0"),
        (
            "fields.accrued = { type = \"int\", unit = \"CNY 0.01\"",
            "fields.accrued = { type = \"int\", unit = \"CNY 0.01\", min = 0",
            "keep it",
        ),
        (
            "\"active\", \"ended\"]\n\n[action.offer]",
            "\"active\"]\n\n[action.offer]",
            "must keep `ended`",
        ),
        (
            "fields.note = { type = \"text\", max = 4096, optional = true }\n",
            "fields.note = { type = \"text\", max = 4096, initial = \"\" }\n",
            "must stay optional",
        ),
        (
            "states = [\"offered\"",
            "fields.site = { type = \"symbol\", initial = \"x\" }\nstates = [\"offered\"",
            "must be optional",
        ),
        (
            "rows.value = { type = \"decimal\", scale = 3 }",
            "rows.value = { type = \"decimal\", scale = 2 }",
            "must keep its columns",
        ),
    ] {
        assert!(LEASING.contains(from), "{from}");
        let mut contract = LEASING.replacen(from, to, 1);
        if from != "1.0.0" {
            contract = contract.replace("1.0.0", "1.1.0");
        }
        contract = contract.replace(
            "from = [\"offered\", \"active\", \"ended\"]",
            "from = [\"offered\", \"active\"]",
        );
        let policy = LEASING_POLICY.replace(
            "context.params has note && ",
            if to.contains("initial = \"\"") { "" } else { "context.params has note && " },
        );
        let new = leasing_with(&contract, &policy)
            .unwrap_or_else(|found| panic!("{to}: {}", shown(&found)));
        let text = shown(&incompatibilities(&old, &new));
        assert!(text.contains(message), "{to}: {text}");
    }
}
