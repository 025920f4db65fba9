#!/bin/sh
# Makes the seeds with openssl, in the folder of this script.
set -e
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for curve in P-256 P-384; do
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:$curve -out "$work/$curve.key"
done
openssl genpkey -algorithm ED25519 -out "$work/ED25519.key"
for key in P-256 P-384 ED25519; do
    openssl req -new -utf8 -key "$work/$key.key" -subj "/C=CN/O=maker/CN=pump/serialNumber=SN-1" \
        -addext "subjectAltName=DNS:a.example.org,IP:10.0.0.1,URI:urn:hufu:member:maker" \
        -outform DER -out "csr/$key.der"
    openssl req -x509 -days 3650 -key "$work/$key.key" -subj "/O=maker/CN=pump" \
        -addext "subjectAltName=URI:urn:hufu:member:maker,URI:urn:hufu:role:operator" \
        -outform DER -out "certificate/$key.der"
done
openssl req -inform DER -in csr/P-256.der -out armour/request.pem
base64 csr/P-256.der > armour/lines.b64
base64 -w0 csr/ED25519.der > armour/one-line.b64
cp csr/P-256.der armour/request.der
openssl x509 -inform DER -in certificate/P-256.der -out armour/bundle.pem
openssl x509 -inform DER -in certificate/P-256.der -out "$work/ca.pem"
openssl ocsp -issuer "$work/ca.pem" -cert "$work/ca.pem" -reqout ocsp_request/nonce.der
openssl ocsp -issuer "$work/ca.pem" -cert "$work/ca.pem" -no_nonce -reqout ocsp_request/plain.der
openssl ocsp -issuer "$work/ca.pem" -sha256 -serial 1 -serial 2 -no_nonce -reqout ocsp_request/two.der
