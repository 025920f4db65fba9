//! The same thing twice, one after the other and at the same time.

use anyhow::{Context as _, ensure};
use hufu_harness::device::Device;
use hufu_harness::job::record;
use hufu_harness::{Gateway, readings};
use hufu_proof::Algorithm;
use hufu_proof::transaction::Payload;

use crate::common::{World, world};
use crate::kept;

/// Requests at the same time.
const AT_ONCE: usize = 8;

#[test]
fn a_request_sent_often_at_once_gets_one_certificate() -> anyhow::Result<()> {
    let world = world()?;
    let est = world.consortium.est()?;
    let request = Device::new("OFTEN-1", Algorithm::EcdsaP256)?.request()?;
    let before = kept(&world.consortium)?;
    let all: Vec<_> = std::thread::scope(|scope| {
        let asking: Vec<_> =
            (0..AT_ONCE).map(|_| scope.spawn(|| est.enrol("idevid", &request))).collect();
        asking.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    let mut certificates = Vec::new();
    for one in all {
        let one = one.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        certificates.push(one.map_err(|refused| anyhow::anyhow!("{refused:?}"))?);
    }
    ensure!(certificates.windows(2).all(|pair| pair[0] == pair[1]), "certificates differ");
    let again = est.enrol("idevid", &request)?.ok().context("refused")?;
    assert_eq!(again, certificates[0]);
    let after = kept(&world.consortium)?;
    assert_eq!(after.certificates, before.certificates + 1);
    assert_eq!(after.entries, before.entries + 1);
    Ok(())
}

#[test]
fn a_transaction_sent_to_all_nodes_at_once_takes_effect_once() -> anyhow::Result<()> {
    let mut world = world()?;
    let World { consortium, gateway, fleet, readings, .. } = &mut *world;
    let consortium = &*consortium;
    let before = kept(consortium)?;
    let rows = record::piece(readings, 5);
    let device = &mut fleet.simulated[3];
    let batch = readings::batch(&rows, device.sequence.next())?;
    let expires = gateway.expiry()?;
    let transaction = device.sign_payload(gateway.chain, expires, Payload::Append(batch))?;
    let gateways: Vec<Gateway> = ["authority", "regulator", "maker", "operator"]
        .into_iter()
        .map(|of| consortium.gateway(of, "maker", "operator"))
        .collect::<anyhow::Result<_>>()?;
    let all: Vec<_> = std::thread::scope(|scope| {
        let sending: Vec<_> = gateways
            .iter()
            .flat_map(|gateway| [gateway, gateway])
            .map(|gateway| scope.spawn(|| gateway.submit(&transaction)))
            .collect();
        sending.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    let mut heights = Vec::new();
    for one in all {
        let one = one.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        ensure!(one.is_accepted(), "{}", one.answer);
        heights.push(one.height);
    }
    device.sequence = device.sequence.next();
    ensure!(heights.windows(2).all(|pair| pair[0] == pair[1]), "{heights:?}");
    assert_eq!(kept(consortium)?.entries, before.entries + 1);
    // In one bundle, twice: one effect, the same answer for both.
    let batch = readings::batch(&rows, device.sequence.next())?;
    let transaction = device.sign_payload(gateway.chain, expires, Payload::Append(batch))?;
    let bundle = hufu_proof::codec::encode(&vec![transaction.clone(), transaction]);
    let url = format!("{}/v1/transactions/bundle", consortium.operator().gateway_url());
    let http = crate::client(consortium, "maker", "operator")?;
    let answer = http.post(&url, "application/octet-stream", &bundle)?.success()?.json()?;
    let answers = answer["transactions"].as_array().context("a list")?;
    assert_eq!(answers.len(), 2, "{answer}");
    assert_eq!(answers[0], answers[1]);
    device.sequence = device.sequence.next();
    assert_eq!(kept(consortium)?.entries, before.entries + 2);
    Ok(())
}
