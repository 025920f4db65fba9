//! Clients and judges that we did not write: curl, openssl, strongSwan,
//! pkilint.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::MutexGuard;

use anyhow::{Context as _, ensure};
use common::{World, world};
use hufu_harness::inspect::{openssl, text};
use hufu_harness::job::revoke;
use hufu_harness::process::{self, Answer};

/// A directory of its own for one test.
fn scratch(world: &World, name: &str) -> anyhow::Result<PathBuf> {
    let directory = world.consortium.path(name);
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// curl to the EST server, with the certificate and key in `client.pem` and
/// `client.key`.
fn curl(
    world: &World,
    client: &Path,
    operation: &str,
    csr: &Path,
    out: &Path,
) -> anyhow::Result<Answer> {
    // As RFC 7030 shows it: base64 of the DER request.
    let body = csr.with_extension("b64");
    let der = csr.with_extension("der");
    openssl(&["req", "-in", text(csr)?, "-outform", "DER", "-out", text(&der)?])?.success()?;
    openssl(&["base64", "-in", text(&der)?, "-out", text(&body)?])?.success()?;
    process::run(
        Command::new("curl")
            .args(["--silent", "--show-error", "--fail-with-body", "--noproxy", "*"])
            .args(["--header", "Content-Type: application/pkcs10"])
            .args(["--header", "Content-Transfer-Encoding: base64"])
            .arg("--cacert")
            .arg(world.consortium.root_path())
            .arg("--cert")
            .arg(client.with_extension("pem"))
            .arg("--key")
            .arg(client.with_extension("key"))
            .arg("--data-binary")
            .arg(format!("@{}", body.display()))
            .arg("--output")
            .arg(out)
            .arg(format!("{}/.well-known/est/{operation}", world.consortium.authority().est_url())),
    )
}

/// A key and request of `openssl`, as `NAME.key` and `NAME.csr`.
fn request(directory: &Path, name: &str, kind: &[&str]) -> anyhow::Result<PathBuf> {
    let key = directory.join(format!("{name}.key"));
    let csr = directory.join(format!("{name}.csr"));
    let mut generate = vec!["genpkey", "-out", text(&key)?];
    generate.extend(kind);
    openssl(&generate)?.success()?;
    let subject = format!("/serialNumber={name}");
    openssl(&["req", "-new", "-key", text(&key)?, "-subj", &subject, "-out", text(&csr)?])?
        .success()?;
    Ok(csr)
}

const P256: [&str; 4] = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const ED25519: [&str; 2] = ["-algorithm", "ED25519"];

/// The one certificate of a certs-only message, as openssl sees it, in
/// `NAME.pem`.
fn unpack(message: &Path, certificate: &Path) -> anyhow::Result<()> {
    let der = message.with_extension("p7.der");
    openssl(&["base64", "-d", "-A", "-in", text(message)?, "-out", text(&der)?])?.success()?;
    let printed = openssl(&["pkcs7", "-inform", "DER", "-in", text(&der)?, "-print_certs"])?
        .success()?
        .stdout;
    let begin = printed.find("-----BEGIN").context("no certificate")?;
    fs::write(certificate, &printed[begin..])?;
    Ok(())
}

fn verifies(world: &World, certificate: &Path) -> anyhow::Result<()> {
    let consortium = &world.consortium;
    openssl(&[
        "verify",
        "-x509_strict",
        "-CAfile",
        text(&consortium.root_path())?,
        "-untrusted",
        text(&consortium.issuing_path())?,
        text(certificate)?,
    ])?
    .success()?;
    Ok(())
}

/// Enrols with curl and openssl alone; gives the path without extension.
fn enrolled(world: &World, directory: &Path, name: &str, kind: &[&str]) -> anyhow::Result<PathBuf> {
    // The client of the production line is certified on first use.
    world.consortium.client("maker", "registration-authority")?;
    let line = world.consortium.path("clients/maker-registration-authority.pem");
    let csr = request(directory, name, kind)?;
    let (message, certificate) =
        (csr.with_extension("p7.b64"), directory.join(format!("{name}.pem")));
    curl(world, &line, "idevid/simpleenroll", &csr, &message)?.success()?;
    unpack(&message, &certificate)?;
    verifies(world, &certificate)?;
    Ok(directory.join(name))
}

#[test]
fn curl_and_openssl_enrol_and_renew() -> anyhow::Result<()> {
    let world = world()?;
    let directory = scratch(&world, "curl")?;
    for (name, kind) in [("CURL-P256", P256.as_slice()), ("CURL-ED25519", &ED25519)] {
        let device = enrolled(&world, &directory, name, kind)?;
        if name.ends_with("P256") {
            // The device renews by itself, authenticated by its certificate.
            let renewed = directory.join("renewed.pem");
            let message = directory.join("renewed.p7.b64");
            curl(
                &world,
                &device,
                "idevid/simplereenroll",
                &device.with_extension("csr"),
                &message,
            )?
            .success()?;
            unpack(&message, &renewed)?;
            verifies(&world, &renewed)?;
            assert_ne!(fs::read(&renewed)?, fs::read(device.with_extension("pem"))?);
        }
    }
    Ok(())
}

#[test]
fn curl_reads_ca_certificates_and_attributes_without_a_certificate() -> anyhow::Result<()> {
    let world = world()?;
    let directory = scratch(&world, "cacerts")?;
    let get = |operation: &str, out: &Path| {
        process::run(
            Command::new("curl")
                .args(["--silent", "--show-error", "--fail-with-body", "--noproxy", "*"])
                .arg("--cacert")
                .arg(world.consortium.root_path())
                .arg("--output")
                .arg(out)
                .arg(format!(
                    "{}/.well-known/est/{operation}",
                    world.consortium.authority().est_url()
                )),
        )
    };
    let message = directory.join("cacerts.b64");
    get("cacerts", &message)?.success()?;
    let certificates = hufu_harness::est::certificates_of(&fs::read_to_string(&message)?)?;
    let root = hufu_harness::est::der_of_pem(&world.consortium.root_pem()?)?.swap_remove(0);
    ensure!(certificates.contains(&root), "the root is not among the CA certificates");
    let attributes = directory.join("csrattrs.b64");
    get("idevid/csrattrs", &attributes)?.success()?;
    openssl(&[
        "base64",
        "-d",
        "-A",
        "-in",
        text(&attributes)?,
        "-out",
        text(&directory.join("attrs"))?,
    ])?
    .success()?;
    openssl(&["asn1parse", "-inform", "DER", "-in", text(&directory.join("attrs"))?])?.success()?;
    Ok(())
}

/// Settings under which strongSwan speaks TLS 1.3, which it does only when
/// asked to.
fn strongswan_settings(directory: &Path) -> anyhow::Result<PathBuf> {
    let settings = directory.join("strongswan.conf");
    fs::write(&settings, "libtls {\n  version_max = 1.3\n}\n")?;
    Ok(settings)
}

#[test]
fn strongswan_enrols_for_the_first_time_with_a_token() -> anyhow::Result<()> {
    let world = world()?;
    let directory = scratch(&world, "token")?;
    let settings = strongswan_settings(&directory)?;
    let authority = world.consortium.authority();
    let url = authority.est_url();
    // What is asked for in error is said before a token is made.
    for (arguments, words) in [
        (["--owner", "nobody", "--profile", "idevid"], "no member `nobody`"),
        (["--owner", "maker", "--profile", "member-node"], "those that are: idevid"),
        (["--owner", "maker", "--valid-for", "91d"], "at most 90 days"),
        (["--owner", "maker", "--device-id", ""], "serialNumber: is empty; leave it out"),
    ] {
        let answer =
            process::run(&mut authority.hufu(&[&["device", "token"], &arguments[..]].concat()))?;
        assert_eq!(answer.status.code(), Some(1), "{arguments:?}");
        assert!(answer.stderr.contains(words), "{arguments:?}: {}", answer.stderr);
    }
    let elsewhere = process::run(
        &mut world.consortium.member("maker")?.hufu(&["device", "token", "--owner", "maker"]),
    )?;
    let words = "Another member runs the authority: ask at the node of member `authority`";
    assert!(elsewhere.stderr.contains(words), "{elsewhere:?}");

    let token = authority.json(&[
        "device",
        "token",
        "--owner",
        "maker",
        "--device-id",
        "SWAN-TOKEN",
        "--valid-for",
        "10m",
    ])?;
    let text_of = |field: &str| token[field].as_str().unwrap_or_default().to_owned();
    let (user, password) = (text_of("user"), text_of("password"));
    assert_eq!((user.as_str(), password.len()), ("maker", 32));

    let enrol = |csr: &Path, password: &str| {
        Command::new("pki")
            .env("STRONGSWAN_CONF", &settings)
            .args(["--est", "--url", &url, "--outform", "pem"])
            .args(["--userpass", &format!("{user}:{password}"), "--in"])
            .arg(csr)
            .arg("--cacert")
            .arg(world.consortium.root_path())
            .arg("--cacert")
            .arg(world.consortium.issuing_path())
            .output()
    };
    let der = |name: &str| -> anyhow::Result<PathBuf> {
        let csr = request(&directory, name, &P256)?;
        let der = csr.with_extension("der");
        openssl(&["req", "-in", text(&csr)?, "-outform", "DER", "-out", text(&der)?])?.success()?;
        Ok(der)
    };
    let (own, other) = (der("SWAN-TOKEN")?, der("SWAN-OTHER")?);
    assert!(!enrol(&own, "guessed")?.status.success(), "a guessed password enrols");
    assert!(!enrol(&other, &password)?.status.success(), "another device enrols");
    let answer = enrol(&own, &password)?;
    ensure!(answer.status.success(), "pki --est: {}", String::from_utf8_lossy(&answer.stderr));
    let certificate = directory.join("SWAN-TOKEN.pem");
    fs::write(&certificate, answer.stdout)?;
    verifies(&world, &certificate)?;

    // It was for one key: a second one of the same device is refused.
    fs::remove_file(directory.join("SWAN-TOKEN.key"))?;
    let second = enrol(&der("SWAN-TOKEN")?, &password)?;
    assert!(!second.status.success(), "the token was used twice");
    assert!(second.stdout.is_empty());

    // The authority keeps a digest, and no log has the password.
    for path in [authority.data("ca.sqlite"), authority.data("ca.sqlite-wal"), authority.log()] {
        let bytes = fs::read(&path).unwrap_or_default();
        let held = bytes.windows(password.len()).any(|window| window == password.as_bytes());
        assert!(!held, "{} holds the password", path.display());
    }
    Ok(())
}

#[test]
fn strongswan_reads_ca_certificates_and_renews() -> anyhow::Result<()> {
    let world = world()?;
    let directory = scratch(&world, "strongswan")?;
    let settings = strongswan_settings(&directory)?;
    let url = world.consortium.authority().est_url();
    process::run(
        Command::new("pki")
            .env("STRONGSWAN_CONF", &settings)
            .args(["--estca", "--url", &url, "--outform", "pem", "--force", "--cacert"])
            .arg(world.consortium.root_path())
            .arg("--caout")
            .arg(directory.join("ca.pem")),
    )?
    .success()?;
    let written = fs::read_dir(&directory)?.filter_map(Result::ok).count();
    assert!(written > 0, "pki --estca wrote nothing");

    let device = enrolled(&world, &directory, "STRONGSWAN-1", &P256)?;
    let answer = Command::new("pki")
        .env("STRONGSWAN_CONF", &settings)
        .args(["--est", "--url", &url, "--outform", "pem", "--in"])
        .arg(device.with_extension("der"))
        .arg("--cacert")
        .arg(world.consortium.root_path())
        .arg("--cacert")
        .arg(world.consortium.issuing_path())
        .arg("--cert")
        .arg(device.with_extension("pem"))
        .arg("--key")
        .arg(device.with_extension("key"))
        .output()?;
    ensure!(answer.status.success(), "pki --est: {}", String::from_utf8_lossy(&answer.stderr));
    let renewed = directory.join("renewed.pem");
    fs::write(&renewed, answer.stdout)?;
    verifies(&world, &renewed)?;
    Ok(())
}

#[test]
fn openssl_agrees_on_ocsp_and_crl() -> anyhow::Result<()> {
    let world = world()?;
    let certificate = world.fleet.simulated[0].certificate.clone().context("not enrolled")?;
    revoke::opinions(&world.consortium, &certificate, revoke::Opinions::all_good)?;
    let last = world.fleet.simulated.last().and_then(|device| device.certificate.clone());
    let last = last.context("not enrolled")?;
    revoke::revoke(&world.consortium, &last)?;
    revoke::opinions(&world.consortium, &last, revoke::Opinions::all_revoked)?;
    let crl = revoke::fetch_crl(&world.consortium)?;
    let printed =
        openssl(&["crl", "-inform", "DER", "-in", text(&crl)?, "-noout", "-text"])?.success()?;
    assert!(printed.stdout.to_lowercase().contains(&last.serial()?), "{}", printed.stdout);
    Ok(())
}

#[test]
fn openssl_speaks_tls_1_3_and_nothing_older() -> anyhow::Result<()> {
    let world = world()?;
    let address = world.consortium.authority().addresses.est.to_string();
    let connect = |version: &str| {
        process::run(
            Command::new("openssl")
                .args(["s_client", "-connect", &address, version, "-verify_return_error"])
                .arg("-CAfile")
                .arg(world.consortium.root_path()),
        )
    };
    let modern = connect("-tls1_3")?;
    assert!(modern.stdout.contains("Verify return code: 0 (ok)"), "{}", modern.stdout);
    for old in ["-tls1_2", "-tls1_1"] {
        assert!(!connect(old)?.status.success(), "{old} was accepted");
    }
    Ok(())
}

/// Programs of pkilint: where xtask put them, or in the cache.
fn pkilint(program: &str) -> anyhow::Result<Command> {
    let directory = match std::env::var_os("HUFU_PKILINT") {
        Some(directory) => PathBuf::from(directory),
        None => {
            let home = std::env::var_os("HOME").context("HOME is not set")?;
            PathBuf::from(home).join(".cache/hufu/pkilint-0.13.3/bin")
        }
    };
    let path = directory.join(program);
    ensure!(path.is_file(), "{} is not there; `cargo xtask test` installs it", path.display());
    // Not by its own first line, which names where it was installed at first.
    let mut command = Command::new(directory.join("python3"));
    command.arg(path);
    Ok(command)
}

fn lint(program: &str, arguments: &[&str], file: &Path) -> anyhow::Result<()> {
    let answer = process::run(
        pkilint(program)?.args(["lint", "--severity", "ERROR"]).args(arguments).arg(file),
    )?;
    // pkilint takes every URI for a URL with a host. RFC 5280 §4.2.1.6 asks for
    // a scheme and its specific part, which a URN (RFC 8141) has. This finding
    // about our own URNs is set aside, nothing else.
    const URN: &str = "pkix.invalid_uri_syntax (ERROR): Invalid URI syntax: \"urn:hufu:";
    let findings: Vec<&str> = answer
        .stdout
        .lines()
        .filter(|line| line.starts_with(' ') && !line.trim_start().starts_with(URN))
        .collect();
    ensure!(
        findings.is_empty() && !answer.stderr.contains("Traceback"),
        "pkilint on {}: {findings:#?}\n{}",
        file.display(),
        answer.stderr
    );
    Ok(())
}

/// A certificate of `profile` on the authority's command line.
fn issued(
    world: &MutexGuard<'_, World>,
    directory: &Path,
    profile: &str,
    more: &[&str],
) -> anyhow::Result<PathBuf> {
    let csr = request(directory, profile, &P256)?;
    if profile == "tls-server" || profile == "operator-client" {
        let key = csr.with_extension("key");
        let mut request =
            vec!["req", "-new", "-key", text(&key)?, "-subj", "/CN=example", "-out", text(&csr)?];
        if profile == "tls-server" {
            request.extend(["-addext", "subjectAltName=DNS:est.operator.example,IP:127.0.0.1"]);
        }
        openssl(&request)?.success()?;
    }
    let chain = directory.join(format!("{profile}.chain.pem"));
    if profile == "operator-client" {
        world.consortium.approve("operator", &csr, &["operator"])?;
    }
    world.consortium.issue(profile, "operator", more, &csr, &chain)?;
    let der = hufu_harness::est::der_of_pem(&fs::read_to_string(&chain)?)?.swap_remove(0);
    let certificate = directory.join(format!("{profile}.pem"));
    fs::write(&certificate, hufu_harness::est::pem("CERTIFICATE", &der))?;
    Ok(certificate)
}

#[test]
fn pkilint_finds_no_error_in_any_profile() -> anyhow::Result<()> {
    let world = world()?;
    let directory = scratch(&world, "pkilint")?;
    let consortium = &world.consortium;
    let (root, issuing) = (consortium.root_path(), consortium.issuing_path());
    let mut files = vec![root.clone(), issuing.clone()];
    for (profile, more) in [
        ("idevid", [].as_slice()),
        ("ldevid", &[]),
        ("operator-client", &["--role", "operator"]),
        ("tls-server", &[]),
    ] {
        files.push(issued(&world, &directory, profile, more)?);
    }
    let attested = directory.join("idevid-tpm.pem");
    fs::write(&attested, world.fleet.tpm[0].enrolled()?.pem())?;
    files.push(attested);
    let node = directory.join("member-node.pem");
    let chain = fs::read_to_string(consortium.authority().directory.join("tls.pem"))?;
    let der = hufu_harness::est::der_of_pem(&chain)?.swap_remove(0);
    fs::write(&node, hufu_harness::est::pem("CERTIFICATE", &der))?;
    files.push(node);
    for file in &files {
        lint("lint_pkix_cert", &[], file)?;
    }
    // Every shipped profile was looked at.
    let profiles = hufu_harness::binaries::workspace().join("ca/issuance/profiles");
    assert_eq!(fs::read_dir(profiles)?.count(), files.len(), "a profile was not linted");
    lint("lint_crl", &["--type", "CRL", "--profile", "PKIX"], &revoke::fetch_crl(consortium)?)?;
    Ok(())
}

#[test]
fn pkilint_finds_no_error_in_an_ocsp_response() -> anyhow::Result<()> {
    let world = world()?;
    let directory = scratch(&world, "ocsp")?;
    let certificate = directory.join("certificate.pem");
    let enrolled = world.fleet.simulated[0].certificate.clone().context("not enrolled")?;
    fs::write(&certificate, enrolled.pem())?;
    let response = directory.join("response.der");
    openssl(&[
        "ocsp",
        "-url",
        &revoke::ocsp_url(&world.consortium),
        "-issuer",
        text(&world.consortium.issuing_path())?,
        "-cert",
        text(&certificate)?,
        "-CAfile",
        text(&world.consortium.root_path())?,
        "-respout",
        text(&response)?,
    ])?
    .success()?;
    lint("lint_ocsp_response", &[], &response)
}
