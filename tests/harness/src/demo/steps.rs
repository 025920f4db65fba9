//! The nine steps, shown as they go.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::ensure;
use hufu_harness::consortium::in_parallel;
use hufu_harness::far::Far;
use hufu_harness::job::{Fleet, enrol, life, proof, record, report, revoke};
use hufu_harness::readings::{self, Reading};
use hufu_harness::{Consortium, Gateway, Settings};

use crate::display::Display;
use crate::summary::{Devices, Readings, ReportFiles, Seconds, Summary, Urls};

/// What is to be done.
pub struct Plan {
    /// Devices with keys in software.
    pub devices: usize,
    /// Their readings; those that are shipped when absent.
    pub readings: Option<PathBuf>,
    /// How long the build took.
    pub build_seconds: f64,
    /// Whether the members' records are on FoundationDB.
    pub far: bool,
}

/// What runs when everything is done.
pub struct Running {
    /// The consortium.
    pub consortium: Consortium,
    /// What there is to say of it.
    pub summary: Summary,
    /// The cluster that has its records, where one has.
    pub far: Option<Far>,
}

/// The member whose validator is killed.
const VICTIM: &str = "maker";

/// Does everything; gives the running consortium.
pub fn run(settings: Settings, plan: &Plan, display: &Display) -> anyhow::Result<Running> {
    let started = Instant::now();
    let mut consortium = Consortium::prepare(settings)?;
    let (readings, file) = match &plan.readings {
        Some(file) => (readings::load(file)?, file.clone()),
        None => {
            let (readings, file) = (readings::recent()?, consortium.path("readings.csv"));
            readings::save(&readings, &file)?;
            (readings, file)
        }
    };
    eprintln!("everything is kept in {}", consortium.settings.directory.display());
    let far = plan.far.then(|| Far::any(&consortium)).transpose()?;
    if let Some(far) = &far {
        eprintln!("but for the records, which are on {}", far.said());
        for member in &consortium.members {
            far.keep(&consortium, member.name())?;
        }
    }
    eprintln!();

    let mut ceremony = hold_ceremonies(&consortium, display)?;
    ceremony += begin_to_finalize(&mut consortium, display)?;
    deploy(&consortium, display)?;

    let (mut fleet, enrol) = enrol_devices(&consortium, plan.devices, display)?;
    let gateway = consortium.gateway("operator", "maker", "operator")?;
    let (mut counts, sample, record) =
        record_readings(&consortium, &gateway, &mut fleet, &readings, &file, display)?;
    let (reports, report) = pull_reports(&consortium, &gateway, display)?;
    let (receipt, certificate) = prove(&consortium, &fleet, &reports, sample, display)?;
    counts.refused += revoke_one(&consortium, &gateway, &mut fleet, &readings, display)?;
    let survived = survive(&mut consortium, &gateway, &mut fleet, &readings, display)?;
    counts.accepted += survived.rows;

    let summary = Summary {
        ok: true,
        dir: consortium.settings.directory.clone(),
        genesis: consortium.genesis_path(),
        report: ReportFiles { html: reports.html, json: reports.json },
        receipt,
        certificate,
        height: survived.height,
        state_root: survived.state_root,
        validators: consortium.members.len(),
        devices: Devices {
            enrolled: fleet.simulated.len() + fleet.tpm.len(),
            tpm_attested: fleet.tpm.len(),
            revoked: 1,
        },
        readings: counts,
        findings: reports.findings,
        seconds: Seconds {
            build: plan.build_seconds,
            ceremony,
            enrol,
            record,
            report,
            total: plan.build_seconds + started.elapsed().as_secs_f64(),
        },
        urls: Urls {
            est: consortium.authority().est_url(),
            ocsp: revoke::ocsp_url(&consortium),
            crl: revoke::crl_url(&consortium),
            gateway: consortium.regulator().gateway_url(),
            metrics: format!("{}/metrics", consortium.authority().metrics_url()),
        },
    };
    Ok(Running { consortium, summary, far })
}

fn hold_ceremonies(consortium: &Consortium, display: &Display) -> anyhow::Result<f64> {
    let step = display.step(1, "Key ceremonies");
    step.now("four tokens, each with its keys; TPMs of the devices");
    let parts = [true, false];
    in_parallel(&parts, |ceremonies| {
        if *ceremonies { consortium.hold_ceremonies() } else { consortium.make_tpms() }
    })?;
    step.now("founders agree on a genesis file");
    consortium.found()?;
    let digest = consortium.genesis()?.digest();
    Ok(step.done(&[
        format!(
            "{} members made non-extractable keys in their PKCS#11 tokens",
            consortium.members.len()
        ),
        format!("transcript: {}", consortium.authority().data("transcript.txt").display()),
        format!("all founders read the same genesis digest: {digest}"),
    ]))
}

fn begin_to_finalize(consortium: &mut Consortium, display: &Display) -> anyhow::Result<f64> {
    let step = display.step(2, "Consortium");
    step.now("four validators start");
    consortium.start_all()?;
    step.now("nodes get their TLS certificates");
    consortium.certify_nodes()?;
    let (height, root) = life::agree(consortium)?;
    Ok(step.done(&[
        "four validators, one process each, vote with keys in their tokens".to_owned(),
        format!("height {height}, state root {root} on all of them"),
    ]))
}

fn deploy(consortium: &Consortium, display: &Display) -> anyhow::Result<f64> {
    let step = display.step(3, "Contracts");
    step.now("checked, proposed, approved by the founders");
    consortium.deploy_contracts()?;
    Ok(step.done(&[format!(
        "{} are deployed, each approved by {} of {} founders",
        hufu_harness::consortium::PACKAGES.join(" and "),
        hufu_harness::consortium::APPROVALS,
        consortium.members.len()
    )]))
}

fn enrol_devices(
    consortium: &Consortium,
    count: usize,
    display: &Display,
) -> anyhow::Result<(Fleet, f64)> {
    let step = display.step(4, "Enrolment");
    step.now("devices are switched on");
    let mut fleet = enrol::assemble(consortium, count)?;
    let simulated =
        enrol::simulated(&consortium.est()?, &mut fleet, step.counter(count, "devices over EST"))?;
    let counter = step.counter(fleet.tpm.len(), "devices with a TPM");
    let attested = enrol::attested(consortium, &fleet, counter)?;
    let refusal = enrol::unknown_tpm_is_refused(consortium)?;
    step.now("devices are entered in the registry");
    record::register(consortium, &fleet, step.counter(count + fleet.tpm.len(), "registered"))?;
    let watches = record::watch(
        consortium,
        &fleet,
        step.counter(2 * (record::WATCHED.min(count) + fleet.tpm.len()) + 1, "watches"),
    )?;
    let seconds = step.done(&[
        format!("{simulated} devices over EST, each certificate recorded before it was signed"),
        format!("{attested} devices whose keys are proved to live in their TPMs"),
        format!("refused: a TPM of a maker that nobody knows: {refusal}"),
        format!("the regulator watches {watches} measurements, with limits"),
    ]);
    Ok((fleet, seconds))
}

fn record_readings(
    consortium: &Consortium,
    gateway: &Gateway,
    fleet: &mut Fleet,
    readings: &[Reading],
    file: &Path,
    display: &Display,
) -> anyhow::Result<(Readings, hufu_proof::Digest, f64)> {
    let step = display.step(5, "Record");
    let counter = step.counter(fleet.simulated.len() - 1, "batches recorded");
    let recorded = record::simulated(gateway, fleet, readings, counter)?;
    step.now("devices sign in their TPMs");
    let attested = record::attested(consortium, fleet, file)?;
    step.now("a device whose clock is ahead");
    record::clock_ahead(gateway, fleet)?;
    step.now("what must be refused");
    let refusals =
        [record::replayed(gateway, fleet, readings)?, record::altered(gateway, fleet, readings)?];
    let mut lines = vec![
        format!("{} readings in {} batches of simulated devices", recorded.rows, recorded.batches),
        format!("{attested} readings signed in TPMs by the hufu agent"),
    ];
    lines.extend(refusals.iter().map(|one| format!("refused: {}: {}", one.what, one.outcome)));
    let seconds = step.done(&lines);
    let counts = Readings {
        accepted: recorded.rows + attested + 1,
        refused: refusals.iter().map(|one| one.rows).sum(),
    };
    Ok((counts, recorded.sample, seconds))
}

fn pull_reports(
    consortium: &Consortium,
    gateway: &Gateway,
    display: &Display,
) -> anyhow::Result<(report::Reports, f64)> {
    let step = display.step(6, "Supervision");
    step.now("a device is silent for longer than it may be");
    record::until_silent(consortium)?;
    step.now("the regulator pulls a report");
    let height = gateway.height()?;
    let reports = report::pull(consortium, height)?;
    ensure!(
        reports.by_severity.len() >= 3,
        "values over limits, a silent device and a clock ahead are findings of three severities; \
         the report has {:?}",
        reports.by_severity
    );
    step.now("the operator's node computes the same");
    report::same_elsewhere(consortium, &reports, consortium.operator())?;
    let seconds = step.done(&[
        format!("{} findings as of height {height}", reports.findings),
        format!("to read: {}", reports.html.display()),
        format!("in Chinese: {}", reports.chinese.display()),
        "the operator's node computed the same bytes, but for the signature block".to_owned(),
    ]);
    Ok((reports, seconds))
}

fn prove(
    consortium: &Consortium,
    fleet: &Fleet,
    reports: &report::Reports,
    sample: hufu_proof::Digest,
    display: &Display,
) -> anyhow::Result<(PathBuf, PathBuf)> {
    let step = display.step(7, "Proof");
    let receipt = consortium.path("receipt.pem");
    consortium.owner()?.receipt(sample, &receipt)?;
    let certificate = consortium.path("certificate.pem");
    let device = fleet.tpm.first().map(|device| device.enrolled());
    let enrolled = match device {
        Some(enrolled) => enrolled?,
        None => anyhow::bail!("there are no devices with a TPM"),
    };
    consortium.bundle(&enrolled, &certificate)?;
    let mut lines = Vec::new();
    for file in [&certificate, &receipt, &reports.json, &reports.html, &reports.csv] {
        step.now(&file.display().to_string());
        proof::holds(consortium, file)?;
        lines.push(format!("verified offline: {}", file.display()));
    }
    let reason = proof::notices_a_change(consortium, &reports.json, 0.5)?;
    lines.push(format!("refused: a report with one byte changed: {reason}"));
    step.done(&lines);
    Ok((receipt, certificate))
}

fn revoke_one(
    consortium: &Consortium,
    gateway: &Gateway,
    fleet: &mut Fleet,
    readings: &[Reading],
    display: &Display,
) -> anyhow::Result<usize> {
    let step = display.step(8, "Revocation");
    let device = fleet.condemned()?;
    let id = device.id.clone();
    let Some(certificate) = device.certificate.clone() else {
        anyhow::bail!("{id} has no certificate");
    };
    step.now("the authority revokes a certificate");
    revoke::revoke(consortium, &certificate)?;
    let opinions = revoke::opinions(consortium, &certificate, revoke::Opinions::all_revoked)?;
    let refusal = record::condemned(gateway, fleet, readings)?;
    step.done(&[
        format!("the certificate of {id}, serial {}", certificate.serial()?),
        format!(
            "OCSP says {:?}, the CRL says {:?} (both verified by openssl), the ledger says {}",
            opinions.ocsp, opinions.crl, opinions.ledger
        ),
        format!("refused: {}: {}", refusal.what, refusal.outcome),
    ]);
    Ok(refusal.rows)
}

fn survive(
    consortium: &mut Consortium,
    gateway: &Gateway,
    fleet: &mut Fleet,
    readings: &[Reading],
    display: &Display,
) -> anyhow::Result<life::Survived> {
    let step = display.step(9, "Life");
    step.now(&format!("kill -9 to the validator of {VICTIM}"));
    let survived = life::kill_and_return(consortium, gateway, fleet, readings, VICTIM)?;
    step.done(&[
        format!(
            "the validator of {VICTIM} was killed at height {}; the others went on to {}",
            survived.killed_at, survived.reached
        ),
        format!("it caught up within {:.1} s", survived.caught_up.as_secs_f64()),
        format!("all agree: height {}, state root {}", survived.height, survived.state_root),
    ]);
    Ok(survived)
}
