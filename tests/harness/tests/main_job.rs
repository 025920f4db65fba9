//! The nine steps of the main job, on real processes, with what must be refused.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use common::{SIMULATED, TPM, World, world};
use hufu_harness::device::Device;
use hufu_harness::est::Est;
use hufu_harness::http::Http;
use hufu_harness::inspect::{openssl, text};
use hufu_harness::job::{enrol, life, proof, record, report, revoke};
use hufu_harness::{Consortium, Member, process};
use hufu_proof::transaction::Payload;
use hufu_proof::{Algorithm, Receipt, codec};
use serde_json::Value;

#[test]
fn ceremony_leaves_keys_in_the_token_and_a_signed_transcript() -> anyhow::Result<()> {
    let world = world()?;
    for member in &world.consortium.members {
        let transcript: Value = serde_json::from_slice(&fs::read(member.data("transcript.json"))?)?;
        let keys = transcript["transcript"]["keys"].as_array().context("keys")?;
        let expected = if member.is_authority() { 5 } else { 3 };
        assert_eq!(keys.len(), expected, "{}", member.name());
        for key in keys {
            let attributes = &key["attributes"];
            for always in ["local", "never_extractable", "always_sensitive"] {
                assert_eq!(attributes[always], true, "{always} of {key}");
            }
        }
        assert!(transcript["signature"].is_string());
        let text = fs::read_to_string(member.data("transcript.txt"))?;
        assert!(text.contains("never") || text.contains("ever extractable: false"), "{text}");

        // The ceremony is held once.
        let again = process::run(&mut member.hufu(&["init", "--so-pin-fd", "4"]))?;
        assert!(!again.status.success());
        assert!(again.stderr.contains("transcript.json"), "{}", again.stderr);

        // No key lies about in the node's own files.
        let data = member.data("");
        let found = process::run(Command::new("grep").args(["-rl", "PRIVATE KEY"]).arg(data))?;
        assert_eq!(found.stdout, "", "private keys outside the token");
    }
    Ok(())
}

#[test]
fn what_a_node_keeps_is_closed_to_others_and_its_pin_to_itself() -> anyhow::Result<()> {
    let mut world = world()?;
    let names: Vec<&str> = world.consortium.members.iter().map(Member::name).collect();
    for name in names {
        let member = world.consortium.member(name)?;
        let data = member.data("");
        let open = process::run(Command::new("find").arg(&data).args(["-perm", "/007"]))?;
        assert_eq!(open.stdout, "", "open to others");
        let written = process::run(Command::new("find").arg(&data).args(["-name", "*.sqlite*"]))?;
        assert!(written.stdout.contains("read-model.sqlite"), "{}", written.stdout);

        let pin = fs::canonicalize(member.pin())?;
        let process = world.consortium.node(name)?.id();
        let descriptors = fs::read_dir(format!("/proc/{process}/fd"))?;
        let held: Vec<PathBuf> =
            descriptors.flatten().filter_map(|one| fs::read_link(one.path()).ok()).collect();
        assert!(held.iter().any(|file| file.starts_with(fs::canonicalize(&data).unwrap())));
        assert!(!held.contains(&pin) && !held.contains(&pin.with_file_name("so-pin")), "{name}");
    }
    Ok(())
}

/// The serial number of the certificate that a member's gateway shows now.
fn shown(member: &Member) -> anyhow::Result<String> {
    let script =
        "openssl s_client -connect $1 </dev/null 2>/dev/null | openssl x509 -noout -serial";
    let gateway = member.addresses.gateway.to_string();
    let shown = process::run(Command::new("sh").args(["-c", script, "sh", &gateway]))?.success()?;
    let serial = shown.stdout.trim().strip_prefix("serial=").context("no serial")?;
    Ok(serial.to_lowercase())
}

#[test]
fn a_node_renews_its_certificate_while_it_serves() -> anyhow::Result<()> {
    let mut world = world()?;
    for name in ["maker", "authority"] {
        let process = world.consortium.node(name)?.id();
        let member = world.consortium.member(name)?;
        let before = shown(member)?;
        let renewed = member.json(&["cert", "renew"])?;
        let serial = renewed["serial"].as_str().context("serial")?;
        assert_ne!(before, serial, "{name}");
        assert_eq!(shown(member)?, serial, "{name}");
        let record = member.json(&["cert", "show", serial])?;
        assert_eq!(record["owner"], name);
        assert_eq!(world.consortium.node(name)?.id(), process, "no start was needed");
    }
    // A node that it names itself gets nothing without the member's word.
    let maker = world.consortium.maker();
    let serial = shown(maker)?;
    let join: Value = serde_json::from_slice(&fs::read(maker.data("join.json"))?)?;
    let height = maker.json(&["status"])?["ledger"]["height"].clone();
    let csr = fs::read_to_string(maker.data("tls.csr"))?;
    let lines: String = csr.lines().filter(|line| !line.starts_with('-')).collect();
    let asked = serde_json::json!({
        "member": "maker", "serial": serial, "height": height, "csr": lines,
        "signature": join["statement_signature"],
    });
    let answer = process::run(
        Command::new("curl")
            .args(["--silent", "--cacert", text(&world.consortium.root_path())?])
            .args(["--header", "Content-Type: application/json", "--data", &asked.to_string()])
            .args(["--write-out", "%{http_code}"])
            .arg(format!("{}/v1/node-certificate", world.consortium.authority().est_url())),
    )?;
    assert!(answer.stdout.ends_with("403"), "{}", answer.stdout);
    assert!(answer.stdout.contains("the signature is not that of member"), "{}", answer.stdout);
    assert_eq!(shown(maker)?, serial);
    Ok(())
}

#[test]
fn the_authority_goes_on_under_a_new_issuing_certificate() -> anyhow::Result<()> {
    let mut world = world()?;
    let consortium = &mut world.consortium;
    let published = |consortium: &Consortium| -> anyhow::Result<Vec<u8>> {
        let url = format!("{}/ca/issuing.cer", consortium.authority().status_url());
        Ok(Http::plain().get(&url)?.success()?.body)
    };
    let before = published(consortium)?;
    let refused = process::run(&mut consortium.maker().hufu(&["cert", "renew-issuing"]))?;
    ensure!(refused.status.code() == Some(1), "{}", refused.stderr);
    ensure!(refused.stderr.contains("ask at the node of member `authority`"), "{}", refused.stderr);

    let renewed = consortium.authority().json(&["cert", "renew-issuing"])?;
    let now = published(consortium)?;
    ensure!(now != before, "the old one is published");
    let sql = "SELECT member FROM ledger.declarations WHERE what = 'issuing-certificate'";
    let rows = consortium.authority().json(&["query", sql])?["rows"].clone();
    ensure!(rows == serde_json::json!([["authority"]]), "{rows}");
    // A second start finds it on the ledger.
    consortium.node("authority")?.terminate(std::time::Duration::from_secs(60))?;
    consortium.start("authority")?;
    consortium.wait_until_ready("authority")?;
    ensure!(published(consortium)? == now, "the new one is forgotten");

    // What is issued now and what was issued before are both under the new one.
    let old = consortium.client("maker", "operator")?;
    let file = consortium.path("after.pem");
    let line = Http::tls(&consortium.root_pem()?, Some(&old))?;
    line.get(&format!("{}/v1/status", consortium.operator().gateway_url()))?.success()?;
    let csr = consortium.maker().data("tls.csr");
    consortium.issue("member-node", "maker", &[], &csr, &file)?;
    let issued = hufu_harness::est::der_of_pem(&fs::read_to_string(&file)?)?;
    ensure!(issued[1] == now, "the chain has another issuing certificate");
    let serial = renewed["serial"].as_str().context("serial")?;
    let issuing = consortium.path("issuing.pem");
    fs::write(&issuing, hufu_harness::est::pem("CERTIFICATE", &now))?;
    let shown = openssl(&["x509", "-in", text(&issuing)?, "-noout", "-serial"])?.success()?.stdout;
    ensure!(shown.to_lowercase().contains(serial), "{shown} is not {serial}");
    let leaf = consortium.path("old.pem");
    fs::write(&leaf, &old.chain_pem)?;
    let root = consortium.root_path();
    for leaf in [&file, &leaf] {
        let untrusted = ["-untrusted", text(&issuing)?, text(leaf)?];
        openssl(&[&["verify", "-CAfile", text(&root)?][..], &untrusted].concat())?.success()?;
    }
    Ok(())
}

#[test]
fn founders_agree_on_one_genesis_file() -> anyhow::Result<()> {
    let world = world()?;
    let genesis = world.consortium.genesis()?;
    assert_eq!(genesis.members.len(), 4);
    assert_eq!(genesis.constitution.approvals, 3);
    let shown = world.consortium.regulator().json(&[
        "org",
        "show",
        "--genesis",
        text(&world.consortium.genesis_path())?,
    ])?;
    assert_eq!(shown["digest"], genesis.digest().to_string());

    // One byte more and it is another file.
    let altered = world.consortium.path("altered-genesis.json");
    let mut bytes = fs::read(world.consortium.genesis_path())?;
    bytes.push(b' ');
    fs::write(&altered, bytes)?;
    let answer = process::run(&mut world.consortium.regulator().hufu(&[
        "org",
        "show",
        "--genesis",
        text(&altered)?,
    ]))?;
    assert!(!answer.status.success());
    Ok(())
}

#[test]
fn four_processes_finalize_and_agree() -> anyhow::Result<()> {
    let mut world = world()?;
    let mut processes = BTreeSet::new();
    for name in ["authority", "regulator", "maker", "operator"] {
        processes.insert(world.consortium.node(name)?.id());
    }
    assert_eq!(processes.len(), 4);
    let (height, root) = life::agree(&world.consortium)?;
    assert!(height > 0);
    assert_eq!(root.len(), 64);
    for member in &world.consortium.members {
        let metrics = Http::plain().get(&format!("{}/metrics", member.metrics_url()))?.success()?;
        let metrics = metrics.text();
        assert!(metrics.contains("hufu_"), "{metrics}");
        let block = member.json(&["ledger", "block", &height.to_string()])?;
        assert!(block.is_object(), "{block}");
    }
    Ok(())
}

#[test]
fn devices_are_enrolled_and_their_certificates_verify() -> anyhow::Result<()> {
    let world = world()?;
    let consortium = &world.consortium;
    let mut serials = BTreeSet::new();
    let simulated = world.fleet.simulated.iter().map(|device| device.certificate.clone());
    let attested = world.fleet.tpm.iter().map(|device| device.enrolled().ok());
    for (number, certificate) in simulated.chain(attested).enumerate() {
        let certificate = certificate.context("a device is not enrolled")?;
        let file = consortium.path(&format!("check-{number}.pem"));
        fs::write(&file, certificate.pem())?;
        openssl(&[
            "verify",
            "-CAfile",
            text(&consortium.root_path())?,
            "-untrusted",
            text(&consortium.issuing_path())?,
            text(&file)?,
        ])?
        .success()?;
        serials.insert(certificate.serial()?);
    }
    assert_eq!(serials.len(), SIMULATED + TPM, "serial numbers differ");
    Ok(())
}

#[test]
fn a_tpm_device_is_on_the_ledger_with_its_attestation() -> anyhow::Result<()> {
    let world = world()?;
    let certificate = world.fleet.tpm[0].enrolled()?;
    let bundle = world.consortium.path("attested.pem");
    world.consortium.bundle(&certificate, &bundle)?;
    let pem = fs::read_to_string(&bundle)?;
    let blocks = hufu_harness::est::der_of_pem(&pem)?;
    let receipt = Receipt::decode(blocks.last().context("a receipt")?)?;
    receipt.verify(&world.consortium.genesis()?)?;
    let identity = certificate.identity()?;
    let mut entries = receipt.transaction.body.payload.issuances();
    let entry = entries.find(|entry| entry.key.identity() == identity).context("entry")?;
    assert!(entry.attestation.is_some(), "the evidence's digest is recorded");
    assert_eq!(entry.owner.as_str(), "maker");
    Ok(())
}

#[test]
fn what_must_not_be_enrolled_is_refused() -> anyhow::Result<()> {
    let world = world()?;
    let consortium = &world.consortium;
    let reason = enrol::unknown_tpm_is_refused(consortium)?;
    assert!(!reason.is_empty());

    let est = consortium.est()?;
    let stranger = Device::new("STRANGER-1", Algorithm::EcdsaP256)?;
    // A CSR whose signature is not of its key: one byte of the signature is
    // another.
    let mut forged = stranger.request()?;
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let refused = est.enrol("idevid", &forged)?.err().context("a forged CSR was enrolled")?;
    assert!((400..500).contains(&refused.status), "{refused:?}");
    // Not a CSR at all, and one with bytes left over.
    let refused = est.enrol("idevid", b"nonsense")?.err().context("nonsense was enrolled")?;
    assert!((400..500).contains(&refused.status), "{refused:?}");
    let mut longer = stranger.request()?;
    longer.push(0);
    assert!(est.enrol("idevid", &longer)?.is_err());
    // A profile that there is not, one that wants a TPM, and one that is not
    // for production lines.
    for profile in ["no-such-profile", "idevid-tpm", "tls-server", "root"] {
        let refused = est.enrol(profile, &stranger.request()?)?;
        let refused = refused.err().with_context(|| format!("{profile} was issued"))?;
        assert!((400..500).contains(&refused.status), "{profile}: {refused:?}");
    }

    // Nobody, and somebody with a role that is not for this.
    let root = consortium.root_pem()?;
    let nobody = Est::new(Http::tls(&root, None)?, &consortium.authority().est_url());
    let refused = nobody.enrol("idevid", &stranger.request()?)?.err().context("nobody enrolled")?;
    assert!(matches!(refused.status, 401 | 403), "{refused:?}");
    let regulator = consortium.client("regulator", "regulator")?;
    let wrong_role =
        Est::new(Http::tls(&root, Some(&regulator))?, &consortium.authority().est_url());
    let refused = wrong_role.enrol("idevid", &stranger.request()?)?;
    assert_eq!(refused.err().context("a regulator enrolled a device")?.status, 403);
    Ok(())
}

#[test]
fn the_same_request_gets_the_same_certificate() -> anyhow::Result<()> {
    let world = world()?;
    let est = world.consortium.est()?;
    let device = Device::new("TWICE-1", Algorithm::EcdsaP256)?;
    let request = device.request()?;
    let first = est.enrol("idevid", &request)?.ok().context("refused")?;
    let second = est.enrol("idevid", &request)?.ok().context("refused")?;
    assert_eq!(first, second);
    Ok(())
}

#[test]
fn readings_are_recorded_row_by_row() -> anyhow::Result<()> {
    let mut world = world()?;
    let World { consortium, fleet, .. } = &mut *world;
    let device = fleet.tpm[0].id.clone();
    let count = |consortium: &hufu_harness::Consortium| -> anyhow::Result<u64> {
        let sql =
            format!("SELECT count(*) FROM operation_supervision.reading WHERE device = '{device}'");
        let answer = consortium.regulator().json(&["query", &sql])?;
        answer["rows"][0][0].as_u64().with_context(|| format!("{answer}"))
    };
    let before = count(consortium)?;
    let file = common::readings_file(consortium)?;
    let rows = record::attested(consortium, fleet, &file)? / fleet.tpm.len();
    hufu_harness::process::wait_for("the rows", std::time::Duration::from_secs(20), || {
        let after = count(consortium)?;
        ensure!(after == before + rows as u64, "{device} has {after} rows");
        Ok(())
    })
}

#[test]
fn altered_replayed_and_malformed_batches_are_refused() -> anyhow::Result<()> {
    let mut world = world()?;
    let World { gateway, fleet, readings, consortium, .. } = &mut *world;
    record::replayed(gateway, fleet, readings)?;
    record::altered(gateway, fleet, readings)?;

    let expires = gateway.expiry()?;
    let device = &fleet.simulated[0];
    let rows = record::piece(readings, 0);
    // A gap in the sequence.
    let gap = hufu_harness::readings::batch(&rows, device.sequence.plus(2))?;
    let gap = device.sign_payload(gateway.chain, expires, Payload::Append(gap))?;
    assert_eq!(gateway.submit(&gap)?.outcome, "sequence");
    // For another consortium.
    let next = || hufu_harness::readings::batch(&rows, device.sequence.next());
    let chain = hufu_proof::Digest::of(b"another consortium");
    let foreign = device.sign_payload(chain, expires, Payload::Append(next()?))?;
    assert_eq!(gateway.submit(&foreign)?.outcome, "wrong-chain");
    // Expired.
    let late = device.sign_payload(gateway.chain, 1, Payload::Append(next()?))?;
    assert_eq!(gateway.submit(&late)?.outcome, "expired");
    // A column is missing.
    let mut narrow = next()?;
    narrow.rows[0].pop();
    let narrow = device.sign_payload(gateway.chain, expires, Payload::Append(narrow))?;
    assert_eq!(gateway.submit(&narrow)?.outcome, "parameter");
    // By a key that nobody certified.
    let stranger = Device::new("STRANGER-2", Algorithm::Ed25519)?;
    let unknown = stranger.sign_payload(gateway.chain, expires, Payload::Append(next()?))?;
    assert_eq!(gateway.submit(&unknown)?.outcome, "unknown-signer");
    // Not a transaction, half of one, one with bytes left over.
    let good = device.sign_payload(gateway.chain, expires, Payload::Append(next()?))?;
    let good = codec::encode(&good);
    let long = [good.as_slice(), &[0]].concat();
    for bytes in [b"nonsense".as_slice(), &good[..good.len() / 2], &long] {
        let answer = gateway.submit_raw(bytes)?;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.content_type.starts_with("application/problem+json"));
    }
    // More bytes than a transaction may have.
    let answer = gateway.submit_raw(&vec![0; codec::MAX_TRANSACTION + 1])?;
    assert_eq!(answer.status, 413, "{}", answer.text());

    // None of it had an effect: the device's next batch is its next batch.
    let device = &mut fleet.simulated[0];
    assert!(record::append(gateway, device, &rows, expires)?.is_accepted());
    let device = &fleet.simulated[0];
    fleet.save(device)?;
    life::agree(consortium)?;
    Ok(())
}

#[test]
fn the_same_transaction_takes_effect_once() -> anyhow::Result<()> {
    let mut world = world()?;
    let World { gateway, fleet, readings, .. } = &mut *world;
    let device = &mut fleet.simulated[1];
    let rows = record::piece(readings, 4);
    let batch = hufu_harness::readings::batch(&rows, device.sequence.next())?;
    let expires = gateway.expiry()?;
    let transaction = device.sign_payload(gateway.chain, expires, Payload::Append(batch))?;
    let first = gateway.submit(&transaction)?;
    assert!(first.is_accepted(), "{}", first.answer);
    device.sequence = device.sequence.next();
    let second = gateway.submit(&transaction)?;
    assert_eq!((second.outcome, second.height), (first.outcome, first.height));
    Ok(())
}

#[test]
fn contract_packages_pass_their_check_and_broken_ones_do_not() -> anyhow::Result<()> {
    let world = world()?;
    let policies = hufu_harness::binaries::workspace().join("policies");
    let member = world.consortium.regulator();
    for package in hufu_harness::consortium::PACKAGES {
        member.run(&["policy", "check", text(&policies.join(package))?])?;
    }
    let list = member.json(&["policy", "list"])?;
    assert_eq!(list["contracts"].as_array().map(Vec::len), Some(2), "{list}");

    let broken = world.consortium.path("device-registry");
    let copied = process::run(
        Command::new("cp").arg("-r").arg(policies.join("device-registry")).arg(&broken),
    )?;
    copied.success()?;
    let manifest = broken.join("contract.toml");
    let source = fs::read_to_string(&manifest)?;
    fs::write(&manifest, source + "\n[action.nonsense]\non = \"nothing\"\n")?;
    let answer = process::run(&mut member.hufu(&["policy", "check", text(&broken)?]))?;
    assert_eq!(answer.status.code(), Some(1));
    let said = answer.stdout + &answer.stderr;
    assert!(said.contains("contract.toml") && said.contains("nothing"), "{said}");
    let answer = process::run(&mut member.hufu(&["policy", "deploy", text(&broken)?]))?;
    assert!(!answer.status.success(), "a broken package was deployed");
    Ok(())
}

/// Every certificate of this consortium has its member's word on the ledger: people's
/// by approvals, nodes' by their keys, the authority's own by itself.
#[test]
fn no_certificate_was_issued_against_an_approval() -> anyhow::Result<()> {
    let world = world()?;
    let consortium = &world.consortium;
    let regulator = consortium.regulator();
    let out = consortium.path("certificates.json");
    regulator.run(&[
        "report",
        "run",
        "--gateway",
        &regulator.gateway_url(),
        "--member",
        "regulator",
        "--ca",
        text(&consortium.root_path())?,
        "--contract",
        "device-registry",
        "--control-set",
        "certificates",
        "--out",
        text(&out)?,
    ])?;
    let report: Value = serde_json::from_slice(&fs::read(&out)?)?;
    ensure!(report["report"]["controls"][0]["id"] == "unapproved-certificate");
    ensure!(report["report"]["counts"]["findings"] == 0, "{}", report["report"]["controls"][0]);
    // It had something to look at.
    let sql = "SELECT count(*) FROM ledger.certificate_rights WHERE roles <> '[]'";
    let answer = regulator.json(&["query", sql])?;
    ensure!(answer["rows"][0][0].as_u64() > Some(3), "{answer}");
    Ok(())
}

#[test]
fn the_report_has_findings_and_is_the_same_elsewhere() -> anyhow::Result<()> {
    let world = world()?;
    let height = world.gateway.height()?;
    let reports = report::pull(&world.consortium, height)?;
    assert!(reports.findings > 0);
    report::same_elsewhere(&world.consortium, &reports, world.consortium.operator())?;
    report::same_elsewhere(&world.consortium, &reports, world.consortium.authority())?;
    let page = fs::read_to_string(&reports.html)?;
    assert!(page.to_lowercase().starts_with("<!doctype html"));
    assert!(fs::read_to_string(&reports.chinese)?.contains("监管"));
    Ok(())
}

#[test]
fn only_a_regulator_pulls_reports() -> anyhow::Result<()> {
    let world = world()?;
    let answer = process::run(&mut world.consortium.maker().hufu(&[
        "report",
        "run",
        "--gateway",
        &world.consortium.regulator().gateway_url(),
        "--member",
        "regulator",
        "--ca",
        text(&world.consortium.root_path())?,
        "--control-set",
        report::CONTROL_SET,
        "--format",
        "json",
        "--out",
        text(&world.consortium.path("stolen.json"))?,
    ]))?;
    assert!(!answer.status.success());
    assert!(!world.consortium.path("stolen.json").exists());
    assert!(answer.stderr.contains("403") || answer.stderr.contains("role"), "{}", answer.stderr);
    Ok(())
}

#[test]
fn files_verify_offline_and_changed_ones_do_not() -> anyhow::Result<()> {
    let world = world()?;
    let consortium = &world.consortium;
    let receipt = consortium.path("receipt.pem");
    consortium.owner()?.receipt(world.recorded.sample, &receipt)?;
    let certificate = consortium.path("certificate.pem");
    consortium.bundle(&world.fleet.tpm[0].enrolled()?, &certificate)?;
    let reports = report::pull(consortium, world.gateway.height()?)?;
    for file in [&certificate, &receipt, &reports.html, &reports.json, &reports.csv] {
        let said = proof::holds(consortium, file)?;
        assert!(said.contains("valid"), "{said}");
        for place in [0.03, 0.2, 0.4, 0.6, 0.8, 0.97, 1.0] {
            proof::notices_a_change(consortium, file, place)?;
        }
    }
    Ok(())
}

/// What a device was, what it is, and that there is no such device, each as a file
/// that anybody verifies; who may not read an asset does not get it proved.
#[test]
fn an_asset_and_its_absence_are_proved_as_of_a_height() -> anyhow::Result<()> {
    let world = world()?;
    let consortium = &world.consortium;
    let (operator, regulator) = (consortium.operator(), consortium.regulator());
    let out = consortium.path("state.pem");
    let device = world.fleet.simulated[2].id.as_str();
    let prove = |member: &Member, [contract, asset_type, asset]: [&str; 3], as_of: Option<u64>| {
        let as_of = as_of.map(|height| height.to_string());
        let mut all = vec!["--json", "prove", "state", "--contract", contract];
        all.extend(["--asset-type", asset_type, "--asset", asset, "--out", text(&out)?]);
        all.extend(as_of.iter().flat_map(|height| ["--as-of", height.as_str()]));
        process::run(&mut member.hufu(&all))
    };
    let proved = |asset: &str, as_of: Option<u64>| -> anyhow::Result<Value> {
        let asset = ["device-registry", "device", asset];
        Ok(prove(operator, asset, as_of)?.success()?.json()?["proved"].clone())
    };
    let height = |proved: &Value| proved["as_of"].as_u64().context("as_of");

    let before = proved(device, None)?;
    ensure!(before["present"]["state"] == "active", "{before}");
    let mut update = vec!["ledger", "invoke", "--contract", "device-registry", "--action"];
    update.extend(["update", "--asset", device, "--param", "firmware=proved-1"]);
    let updated = operator.json(&update)?["height"].as_u64().context("height")?;
    ensure!(height(&before)? < updated);

    // As it is, and as it was: the same file as then, but for who finalized it.
    let now = proved(device, Some(updated))?;
    ensure!(height(&now)? >= updated, "{now}");
    ensure!(now["present"]["fields"]["firmware"]["symbol"] == "proved-1", "{now}");
    let then = proved(device, Some(height(&before)?))?;
    ensure!(then == before, "{then} was {before}");
    let said = proof::holds(consortium, &out)?;
    let line = format!(
        "as of height {}, device {device} of contract device-registry is active",
        height(&then)?
    );
    ensure!(said.starts_with("valid: state proof\n") && said.contains(&line), "{said}");
    ensure!(said.contains("owner: member operator") && !said.contains("proved-1"), "{said}");
    for place in [0.03, 0.2, 0.4, 0.6, 0.8, 0.97, 1.0] {
        proof::notices_a_change(consortium, &out, place)?;
    }

    // That there is none, of which a changed byte is noticed as well.
    let none = proved("NO-SUCH-DEVICE", None)?;
    ensure!(none["present"].is_null() && none["asset"] == "NO-SUCH-DEVICE", "{none}");
    let said = proof::holds(consortium, &out)?;
    ensure!(said.contains("contract device-registry has no device NO-SUCH-DEVICE"), "{said}");
    for place in [0.1, 0.3, 0.5, 0.7, 0.9] {
        proof::notices_a_change(consortium, &out, place)?;
    }

    // What is not, cannot be asked, or is not shown is not proved, and no file is left.
    fs::remove_file(&out)?;
    let watches = "SELECT watch_id FROM operation_supervision.watch";
    let watch = regulator.json(&["query", watches])?["rows"][0][0].clone();
    let watch = ["operation-supervision", "watch", watch.as_str().context("a watch")?];
    let authority = consortium.authority();
    for (member, asset, as_of, says) in [
        (operator, ["no-such-contract", "device", device], None, "no such contract"),
        (operator, ["device-registry", "devise", device], None, "no such type of asset"),
        (operator, ["device-registry", "device", device], Some(u64::MAX), "not executed yet"),
        (operator, ["device-registry", "device", ""], None, "asset: "),
        (authority, watch, None, "the policy of contract `operation-supervision` does not permit"),
    ] {
        let refused = prove(member, asset, as_of)?;
        ensure!(!refused.status.success() && refused.stderr.contains(says), "{}", refused.stderr);
    }
    ensure!(!out.exists());

    // A regulator's is a look.
    prove(regulator, watch, None)?.success()?;
    let looks = "SELECT subject FROM ledger.looks WHERE subject LIKE 'proof of asset %'";
    let looks = regulator.json(&["query", looks])?["rows"].clone();
    let subject = format!("proof of asset operation-supervision/watch {}", watch[2]);
    ensure!(looks[0][0].as_str().is_some_and(|look| look.starts_with(&subject)), "{looks}");
    Ok(())
}

#[test]
fn files_of_one_consortium_do_not_verify_for_another() -> anyhow::Result<()> {
    let world = world()?;
    let receipt = world.consortium.path("receipt-here.pem");
    world.consortium.owner()?.receipt(world.recorded.sample, &receipt)?;
    let requests: Vec<_> =
        world.consortium.members.iter().map(|member| member.data("join.json")).collect();
    let other = world.consortium.path("other-genesis.json");
    let mut arguments = vec!["org", "found", "--consortium", "another", "--approvals", "3"];
    arguments.extend(["--out", text(&other)?]);
    for request in &requests {
        arguments.push(text(request)?);
    }
    world.consortium.authority().run(&arguments)?;
    let answer = process::run(
        Command::new(&world.consortium.settings.hufu)
            .arg("verify")
            .arg("--genesis")
            .arg(&other)
            .arg(&receipt),
    )?;
    assert_eq!(answer.status.code(), Some(1), "{}{}", answer.stdout, answer.stderr);
    Ok(())
}

#[test]
fn revocation_is_seen_by_ocsp_crl_and_ledger() -> anyhow::Result<()> {
    let mut world = world()?;
    let World { consortium, gateway, fleet, readings, .. } = &mut *world;
    let certificate = fleet.condemned()?.certificate.clone().context("not enrolled")?;
    let serial = certificate.serial()?;
    revoke::opinions(consortium, &certificate, revoke::Opinions::all_good)?;

    // Only the authority revokes.
    let answer = process::run(&mut consortium.maker().hufu(&["cert", "revoke", &serial]))?;
    assert!(!answer.status.success(), "the maker revoked a certificate");

    revoke::revoke(consortium, &certificate)?;
    revoke::opinions(consortium, &certificate, revoke::Opinions::all_revoked)?;
    record::condemned(gateway, fleet, readings)?;
    // The others are as good as before.
    let other = fleet.simulated[0].certificate.clone().context("not enrolled")?;
    revoke::opinions(consortium, &other, revoke::Opinions::all_good)?;
    Ok(())
}

#[test]
fn a_killed_validator_comes_back_and_agrees() -> anyhow::Result<()> {
    let mut world = world()?;
    let World { consortium, gateway, fleet, readings, .. } = &mut *world;
    let survived = life::kill_and_return(consortium, gateway, fleet, readings, "maker")?;
    assert!(survived.reached > survived.killed_at);
    assert!(survived.height >= survived.reached);
    Ok(())
}

#[test]
fn configuration_mistakes_are_named() -> anyhow::Result<()> {
    let world = world()?;
    let member = world.consortium.maker();
    let config = fs::read_to_string(member.config())?;
    let file = world.consortium.path("mistaken.toml");
    for (from, to, named) in [
        ("workers = 2", "workers = 2\nworkesr = 2", "workesr"),
        ("workers = 2", "workers = 0", "workers"),
        ("label = \"maker\"", "label = \"maker\"\npin = \"1234\"", "pin"),
        ("[services]", "[servics]", "servics"),
    ] {
        fs::write(&file, config.replace(from, to))?;
        let answer = process::run(
            Command::new(&world.consortium.settings.hufu)
                .arg("--config")
                .arg(&file)
                .args(["--pin-fd", "0", "serve"]),
        )?;
        assert_eq!(answer.status.code(), Some(2), "{to}: {}", answer.stderr);
        assert!(answer.stderr.contains(named), "{named}: {}", answer.stderr);
    }
    Ok(())
}
