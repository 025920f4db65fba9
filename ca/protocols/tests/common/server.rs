//! A TLS server as the appliance's: the key in the token, client certificates
//! asked for but not required, what was presented put into the request.

#![allow(dead_code)]

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use hufu_protocols::PeerCertificate;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::common::World;

/// Serves `router` over TLS on a free port until the runtime ends.
pub async fn tls(world: &World, router: Router) -> SocketAddr {
    let (key, certificate) = world.server_key().await;
    let mut roots = RootCertStore::empty();
    roots.add(world.root.der().to_vec().into()).unwrap();
    // EST answers with a certificate and nothing above it, so devices present
    // just that: the issuing authority must be an anchor itself.
    roots.add(world.issuer.certificate().der().to_vec().into()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .unwrap();
    let chain =
        vec![certificate.der().to_vec().into(), world.issuer.certificate().der().to_vec().into()];
    let certified = hufu_keys::certified_key(&key, chain).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(
            Arc::try_unwrap(certified).unwrap_or_else(|shared| (*shared).clone()),
        )));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, router) = (acceptor.clone(), router.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let peer = stream
                    .get_ref()
                    .1
                    .peer_certificates()
                    .and_then(<[_]>::first)
                    .map(|certificate| PeerCertificate(certificate.to_vec()));
                let service = router.map_request(move |mut request: http::Request<_>| {
                    if let Some(peer) = peer.clone() {
                        request.extensions_mut().insert(peer);
                    }
                    request
                });
                let service = TowerToHyperService::new(service);
                let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

/// Serves `router` over plain HTTP.
pub async fn plain(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    plain_on(listener, router);
    address
}

/// Serves `router` over plain HTTP where somebody listens already.
pub fn plain_on(listener: TcpListener, router: Router) {
    tokio::spawn(async move { axum::serve(listener, router).await });
}
