//! Whom to trust over TLS: the system's authorities, and those of a file. The provider is ring, named for
//! each connection, so that nothing depends on who came first.

use std::sync::{Arc, OnceLock};

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// The certificates of a text in PEM.
///
/// # Errors
/// That it is none, or has none.
pub fn certificates(pem: &[u8]) -> Result<Vec<Certificate<'static>>, String> {
    let mut found = Vec::new();
    for item in parse_pem(pem) {
        match item {
            Ok(PemItem::Certificate(one)) => found.push(one),
            Ok(_) => {}
            Err(error) => return Err(format!("is no PEM: {error}")),
        }
    }
    if found.is_empty() { Err("has no certificate".into()) } else { Ok(found) }
}

/// The system's authorities, read once.
pub fn system() -> &'static [Certificate<'static>] {
    static SYSTEM: OnceLock<Vec<Certificate<'static>>> = OnceLock::new();
    SYSTEM.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs().certs;
        found.iter().map(|one| Certificate::from_der(one).to_owned()).collect()
    })
}

/// What a client goes by that trusts these and nobody else.
pub fn trusting(these: impl IntoIterator<Item = Certificate<'static>>) -> TlsConfig {
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let roots = RootCerts::Specific(Arc::new(these.into_iter().collect()));
    TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(ring).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_a_certificate_is_told() {
        assert_eq!(certificates(b"nothing").unwrap_err(), "has no certificate");
        let broken = b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        assert!(certificates(broken).unwrap_err().starts_with("is no PEM"));
    }
}
