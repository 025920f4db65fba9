//! What to try while the consortium runs.

use anyhow::Context as _;
use hufu_harness::Consortium;

use crate::summary::Summary;

/// Lines that work when pasted.
pub fn what_to_try(consortium: &Consortium, summary: &Summary) -> anyhow::Result<String> {
    let client = consortium.path("clients/regulator-regulator");
    // Made now, so that the curl line works.
    consortium.client("regulator", "regulator").context("a client for curl")?;
    let hufu = consortium.settings.hufu.display();
    let root = consortium.root_path();
    let (authority, regulator) = (consortium.authority(), consortium.regulator());
    Ok(format!(
        "
The consortium keeps running until Ctrl-C. Try, in another terminal:

How the authority's node is:
  {status}
Verify a report, a receipt, a certificate, offline:
  {hufu} verify --genesis {genesis} {report}
  {hufu} verify --genesis {genesis} {receipt}
  {hufu} verify --genesis {genesis} {certificate}
Ask the regulator's copy in SQL:
  {query}
Pull a report:
  {pull}
Ask the gateway and EST with curl:
  curl --cacert {root} --cert {client}.pem --key {client}.key {gateway}/v1/status
  curl --cacert {root} {est}/.well-known/est/cacerts
The CRL, read by openssl; metrics:
  curl -s {crl} | openssl crl -inform DER -noout -text
  curl -s {metrics}
Read the report in a browser:
  {html}
Play a row of industry on it; --list says which there are:
  cargo xtask demo story leasing --dir {directory}
",
        status = authority.pasteable("status"),
        genesis = summary.genesis.display(),
        report = summary.report.json.display(),
        receipt = summary.receipt.display(),
        certificate = summary.certificate.display(),
        query = regulator.pasteable("query 'SELECT * FROM operation_supervision.reading LIMIT 5'"),
        pull = regulator.pasteable(&format!(
            "report run --gateway {} --ca {} --control-set {} --out my-report.html",
            summary.urls.gateway,
            root.display(),
            hufu_harness::job::report::CONTROL_SET,
        )),
        root = root.display(),
        client = client.display(),
        gateway = summary.urls.gateway,
        est = summary.urls.est,
        crl = summary.urls.crl,
        metrics = summary.urls.metrics,
        html = summary.report.html.display(),
        directory = consortium.settings.directory.display(),
    ))
}
