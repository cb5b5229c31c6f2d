//! The keys and certificates of one cluster: made afresh at each start, never reused.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use crate::error::{Explain, Result};

/// A certificate with its private key, both as PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key (PKCS #8).
    pub key: String,
}

/// The certificate authority of one cluster.
pub struct Authority {
    identity: Identity,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a new authority.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new() -> Result<Self> {
        let explain = || "making the cluster's certificate authority".to_owned();
        let key = KeyPair::generate().explain(explain)?;
        let mut params = params("rota-cluster", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key).explain(explain)?;
        let identity = Identity { certificate: certificate.pem(), key: key.serialize_pem() };
        Ok(Self { identity, issuer: Issuer::new(params, key) })
    }

    /// The authority's own certificate and key.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// A client certificate for this user, who is a member of this group.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn client(&self, user: &str, group: Option<&str>) -> Result<Identity> {
        let mut params = params(user, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, user)
    }

    /// A server certificate for these addresses and names.
    ///
    /// # Errors
    /// When no key can be made, or a name is not a DNS name.
    pub fn server(&self, user: &str, addresses: &[IpAddr], names: &[&str]) -> Result<Identity> {
        let mut params = params(user, None);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for address in addresses {
            params.subject_alt_names.push(SanType::IpAddress(*address));
        }
        for name in names {
            let name = (*name).try_into().explain(|| format!("using {name} as a DNS name in a certificate"))?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        self.sign(params, user)
    }

    fn sign(&self, mut params: CertificateParams, user: &str) -> Result<Identity> {
        let explain = || format!("making the certificate of {user}");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        let key = KeyPair::generate().explain(explain)?;
        let certificate = params.signed_by(&key, &self.issuer).explain(explain)?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

/// A new private key for signing service-account tokens, and the public key to check them with, both as PEM.
///
/// # Errors
/// When no key can be made.
pub fn signing_keys() -> Result<(String, String)> {
    let key = KeyPair::generate().explain(|| "making the key for service-account tokens".to_owned())?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}

/// Writes a secret file which only its owner can read.
///
/// # Errors
/// When the file cannot be written.
pub fn write_secret(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .explain(|| format!("writing {}", path.display()))
}

/// The parts which all certificates have in common: valid from an hour ago (clocks differ) for a year.
fn params(user: &str, group: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, user);
    if let Some(group) = group {
        name.push(DnType::OrganizationName, group);
    }
    params.distinguished_name = name;
    params.not_before = OffsetDateTime::now_utc() - Duration::hours(1);
    params.not_after = params.not_before + Duration::days(365);
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_identity_has_a_key_of_its_own() {
        let authority = Authority::new().unwrap();
        let one = authority.client("one", Some("group")).unwrap();
        let two = authority.server("two", &[IpAddr::from([10, 96, 0, 1])], &["kubernetes.default"]).unwrap();
        assert_ne!(one.key, two.key);
        assert!(one.certificate.starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(one.key.starts_with("-----BEGIN PRIVATE KEY-----"));
    }

    #[test]
    fn a_name_which_is_no_dns_name_is_refused() {
        let authority = Authority::new().unwrap();
        assert!(authority.server("server", &[], &["n\u{e4}me"]).is_err());
    }
}
