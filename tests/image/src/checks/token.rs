//! The three keys in a PKCS#11 token, as a factory has them. The token is
//! SoftHSM2's, in a process of its own that p11-kit puts before it, so that what
//! signs sees a socket and no key.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::build::{self, Options};
use crate::checks::bench::Bench;
use crate::keys::{Given, Key};
use crate::tree;

/// Below `/run`, as `--share` asks for.
const PLACE: &str = "/run/hufu-image-token";

const TOKEN: &str = "/usr/lib/softhsm/libsofthsm2.so";
const CLIENT: &str = "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so";

/// Makes a token with the keys.
const MAKE: &str = r#"
cd "$1"
mkdir tokens
printf 'directories.tokendir = %s/tokens\nobjectstore.backend = file\n' "$1" >softhsm2.conf
softhsm2-util --init-token --free --label factory --so-pin 12345678 --pin 1234
module=$2
make() {
    pkcs11-tool --module "$module" --token-label factory --login --pin 1234 \
        --keypairgen --key-type "$1" --label "$2" --id "$3"
}
make EC:prime256v1 release 01
make rsa:2048 secure-boot 02
make rsa:2048 pcr 03
"#;

/// Takes certificates and public key out of it.
const PUBLISH: &str = r#"
cd "$1"
for name in secure-boot pcr; do
    openssl req -x509 -new -days 3650 -subj "/CN=Hufu $name key in a token" -out "$name.crt" \
        -provider pkcs11 -provider default \
        -key "pkcs11:token=factory;object=$name;type=private;pin-value=1234"
done
openssl pkey -pubin -pubout -in "pkcs11:token=factory;object=release;type=public" \
    -provider pkcs11 -provider default -out release.pub
"#;

/// An image is made and signed without a key in a file.
pub fn signs(bench: &Bench) -> anyhow::Result<()> {
    let place = Path::new(PLACE);
    tree::remove(place)?;
    fs::create_dir_all(place).with_context(|| format!("cannot make {PLACE}"))?;
    let configuration = format!("SOFTHSM2_CONF={PLACE}/softhsm2.conf");
    let mut make = bench.tree.command(&[place], "env");
    make.arg(&configuration);
    make.args(["sh", "-euc", MAKE, "make", PLACE, TOKEN]);
    tree::output(&mut make).context("the token")?;

    let socket = place.join("socket");
    let mut serve = bench.tree.command(&[place], "env");
    serve.arg(&configuration);
    serve.args(["p11-kit", "server", "--foreground", "--provider", TOKEN, "--name"]);
    serve.arg(&socket).arg("pkcs11:token=factory");
    serve.stdout(Stdio::null()).stderr(Stdio::null());
    let _server = Server(serve.spawn().context("p11-kit did not start")?);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !socket.exists() {
        if Instant::now() > deadline {
            bail!("p11-kit made no {}", socket.display());
        }
        thread::sleep(Duration::from_millis(50));
    }

    let environment = vec![
        format!("P11_KIT_SERVER_ADDRESS=unix:path={}", socket.display()),
        format!("PKCS11_PROVIDER_MODULE={CLIENT}"),
    ];
    let mut publish = bench.tree.command(&[place], "env");
    publish.args(&environment).args(["sh", "-euc", PUBLISH, "publish", PLACE]);
    tree::output(&mut publish).context("certificates of the token's keys")?;

    let key = |name: &str| {
        Some(Key::Token(format!("pkcs11:token=factory;object={name};type=private;pin-value=1234")))
    };
    let public = |name: &str| Some(place.join(name));
    let image = build::image(&Options {
        version: Some("97".to_owned()),
        given: Given {
            secure_boot_key: key("secure-boot"),
            secure_boot_certificate: public("secure-boot.crt"),
            pcr_key: key("pcr"),
            pcr_certificate: public("pcr.crt"),
            release_key: key("release"),
            release_public: public("release.pub"),
            environment,
            shared: vec![place.to_owned()],
        },
        ..bench.options.clone()
    })?;
    // The release's signature was verified as it was made.
    let from = image.uki.parent().context("the image is in no directory")?;
    let mut verify = bench.tree.command(&[place, from], "sbverify");
    verify.arg("--cert").arg(place.join("secure-boot.crt")).arg(&image.uki);
    let said = tree::output(&mut verify).context("the kernel image's signature")?;
    println!("sbverify: {}", String::from_utf8_lossy(&said).trim());
    tree::remove(place)
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // One that ended before is ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
