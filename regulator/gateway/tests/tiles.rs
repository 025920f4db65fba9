//! The log in tiles, verified by clients that are not ours: Go's `sumdb/tlog`, and
//! `transparency-dev/formats` for the checkpoint.

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use axum::Extension;
use hufu_door::Peer;
use hufu_gateway::GatewayLimits;
use hufu_proof::note::{origin, verifier_key};
use hufu_proof::{Digest, Payload, Signer as _, merkle};
use support::*;

/// A log of more than one full tile: of level 0 one full and one that is not, of
/// level 1 one that is not.
fn logged(node: &Node) -> u64 {
    play(node);
    let approval = |number: u16| {
        let digest = Digest::of(&number.to_be_bytes());
        node.sign(seed("maker"), Payload::Approve(digest))
    };
    let block = node.make((0..290).map(approval).collect());
    node.execute(&block, block.header.height.get());
    for _ in 0..2 {
        let block = node.make(Vec::new());
        node.execute(&block, block.header.height.get());
    }
    node.block_at(node.height()).header.executed.log_size
}

#[tokio::test]
async fn tiles_are_those_of_the_log_and_anyones_but_entries() {
    let node = Node::new();
    let size = logged(&node);
    assert!(size > 290);
    let (router, _) = gateway(&node, "operator", GatewayLimits::default());
    let note = get(&router, "", "/v1/log/checkpoint").await;
    assert_eq!(
        (note.status, note.header("content-type")),
        (200, "text/plain; charset=utf-8"),
        "{}",
        String::from_utf8_lossy(&note.body)
    );
    let text = String::from_utf8(note.body).unwrap();
    assert!(text.starts_with(&format!("{}\n{size}\n", origin(&node.genesis))), "{text}");

    let rest = size - 256;
    let hashes = async |path: String| {
        let tile = get(&router, "", &format!("/v1/log/tile/{path}")).await;
        assert_eq!(tile.status, 200, "{path}");
        assert!(tile.header("cache-control").contains("immutable"), "{path}");
        let (hashes, rest) = tile.body.as_chunks::<32>();
        assert!(rest.is_empty());
        hashes.iter().map(|hash| Digest(*hash)).collect::<Vec<_>>()
    };
    let full = hashes("0/000".into()).await;
    let part = hashes(format!("0/001.p/{rest}")).await;
    let above = hashes("1/000.p/1".into()).await;
    assert_eq!((full.len() as u64, part.len() as u64), (256, rest));
    assert_eq!(above, [merkle::root(&full)]);
    let root = merkle::root(&[&full[..], &part].concat());
    assert_eq!(root, node.block_at(node.height()).header.executed.log_root);
    assert_eq!(hashes("0/000.p/7".into()).await, full[..7], "of a smaller log");

    // What is not in the log, and what is no tile.
    for (path, status) in [
        (format!("0/001.p/{}", rest + 1), 404),
        ("0/001".to_owned(), 404),
        ("0/002.p/1".to_owned(), 404),
        ("1/000".to_owned(), 404),
        ("2/000.p/1".to_owned(), 404),
        ("63/000.p/1".to_owned(), 404),
        ("0/x018/x446/x744/x073/x709/x551/615".to_owned(), 404),
        ("entries/001".to_owned(), 404),
        ("64/000".to_owned(), 400),
        ("00/000".to_owned(), 400),
        ("0/0".to_owned(), 400),
        ("0/000.p/256".to_owned(), 400),
        ("entries/000.p/0".to_owned(), 400),
        ("0/000/..".to_owned(), 400),
    ] {
        let reply = get(&router, "maker", &format!("/v1/log/tile/{path}")).await;
        assert_eq!(reply.status, status, "{path}");
        reply.code();
    }
    let entries = get(&router, "", "/v1/log/tile/entries/000").await;
    assert_eq!((entries.status, entries.code().as_str()), (401, "anonymous"));
    let entries = get(&router, "maker", "/v1/log/tile/entries/000.p/1").await;
    let (length, entry) = entries.body.split_at(2);
    assert_eq!(u16::from_be_bytes([length[0], length[1]]) as usize, entry.len());
    assert_eq!(merkle::leaf_hash(entry), full[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn others_verify_the_checkpoint_and_every_entry() {
    if Command::new("go").arg("version").output().is_err() {
        println!("skipped: there is no Go, with whose client the log is read");
        return;
    }
    let node = Node::new();
    let size = logged(&node);
    let (router, _) = gateway(&node, "operator", GatewayLimits::default());
    let router = router.layer(Extension(Peer::Known(Arc::new(caller("maker")))));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let prefix = format!("http://{}/v1/log/", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await });

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tiles");
    let origin = origin(&node.genesis);
    let client = tempfile::tempdir().unwrap();
    let program = client.path().join("tiles");
    let mut build = Command::new("go");
    build.args(["build", "-mod=readonly", "-o"]).arg(&program).arg(".").current_dir(&folder);
    let built = build.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let read = |origin: &str, member: &str, signer: &str| {
        let key = SeedSigner::new(seed(signer)).public_key();
        let key = verifier_key(origin, &name(member), &key).unwrap();
        let read = Command::new(&program).args([&prefix, origin, &key]).output().unwrap();
        (read.status.success(), String::from_utf8(read.stdout).unwrap())
    };
    assert_eq!(read(&origin, "operator", "operator"), (true, format!("{size} entries\n")));
    // Another member's key, another's name, another log.
    for (origin, member, signer) in [
        (origin.as_str(), "operator", "maker"),
        (origin.as_str(), "maker", "operator"),
        ("another/log", "operator", "operator"),
    ] {
        let (holds, said) = read(origin, member, signer);
        assert!(!holds && said.starts_with("does not hold"), "{said}");
    }
}
