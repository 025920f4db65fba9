//! Real clients and judges, run as processes.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// Runs a program in `directory` and returns what it said.
pub fn run<S: AsRef<OsStr>>(directory: &Path, program: &str, arguments: &[S]) -> Output {
    Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program} does not start: {error}"))
}

/// Runs a program that must succeed; returns stdout.
pub fn succeed<S: AsRef<OsStr> + std::fmt::Debug>(
    directory: &Path,
    program: &str,
    arguments: &[S],
) -> String {
    let output = run(directory, program, arguments);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Makes a key `NAME.key` (P-256, P-384, ED25519, RSA) and a request
/// `NAME.csr` with `openssl`; returns the request in DER.
pub fn request(
    directory: &Path,
    name: &str,
    algorithm: &str,
    subject: &str,
    extension: Option<&str>,
) -> Vec<u8> {
    let key = format!("{name}.key");
    let mut make = vec!["genpkey", "-out", &key, "-algorithm"];
    let curve = format!("ec_paramgen_curve:{algorithm}");
    match algorithm {
        "P-256" | "P-384" | "P-521" => make.extend(["EC", "-pkeyopt", &curve]),
        "RSA" => make.extend(["RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
        other => make.push(other),
    }
    succeed(directory, "openssl", &make);
    request_for(directory, name, &key, subject, extension)
}

/// A request `NAME.csr` for an existing key.
pub fn request_for(
    directory: &Path,
    name: &str,
    key: &str,
    subject: &str,
    extension: Option<&str>,
) -> Vec<u8> {
    let (csr, der) = (format!("{name}.csr"), format!("{name}.csr.der"));
    let mut make = vec!["req", "-new", "-utf8", "-key", key, "-subj", subject, "-out", &csr];
    if let Some(extension) = extension {
        make.extend(["-addext", extension]);
    }
    succeed(directory, "openssl", &make);
    succeed(directory, "openssl", &["req", "-in", &csr, "-outform", "DER", "-out", &der]);
    std::fs::read(directory.join(der)).unwrap()
}

/// A request for a fresh key that never touches the disk; quick.
pub fn quick_request(serial_number: &str) -> Vec<u8> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    quick_request_for(&key, serial_number)
}

pub fn quick_request_for(key: &rcgen::KeyPair, serial_number: &str) -> Vec<u8> {
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(
        rcgen::DnType::CustomDnType(vec![2, 5, 4, 5]),
        rcgen::DnValue::PrintableString(serial_number.try_into().unwrap()),
    );
    parameters.serialize_request(key).unwrap().der().to_vec()
}

/// Where `pkilint` lives: installed from PyPI into a cache folder outside the
/// tree, once. `HUFU_PKILINT` names a folder with its programs instead.
pub fn pkilint() -> &'static Path {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| {
        if let Some(place) = std::env::var_os("HUFU_PKILINT") {
            return place.into();
        }
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).unwrap_or_else(|| {
            PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(".cache")
        });
        let place = cache.join("hufu").join("pkilint-0.13.3");
        let programs = place.join("bin");
        if !programs.join("lint_pkix_cert").exists() {
            std::fs::create_dir_all(&cache).unwrap();
            // Into a folder of our own first, since tests run side by side.
            let own = tempfile::tempdir_in(&cache).unwrap();
            succeed(
                &cache,
                "python3",
                &[OsStr::new("-m"), OsStr::new("venv"), own.path().as_os_str()],
            );
            let pip = own.path().join("bin").join("pip");
            succeed(&cache, &pip.to_string_lossy(), &["install", "-q", "pkilint==0.13.3"]);
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            let own = own.keep();
            if std::fs::rename(&own, &place).is_err() {
                let _ = std::fs::remove_dir_all(&own);
            }
        }
        programs
    })
}

/// Runs a linter of pkilint; returns the findings of severity ERROR and worse.
pub fn lint(directory: &Path, linter: &str, arguments: &[&str]) -> String {
    let programs = pkilint();
    // A venv that was moved keeps the old path in its scripts' first line.
    let python = programs.join("python3");
    let script = programs.join(linter);
    let mut all = vec![script.as_os_str()];
    all.extend(arguments.iter().map(OsStr::new));
    let output = run(directory, &python.to_string_lossy(), &all);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!errors.contains("Traceback"), "{errors}");
    assert!(output.status.success() == text.trim().is_empty(), "{text}{errors}");
    text
}
