//! Certificate, key and authority as files: read, checked against each other, and made into what sessions are begun
//! with. Says what is wrong by the part it is wrong with; who calls knows what the setting is called.
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use super::certificate::validity_ms;
use crate::runtime::preflight::{Finding, Verdict};
use crate::stdx::clock::rfc3339_ms;

/// The only protocol that is spoken within (RFC 7301).
const ALPN: &[u8] = b"http/1.1";

/// Tickets that a client gets with one TLS 1.3 handshake, each good for one more.
const TICKETS: usize = 2;

/// A certificate that ends within so long is warned of.
const SOON_MS: u64 = 14 * 86_400_000;

/// No certificate file is longer; what is named by mistake must not fill the memory.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Where things are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// The chain, the server's own certificate first, as PEM.
    pub cert: PathBuf,
    /// Its key, as PEM.
    pub key: PathBuf,
    /// The authority that signs client certificates; empty: none are asked for.
    pub client_ca: PathBuf,
}

/// One of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// [`Files::cert`].
    Cert,
    /// [`Files::key`].
    Key,
    /// [`Files::client_ca`].
    ClientCa,
}

/// What is wrong with one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Which.
    pub part: Part,
    /// One sentence.
    pub text: String,
}

/// What came of the files.
pub(super) struct Loaded {
    pub key: Arc<CertifiedKey>,
    pub verifier: Arc<dyn ClientCertVerifier>,
    /// The authority's certificates, to tell whether it has changed.
    pub authority: Vec<CertificateDer<'static>>,
}

impl Loaded {
    /// What sessions are begun with.
    pub fn config(&self, ticketer: Arc<dyn ProducesTickets>) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .expect("ring has suites of both versions")
            .with_client_cert_verifier(Arc::clone(&self.verifier));
        let mut config =
            builder.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(Arc::clone(&self.key))));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A ticket carries its session, so that none is kept here however many clients there are.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = ticketer;
        config.send_tls13_tickets = TICKETS;
        config
    }

    /// From when and until when the server's own certificate is valid.
    pub fn validity_ms(&self) -> Option<(u64, u64)> {
        validity_ms(self.key.cert.first()?)
    }
}

/// Reads and checks all files.
pub(super) fn load(files: &Files) -> Result<Loaded, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let mut note = |mistake: Mistake| mistakes.push(mistake);
    let chain = certificates(Part::Cert, &files.cert).map_err(&mut note).ok();
    let key = private_key(&files.key).map_err(&mut note).ok();
    let authority = match files.client_ca.as_os_str().is_empty() {
        true => Some((Vec::new(), WebPkiClientVerifier::no_client_auth())),
        false => authority(&files.client_ca).map_err(&mut note).ok(),
    };
    let pair = chain.zip(key).and_then(|(chain, key)| matching(chain, key).map_err(&mut note).ok());
    match (pair, authority) {
        (Some(key), Some((authority, verifier))) => Ok(Loaded { key: Arc::new(key), verifier, authority }),
        _ => Err(mistakes),
    }
}

/// What is wrong with the files; none: they can be served.
#[must_use]
pub fn mistakes(files: &Files) -> Vec<Mistake> {
    load(files).err().unwrap_or_default()
}

/// For `courier doctor`: the certificate and its key.
#[must_use]
pub fn look(files: &Files, now_ms: u64) -> Vec<Finding> {
    let finding = |verdict, text| Finding { subject: "certificate", verdict, text };
    match load(files) {
        Err(mistakes) => mistakes.into_iter().map(|mistake| finding(Verdict::Hard, mistake.text)).collect(),
        Ok(loaded) => {
            let concern = concern(&loaded, now_ms);
            let verdict = if concern.is_some() { Verdict::Short } else { Verdict::Fine };
            let until =
                loaded.validity_ms().map_or_else(|| "an unknown time".to_owned(), |(_, end)| date(end));
            let fine = format!("{} fits its key and is valid until {until}", files.cert.display());
            vec![finding(verdict, concern.unwrap_or(fine))]
        }
    }
}

/// What is served all the same, but clients will not like, or not for long.
pub(super) fn concern(loaded: &Loaded, now_ms: u64) -> Option<String> {
    let (from, until) = loaded.validity_ms()?;
    if until <= now_ms {
        return Some(format!("the certificate has expired at {}: clients refuse it", date(until)));
    }
    if from > now_ms {
        return Some(format!("the certificate is not valid before {}: clients refuse it", date(from)));
    }
    let soon = until - now_ms < SOON_MS;
    soon.then(|| format!("the certificate expires at {}", date(until)))
}

fn date(unix_ms: u64) -> String {
    let mut text = [0; 24];
    rfc3339_ms(unix_ms, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn authority(path: &Path) -> Result<(Vec<CertificateDer<'static>>, Arc<dyn ClientCertVerifier>), Mistake> {
    let wrong = |text: String| Mistake { part: Part::ClientCa, text };
    let certificates = certificates(Part::ClientCa, path)?;
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        let added = roots.add(certificate.clone());
        added.map_err(|error| wrong(format!("{} is no authority: {error}", path.display())))?;
    }
    // Subscribers need none; a certificate that is shown must be good.
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
    let verifier = builder.allow_unauthenticated().build();
    let verifier = verifier.map_err(|error| wrong(format!("{} is no authority: {error}", path.display())))?;
    Ok((certificates, verifier))
}

fn matching(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, Mistake> {
    use rustls::Error::InconsistentKeys;
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| match error {
        InconsistentKeys(_) => {
            Mistake { part: Part::Key, text: "is not the key of the certificate".to_owned() }
        }
        rustls::Error::InvalidCertificate(error) => {
            Mistake { part: Part::Cert, text: format!("cannot be served: {error:?}") }
        }
        error => Mistake { part: Part::Key, text: format!("cannot be used: {error}") },
    })
}

fn certificates(part: Part, path: &Path) -> Result<Vec<CertificateDer<'static>>, Mistake> {
    let text = read(part, path)?;
    let wrong = |text: String| Mistake { part, text };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| wrong(format!("{} is no PEM file: {error}", path.display())))?;
    if found.is_empty() {
        return Err(wrong(format!("{} holds no certificate (PEM, BEGIN CERTIFICATE)", path.display())));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Mistake> {
    let text = read(Part::Key, path)?;
    let wrong = |text: String| Mistake { part: Part::Key, text };
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        PemError::NoItemsFound => {
            wrong(format!("{} holds no private key that is not encrypted (PEM)", path.display()))
        }
        error => wrong(format!("{} is no PEM file: {error}", path.display())),
    })
}

fn read(part: Part, path: &Path) -> Result<Vec<u8>, Mistake> {
    let wrong = |text: String| Mistake { part, text };
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|error| match error.kind() {
        ErrorKind::NotFound => wrong(format!("there is no file {}", path.display())),
        ErrorKind::PermissionDenied => wrong(format!("{} may not be read by this user", path.display())),
        _ => wrong(format!("{} cannot be read: {error}", path.display())),
    })?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(format!("{} is too large for a certificate", path.display())));
    }
    Ok(bytes)
}
