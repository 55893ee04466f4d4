//! Keys and sealing: XChaCha20-Poly1305 under a key of its own for every record.
//!
//! The place of a record is authenticated with it: install, table, id, field, epoch of the DEK and version.
//! So a sealed text opens at its place and its time alone.

use crate::{Result, SecretsError};
use chacha20poly1305::aead::rand_core::RngCore as _;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, OsRng, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

const NONCE: usize = 24;

/// Bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    OsRng.fill_bytes(&mut bytes);
    bytes
}

/// 32 secret bytes.
#[derive(Clone)]
pub(crate) struct Key(Zeroizing<[u8; 32]>);

impl Key {
    pub(crate) fn random() -> Self {
        Self(Zeroizing::new(random()))
    }

    /// From bytes that somebody keeps; anything long enough will do.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::extract(bytes, b"", &[b"nanoclaw vault key"])
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn exact(bytes: &[u8]) -> Option<Self> {
        Some(Self(Zeroizing::new(bytes.try_into().ok()?)))
    }

    fn extract(ikm: &[u8], salt: &[u8], info: &[&[u8]]) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        let made = Hkdf::<Sha256>::new(Some(salt), ikm).expand_multi_info(info, key.as_mut());
        debug_assert!(made.is_ok(), "32 bytes are within what HKDF gives");
        Self(key)
    }

    /// The key of one record.
    pub(crate) fn of_place(&self, place: &Place<'_>) -> Self {
        let epoch = place.epoch.to_string();
        let info = [b"vault/v1/", place.table.as_bytes(), b"/", place.field.as_bytes(), b"/"];
        let info = [&info[..], &[epoch.as_bytes()]].concat();
        Self::extract(self.bytes(), place.id.as_bytes(), &info)
    }

    /// A code that only who has the key can make.
    pub(crate) fn code(&self, parts: &[&str], counter: u32) -> [u8; 32] {
        let Ok(mut mac) = <Hmac<Sha256> as hmac::Mac>::new_from_slice(self.bytes()) else {
            unreachable!("HMAC takes keys of any length")
        };
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.update(&counter.to_be_bytes());
        mac.finalize().into_bytes().into()
    }

    pub(crate) fn seal(&self, place: &Place<'_>, plain: &[u8]) -> Result<Vec<u8>> {
        let nonce: [u8; NONCE] = random();
        let cipher = XChaCha20Poly1305::new(self.bytes().into());
        let aad = place.aad();
        let sealed = cipher.encrypt(XNonce::from_slice(&nonce), Payload { msg: plain, aad: &aad });
        let sealed = sealed.map_err(|_| SecretsError::Refused("too long to be sealed".into()))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// The plain text; `None` if it was not sealed with this key at this place.
    pub(crate) fn open(&self, place: &Place<'_>, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, msg) = sealed.split_at_checked(NONCE)?;
        let cipher = XChaCha20Poly1305::new(self.bytes().into());
        let aad = place.aad();
        let opened = cipher.decrypt(XNonce::from_slice(nonce), Payload { msg, aad: &aad });
        opened.ok().map(Zeroizing::new)
    }
}

/// Where a sealed text belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) install: &'a str,
    pub(crate) table: &'a str,
    pub(crate) id: &'a str,
    pub(crate) field: &'a str,
    pub(crate) epoch: i64,
    pub(crate) version: i64,
}

impl Place<'_> {
    fn aad(&self) -> Vec<u8> {
        let mut aad = b"nanoclaw-vault/1".to_vec();
        for part in [self.install, self.table, self.id, self.field] {
            aad.extend((part.len() as u64).to_be_bytes());
            aad.extend(part.as_bytes());
        }
        aad.extend(self.epoch.to_be_bytes());
        aad.extend(self.version.to_be_bytes());
        aad
    }
}
