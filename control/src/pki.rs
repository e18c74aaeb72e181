//! The cluster's certificates: two authorities, and everyone who has a certificate of one of them.
//!
//! The API's authority speaks for users, components and nodes; the store's for members and etcd clients.
//! They are apart so that a node's certificate opens no door to the store. Keys are readable by root only.
//! Beside them lies the key that signs the tokens of service accounts: who has the authority's key has this one.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};

/// Signs the tokens of service accounts. All servers of a cluster have the same.
pub(crate) const SERVICE_ACCOUNT_KEY: &str = "service-accounts.key";

const AUTHORITY_YEARS: i16 = 10;
const LEAF_YEARS: i16 = 1;

/// Which of the two authorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Authority {
    Api,
    Store,
}

impl Authority {
    fn file_stem(self) -> &'static str {
        match self {
            Self::Api => "api-ca",
            Self::Store => "store-ca",
        }
    }

    fn common_name(self) -> &'static str {
        match self {
            Self::Api => "navarch-api-ca",
            Self::Store => "navarch-store-ca",
        }
    }
}

/// Who a certificate speaks for.
pub(crate) struct Subject<'a> {
    pub(crate) authority: Authority,
    /// The file's name without its ending.
    pub(crate) file: &'a str,
    /// Common name: the Kubernetes user.
    pub(crate) name: &'a str,
    /// Organization: the Kubernetes group.
    pub(crate) group: Option<&'a str>,
    /// DNS names and IP addresses that it serves under; none for a mere client.
    pub(crate) serves: &'a [String],
}

/// A certificate and its key, as paths of PEM files.
#[derive(Clone, Debug)]
pub(crate) struct CertificateFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// A folder of certificates.
#[derive(Clone, Debug)]
pub(crate) struct Pki {
    folder: PathBuf,
}

impl Pki {
    /// Opens the folder, making it, both authorities and the key of service accounts where they are missing.
    pub(crate) fn open(folder: &Path, now: Timestamp) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let pki = Self { folder: folder.to_owned() };
        for authority in [Authority::Api, Authority::Store] {
            if !pki.authority_files(authority).key.exists() {
                pki.make_authority(authority, now)?;
            }
        }
        let tokens = folder.join(SERVICE_ACCOUNT_KEY);
        if !tokens.exists() {
            let key = KeyPair::generate().context("cannot generate a key")?;
            write_private(&tokens, &key.serialize_pem())?;
        }
        Ok(pki)
    }

    pub(crate) fn authority_certificate(&self, authority: Authority) -> PathBuf {
        self.authority_files(authority).certificate
    }

    /// The subject's certificate, made on first use.
    pub(crate) fn issue(&self, subject: &Subject<'_>, now: Timestamp) -> Result<CertificateFiles> {
        let files = self.files(subject.file);
        if files.certificate.exists() && files.key.exists() {
            return Ok(files);
        }
        let key = KeyPair::generate().context("cannot generate a key")?;
        let certificate = leaf_params(subject, now)?
            .signed_by(&key, &self.issuer(subject.authority)?)
            .with_context(|| format!("cannot sign the certificate of {}", subject.name))?;
        write_private(&files.key, &key.serialize_pem())?;
        write_private(&files.certificate, &certificate.pem())?;
        Ok(files)
    }

    fn issuer(&self, authority: Authority) -> Result<Issuer<'static, KeyPair>> {
        let files = self.authority_files(authority);
        let key = KeyPair::from_pem(&read(&files.key)?).context("the authority's key is damaged")?;
        Issuer::from_ca_cert_pem(&read(&files.certificate)?, key)
            .context("the authority's certificate is damaged")
    }

    fn make_authority(&self, authority: Authority, now: Timestamp) -> Result<()> {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(authority.common_name(), None);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        set_validity(&mut params, now, AUTHORITY_YEARS);
        let key = KeyPair::generate().context("cannot generate a key")?;
        let certificate = params.self_signed(&key).context("cannot sign the authority's certificate")?;
        let files = self.authority_files(authority);
        write_private(&files.key, &key.serialize_pem())?;
        write_private(&files.certificate, &certificate.pem())
    }

    fn authority_files(&self, authority: Authority) -> CertificateFiles {
        self.files(authority.file_stem())
    }

    fn files(&self, stem: &str) -> CertificateFiles {
        CertificateFiles {
            certificate: self.folder.join(format!("{stem}.crt")),
            key: self.folder.join(format!("{stem}.key")),
        }
    }
}

fn leaf_params(subject: &Subject<'_>, now: Timestamp) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(subject.name, subject.group);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if !subject.serves.is_empty() {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    for name in subject.serves {
        params.subject_alt_names.push(match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => {
                SanType::DnsName(name.as_str().try_into().with_context(|| format!("{name} is no DNS name"))?)
            }
        });
    }
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, now, LEAF_YEARS);
    Ok(params)
}

fn distinguished_name(name: &str, group: Option<&str>) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    if let Some(group) = group {
        distinguished.push(DnType::OrganizationName, group);
    }
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// From yesterday, so that a clock that is a little behind still accepts the certificate.
fn set_validity(params: &mut CertificateParams, now: Timestamp, years: i16) {
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let yesterday = today.yesterday().unwrap_or(today);
    let date = |date: jiff::civil::Date| {
        rcgen::date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    params.not_before = date(yesterday);
    // The first of a month exists in every year, a 29th of February does not.
    params.not_after = date(jiff::civil::date(today.year() + years, today.month(), 1).max(yesterday));
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes a file that only its owner can read. The rename makes it whole or absent.
pub(crate) fn write_private(path: &Path, contents: &str) -> Result<()> {
    let half = path.with_extension("half");
    let write = || -> std::io::Result<()> {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&half)?;
        std::io::Write::write_all(&mut file, contents.as_bytes())?;
        file.sync_all()?;
        fs::rename(&half, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_certificate_names_its_user_group_and_addresses() {
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::open(folder.path(), "2026-02-28T12:00:00Z".parse().unwrap()).unwrap();
        let serves = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let subject = Subject {
            authority: Authority::Api,
            file: "node",
            name: "system:node:a",
            group: Some("system:nodes"),
            serves: &serves,
        };
        let files = pki.issue(&subject, "2026-02-28T12:00:00Z".parse().unwrap()).unwrap();
        let pem = fs::read(&files.certificate).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
        let certificate = pem.parse_x509().unwrap();
        assert_eq!(certificate.subject().to_string(), "O=system:nodes, CN=system:node:a");
        assert_eq!(certificate.subject_alternative_name().unwrap().unwrap().value.general_names.len(), 2);
        assert_eq!(certificate.issuer().to_string(), "CN=navarch-api-ca");
        for file in [&files.key, &files.certificate] {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn opening_again_keeps_the_authorities_and_the_key_of_tokens() {
        let folder = tempfile::tempdir().unwrap();
        let now = "2026-02-28T12:00:00Z".parse().unwrap();
        let tokens = folder.path().join(SERVICE_ACCOUNT_KEY);
        let read = |pki: &Pki| {
            let authority = fs::read(pki.authority_certificate(Authority::Store)).unwrap();
            (authority, fs::read_to_string(&tokens).unwrap())
        };
        let first = read(&Pki::open(folder.path(), now).unwrap());
        assert_eq!(first, read(&Pki::open(folder.path(), now).unwrap()));
        assert!(apiserver::TokenKeys::from_pem(&first.1).is_ok(), "a server can sign with it");
        assert_eq!(fs::metadata(&tokens).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
