//! The install's own certificate authority: a key that never leaves the vault, and leaves for hosts.
//!
//! ```text
//! sealed record ─▶ Authority ─▶ leaf per host (one key pair for all, LRU) ─▶ TLS towards the box
//!                       └─▶ ca.pem, bundle.pem, bundle.jks for the boxes; never for this machine
//! ```

mod jks;

use crate::VaultError;
use crate::environment::NODE;
use nanoclaw_policy::{Authority as Place, Host};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const CA_LIFE: Duration = Duration::from_secs(730 * 24 * 60 * 60);
/// A new authority takes over while the old one is still good; both are trusted for a month.
const CA_AGE_MAX: Duration = Duration::from_secs(548 * 24 * 60 * 60);
const OVERLAP: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const LEAF_LIFE: Duration = Duration::from_secs(48 * 60 * 60);
/// Clocks in boxes and outside differ.
const SKEW: Duration = Duration::from_secs(60 * 60);
const LEAVES_MAX: usize = 1024;

/// An authority as it is stored, sealed.
#[derive(Serialize, Deserialize, Clone)]
struct Kept {
    name: String,
    born: u64,
    key: Vec<u8>,
    cert: Vec<u8>,
    /// Certificates of those before it, which boxes still trust.
    #[serde(default)]
    before: Vec<(u64, Vec<u8>)>,
}

/// Signs certificates for hosts and keeps the last of them.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    cert: CertificateDer<'static>,
    before: Vec<CertificateDer<'static>>,
    born: u64,
    leaf_key: KeyPair,
    leaves: Mutex<Leaves>,
}

#[derive(Default)]
struct Leaves {
    known: HashMap<Host, Leaf>,
    used: u64,
}

struct Leaf {
    config: Arc<ServerConfig>,
    until: SystemTime,
    used: u64,
}

fn failed(e: impl std::fmt::Display) -> VaultError {
    VaultError::Refused(format!("the vault's certificate authority: {e}"))
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, DnValue::Utf8String(name.to_owned()));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

impl Kept {
    fn new(now: SystemTime, old: Option<&Self>) -> Result<Self, VaultError> {
        let born = seconds(now);
        let name = format!("NanoClaw vault {born}");
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = authority(&name);
        params.not_before = (now - SKEW).into();
        params.not_after = (now + CA_LIFE).into();
        let cert = params.self_signed(&key).map_err(failed)?.der().to_vec();
        let before = old.map_or_else(Vec::new, |old| vec![(born, old.cert.clone())]);
        Ok(Self { name, born, key: key.serialize_der(), cert, before })
    }

    fn old(&self, now: SystemTime) -> bool {
        seconds(now).saturating_sub(self.born) > CA_AGE_MAX.as_secs()
    }
}

impl Ca {
    /// The authority in this record, or a new one; a record comes back when it has to be stored.
    pub(crate) fn open(
        record: Option<&[u8]>,
        now: SystemTime,
    ) -> Result<(Self, Option<Vec<u8>>), VaultError> {
        let kept: Option<Kept> = match record {
            // serde's message could quote the key.
            Some(bytes) => Some(serde_json::from_slice(bytes).map_err(|_| failed("is damaged"))?),
            None => None,
        };
        match kept {
            Some(kept) if !kept.old(now) => Ok((Self::of(&kept, now)?, None)),
            old => {
                let kept = Kept::new(now, old.as_ref())?;
                let record = serde_json::to_vec(&kept).map_err(failed)?;
                Ok((Self::of(&kept, now)?, Some(record)))
            }
        }
    }

    fn of(kept: &Kept, now: SystemTime) -> Result<Self, VaultError> {
        let key = PrivatePkcs8KeyDer::from(kept.key.as_slice());
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &rcgen::PKCS_ECDSA_P256_SHA256);
        let recent = |since: u64| seconds(now).saturating_sub(since) < OVERLAP.as_secs();
        let before = kept.before.iter().filter(|(since, _)| recent(*since));
        Ok(Self {
            issuer: Issuer::new(authority(&kept.name), key.map_err(failed)?),
            cert: CertificateDer::from(kept.cert.clone()),
            before: before.map(|(_, der)| CertificateDer::from(der.clone())).collect(),
            born: kept.born,
            leaf_key: KeyPair::generate().map_err(failed)?,
            leaves: Mutex::default(),
        })
    }

    /// What the box's TLS is answered with for this place. Signing takes a fraction of a millisecond, so whoever
    /// asks second for one host waits for the first.
    pub(crate) fn config(
        &self,
        place: &Place,
        now: SystemTime,
    ) -> Result<Arc<ServerConfig>, VaultError> {
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        leaves.used += 1;
        let used = leaves.used;
        if let Some(leaf) = leaves.known.get_mut(&place.host)
            && leaf.until > now
        {
            leaf.used = used;
            return Ok(Arc::clone(&leaf.config));
        }
        let config = Arc::new(self.sign(&place.host, now)?);
        if leaves.known.len() >= LEAVES_MAX {
            // A quarter at once, so that a flood of names does not search the whole of it each time.
            let mut ages: Vec<u64> = leaves.known.values().map(|leaf| leaf.used).collect();
            let (_, oldest, _) = ages.select_nth_unstable(LEAVES_MAX / 4);
            let oldest = *oldest;
            leaves.known.retain(|_, leaf| leaf.used > oldest);
        }
        let leaf = Leaf { config: Arc::clone(&config), until: now + LEAF_LIFE - DAY, used };
        leaves.known.insert(place.host.clone(), leaf);
        Ok(config)
    }

    fn sign(&self, host: &Host, now: SystemTime) -> Result<ServerConfig, VaultError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names = vec![match host {
            Host::Ip(ip) => SanType::IpAddress(IpAddr::clone(ip)),
            Host::Name(name) => SanType::DnsName(name.as_str().try_into().map_err(failed)?),
        }];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = (now - SKEW).into();
        params.not_after = (now + LEAF_LIFE).into();
        let leaf = params.signed_by(&self.leaf_key, &self.issuer).map_err(failed)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.leaf_key.serialize_der()));
        let key = rustls::crypto::ring::sign::any_ecdsa_type(&key).map_err(failed)?;
        let certified = CertifiedKey::new(vec![leaf.der().clone()], key);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Nothing is kept per client: a thousand leaves stay small.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    fn ours(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        std::iter::once(&self.cert).chain(&self.before)
    }

    /// Writes what boxes trust, our authority alone and together with the roots of this machine, and what else they read.
    pub(crate) fn publish(
        &self,
        dir: &Path,
        roots: &[CertificateDer<'static>],
    ) -> Result<(), VaultError> {
        let all: Vec<&CertificateDer<'_>> = self.ours().chain(roots).collect();
        let write = |name: &str, bytes: &[u8]| {
            if std::fs::read(dir.join(name)).is_ok_and(|old| old == bytes) {
                return Ok(());
            }
            crate::socket::replace(dir, name, bytes, 0o644)
                .map_err(|e| VaultError::io(format!("writing {name} to {dir:?}"), e))
        };
        write(CA_PEM, pem(self.ours()).as_bytes())?;
        write(BUNDLE_PEM, pem(all.iter().copied()).as_bytes())?;
        write(BUNDLE_JKS, &jks::trust_store(&all, self.born))?;
        write(NODE.0, NODE.1)
    }
}

/// Our authority alone.
pub(crate) const CA_PEM: &str = "ca.pem";
/// It and the roots of this machine.
pub(crate) const BUNDLE_PEM: &str = "bundle.pem";
/// The same for Java.
pub(crate) const BUNDLE_JKS: &str = "bundle.jks";
pub(crate) const FILES: [&str; 4] = [CA_PEM, BUNDLE_PEM, BUNDLE_JKS, NODE.0];

fn pem<'a>(certs: impl Iterator<Item = &'a CertificateDer<'static>>) -> String {
    use base64::Engine as _;
    let mut text = String::new();
    for cert in certs {
        text += "-----BEGIN CERTIFICATE-----\n";
        let body = base64::engine::general_purpose::STANDARD.encode(cert);
        for line in body.as_bytes().chunks(64) {
            text += std::str::from_utf8(line).unwrap_or_default();
            text.push('\n');
        }
        text += "-----END CERTIFICATE-----\n";
    }
    text
}

#[cfg(test)]
mod tests;
