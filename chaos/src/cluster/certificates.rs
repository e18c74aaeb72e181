//! The certificates of one cluster: two authorities, as Navarch has them, a pair for each member, one for clients.
//!
//! They are valid always: a fault of the clock is meant to be felt elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Organizations that Navarch's store admits.
const MEMBERS: &str = "navarch:members";
const CLIENTS: &str = "navarch:store-clients";

/// A folder of certificates, with file names as `navarch server --pki-dir` wants them.
pub(super) struct Certificates {
    folder: PathBuf,
    api: Issuer<'static, KeyPair>,
    store: Issuer<'static, KeyPair>,
    client: Client,
}

/// What a client of the store shows and trusts, PEM.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) ca_pem: String,
    pub(super) certificate_pem: String,
    pub(super) key_pem: String,
}

impl Certificates {
    /// Makes the folder, the authorities and the client's certificate.
    pub(super) fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let (api, _) = authority(folder, "api-ca")?;
        let (store, ca_pem) = authority(folder, "store-ca")?;
        let (certificate_pem, key_pem) = issue(folder, &store, "etcd-client", Some(CLIENTS), &[])?;
        let client = Client { ca_pem, certificate_pem, key_pem };
        Ok(Self { folder: folder.to_owned(), api, store, client })
    }

    /// Makes a member's two certificates. It serves under `address`.
    pub(super) fn add_member(&self, name: &str, address: &str) -> Result<()> {
        let serves = [address.to_owned(), "127.0.0.1".to_owned(), "localhost".to_owned()];
        issue(&self.folder, &self.api, &format!("{name}-api"), None, &serves)?;
        issue(&self.folder, &self.store, &format!("{name}-store"), Some(MEMBERS), &serves)?;
        Ok(())
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }
}

fn authority(folder: &Path, name: &str) -> Result<(Issuer<'static, KeyPair>, String)> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    fs::write(folder.join(format!("{name}.crt")), &pem)?;
    Ok((Issuer::new(params, key), pem))
}

/// A certificate and its key, as PEM and as files.
fn issue(
    folder: &Path,
    issuer: &Issuer<'static, KeyPair>,
    name: &str,
    organization: Option<&str>,
    serves: &[String],
) -> Result<(String, String)> {
    let mut params = CertificateParams::new(serves.to_vec())?;
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(organization) = organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let (certificate, key_pem) = (params.signed_by(&key, issuer)?.pem(), key.serialize_pem());
    fs::write(folder.join(format!("{name}.crt")), &certificate)?;
    fs::write(folder.join(format!("{name}.key")), &key_pem)?;
    Ok((certificate, key_pem))
}
