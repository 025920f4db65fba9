//! COSE receipts (RFC 9942), verified by a library that is not ours: `scitt-cose`.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use hufu_gateway::GatewayLimits;
use hufu_proof::note::{origin, verifier_key};
use hufu_proof::{Signer as _, codec};
use support::*;

const LIBRARY: &str = "scitt-cose==0.5.0";

/// Verifies a receipt of an entry by a key as checkpoints name it; prints what the
/// library found.
const VERIFY: &str = "
import base64, json, sys
from scitt_cose.receipt import verify_receipt
receipt, entry, key = sys.argv[1:]
info = base64.b64encode(base64.b64decode(key.split('+', 2)[2])[1:]).decode()
pem = '-----BEGIN PUBLIC KEY-----\\n' + info + '\\n-----END PUBLIC KEY-----\\n'
found = verify_receipt(bytes.fromhex(receipt), leaf_entry_hex=entry, log_public_key_pem=pem)
print(json.dumps({'ok': found.ok, 'size': found.tree_size, 'index': found.leaf_index,
    'root': found.root, 'iss': found.issuer, 'sub': found.subject,
    'kid': found.protected_header_ext.get(4, b'').hex(), 'failed_at': found.failed_at}))
";

/// A Python that has the library, in the cache beside the tree; `None` where there is
/// no Python or no registry to have it from.
fn python() -> Option<PathBuf> {
    let home = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))?;
    let place = home.join("hufu").join(LIBRARY.replace("==", "-"));
    let python = place.join("bin/python3");
    let has = |python: &Path| {
        let found = Command::new(python).args(["-c", "import scitt_cose"]).output();
        found.is_ok_and(|found| found.status.success())
    };
    if !has(&python) {
        let run = |command: &mut Command| command.status().is_ok_and(|status| status.success());
        let made = run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place))
            && run(Command::new(&python).args(["-m", "pip", "install", "-q", LIBRARY]));
        if !made {
            return None;
        }
    }
    Some(python)
}

#[tokio::test]
async fn others_verify_a_receipt_and_notice_any_change() {
    let Some(python) = python() else {
        println!("skipped: there is no Python with {LIBRARY}, which verifies the receipt");
        return;
    };
    let node = Node::new();
    play(&node);
    let (router, _) = gateway(&node, "operator", GatewayLimits::default());
    // The operator's own: it watches a device.
    let transaction = node.block_at(6).transactions[0].clone();
    let uri = format!("/v1/receipts/{}", transaction.id());
    let own = node.receipt_of(&transaction.id());
    let accept = [("accept", "application/cose")];
    let reply = send(&router, "operator", "GET", &uri, &accept, "").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "application/cose"));
    // Whoever may not see the transaction gets no receipt in this form either.
    assert_eq!(send(&router, "stranger", "GET", &uri, &accept, "").await.status, 403);

    let key = |member: &str| {
        let key = SeedSigner::new(seed(member)).public_key();
        verifier_key(&origin(&node.genesis), &name(member), &key).unwrap()
    };
    let verify = |receipt: &[u8], entry: &[u8], key: &str| -> serde_json::Value {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let mut command = Command::new(&python);
        let output =
            command.args(["-c", VERIFY, &hex(receipt), &hex(entry), key]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let entry = codec::encode(&own.entry);
    let found = verify(&reply.body, &entry, &key("operator"));
    let executed = &own.header.executed;
    let kid = SeedSigner::new(seed("operator")).public_key().identity().to_string();
    let expected = serde_json::json!({
        "ok": true, "size": executed.log_size, "index": own.log_index.get(),
        "root": executed.log_root.to_string(), "kid": kid, "failed_at": null,
        "iss": format!("{}/operator", origin(&node.genesis)), "sub": transaction.id().to_string(),
    });
    assert_eq!(found, expected);

    // Another member's key, another entry, a changed byte of path, claim, signature.
    let mut other = own.entry;
    other.index += 1;
    let mut lies = vec![
        (reply.body.clone(), entry.clone(), key("maker")),
        (reply.body.clone(), codec::encode(&other), key("operator")),
    ];
    for place in [8, 60, 200, 300, reply.body.len() - 1] {
        let mut changed = reply.body.clone();
        changed[place] ^= 1;
        lies.push((changed, entry.clone(), key("operator")));
    }
    for (receipt, entry, key) in lies {
        assert_eq!(verify(&receipt, &entry, &key)["ok"], false);
    }
}
