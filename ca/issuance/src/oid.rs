//! Object identifiers used here, by the names their standards give them.

use der::oid::ObjectIdentifier;

macro_rules! oids {
    ($($(#[$meta:meta])* $name:ident = $value:literal;)*) => {
        $($(#[$meta])* pub(crate) const $name: ObjectIdentifier = ObjectIdentifier::new_unwrap($value);)*
    };
}

oids! {
    // Subject attributes (RFC 5280 appendix A.1).
    COMMON_NAME = "2.5.4.3";
    SERIAL_NUMBER = "2.5.4.5";
    COUNTRY = "2.5.4.6";
    LOCALITY = "2.5.4.7";
    STATE = "2.5.4.8";
    ORGANIZATION = "2.5.4.10";
    ORGANIZATIONAL_UNIT = "2.5.4.11";

    // Keys and signatures (RFC 5480, RFC 5758, RFC 8410, RFC 3279).
    EC_PUBLIC_KEY = "1.2.840.10045.2.1";
    P256 = "1.2.840.10045.3.1.7";
    P384 = "1.3.132.0.34";
    ECDSA_SHA256 = "1.2.840.10045.4.3.2";
    ECDSA_SHA384 = "1.2.840.10045.4.3.3";
    ED25519 = "1.3.101.112";
    RSA = "1.2.840.113549.1.1.1";
    SHA1 = "1.3.14.3.2.26";
    SHA256 = "2.16.840.1.101.3.4.2.1";

    // Certificate extensions (RFC 5280 section 4.2).
    SUBJECT_KEY_IDENTIFIER = "2.5.29.14";
    KEY_USAGE = "2.5.29.15";
    SUBJECT_ALT_NAME = "2.5.29.17";
    BASIC_CONSTRAINTS = "2.5.29.19";
    CRL_NUMBER = "2.5.29.20";
    REASON_CODE = "2.5.29.21";
    NAME_CONSTRAINTS = "2.5.29.30";
    CRL_DISTRIBUTION_POINTS = "2.5.29.31";
    CERTIFICATE_POLICIES = "2.5.29.32";
    AUTHORITY_KEY_IDENTIFIER = "2.5.29.35";
    EXTENDED_KEY_USAGE = "2.5.29.37";
    AUTHORITY_INFO_ACCESS = "1.3.6.1.5.5.7.1.1";

    // Key purposes (RFC 5280 section 4.2.1.12).
    SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
    CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";

    // Access methods (RFC 5280 section 4.2.2.1).
    AD_OCSP = "1.3.6.1.5.5.7.48.1";
    AD_CA_ISSUERS = "1.3.6.1.5.5.7.48.2";

    // OCSP (RFC 6960 section 4.4).
    OCSP_BASIC = "1.3.6.1.5.5.7.48.1.1";
    OCSP_NONCE = "1.3.6.1.5.5.7.48.1.2";

    // PKCS#9 and PKCS#7 (RFC 2985, RFC 5652).
    EXTENSION_REQUEST = "1.2.840.113549.1.9.14";
    CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7";
    PKCS7_DATA = "1.2.840.113549.1.7.1";
    PKCS7_SIGNED_DATA = "1.2.840.113549.1.7.2";

    /// HardwareModuleName (RFC 4108 section 5).
    HARDWARE_MODULE_NAME = "1.3.6.1.5.5.7.8.4";
}

/// A short name for messages; the dotted form where there is none.
pub(crate) fn name_of(oid: &ObjectIdentifier) -> String {
    let known = [
        (COMMON_NAME, "CN"),
        (SERIAL_NUMBER, "serialNumber"),
        (COUNTRY, "C"),
        (LOCALITY, "L"),
        (STATE, "ST"),
        (ORGANIZATION, "O"),
        (ORGANIZATIONAL_UNIT, "OU"),
        (SUBJECT_KEY_IDENTIFIER, "subjectKeyIdentifier"),
        (KEY_USAGE, "keyUsage"),
        (SUBJECT_ALT_NAME, "subjectAltName"),
        (BASIC_CONSTRAINTS, "basicConstraints"),
        (NAME_CONSTRAINTS, "nameConstraints"),
        (CRL_DISTRIBUTION_POINTS, "cRLDistributionPoints"),
        (CERTIFICATE_POLICIES, "certificatePolicies"),
        (AUTHORITY_KEY_IDENTIFIER, "authorityKeyIdentifier"),
        (EXTENDED_KEY_USAGE, "extKeyUsage"),
        (AUTHORITY_INFO_ACCESS, "authorityInfoAccess"),
        (RSA, "RSA"),
        (EC_PUBLIC_KEY, "EC"),
        (ED25519, "Ed25519"),
        (CHALLENGE_PASSWORD, "challengePassword"),
    ];
    known
        .iter()
        .find(|(candidate, _)| candidate == oid)
        .map_or_else(|| oid.to_string(), |(_, name)| (*name).to_owned())
}
