//! The certificates of one cluster: two authorities, as Navarch has them, a pair for each member, one for each of the
//! store's clients, the API's administrator and the nodes.
//!
//! They are valid always: a fault of the clock is meant to be felt elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::client::Identity;

/// Organizations that Navarch's store admits.
const MEMBERS: &str = "navarch:members";
const CLIENTS: &str = "navarch:store-clients";
/// Groups of Kubernetes.
const ADMINISTRATORS: &str = "system:masters";
const NODES: &str = "system:nodes";

/// A folder of certificates, with file names as `navarch server --pki-dir` wants them.
pub(super) struct Certificates {
    folder: PathBuf,
    api: Issuer<'static, KeyPair>,
    store: Issuer<'static, KeyPair>,
    client: Identity,
    administrator: Identity,
}

impl Certificates {
    /// Makes the folder, the authorities, the client's certificate and the key of service accounts.
    pub(super) fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let (api, api_ca_pem) = authority(folder, "api-ca")?;
        let (store, store_ca_pem) = authority(folder, "store-ca")?;
        let identity = |ca_pem, issuer, name, organization| {
            let (certificate_pem, key_pem) = issue(folder, issuer, name, Some(organization), &[])?;
            Ok::<_, anyhow::Error>(Identity { ca_pem, certificate_pem, key_pem })
        };
        fs::write(folder.join("service-accounts.key"), KeyPair::generate()?.serialize_pem())?;
        let client = identity(store_ca_pem, &store, "etcd-client", CLIENTS)?;
        let administrator = identity(api_ca_pem, &api, "admin", ADMINISTRATORS)?;
        Ok(Self { folder: folder.to_owned(), api, store, client, administrator })
    }

    /// Makes a member's two certificates. It serves under `address`.
    pub(super) fn add_member(&self, name: &str, address: &str) -> Result<()> {
        let serves = [address.to_owned(), "127.0.0.1".to_owned(), "localhost".to_owned()];
        issue(&self.folder, &self.api, &format!("{name}-api"), None, &serves)?;
        issue(&self.folder, &self.store, &format!("{name}-store"), Some(MEMBERS), &serves)?;
        Ok(())
    }

    /// Makes the certificate of a node, which is named after it.
    pub(super) fn add_node(&self, node: &str) -> Result<()> {
        let user = format!("system:node:{node}");
        sign(&self.folder, &self.api, (node, &user), Some(NODES), &[]).map(|_| ())
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn client(&self) -> &Identity {
        &self.client
    }

    /// Who may do everything with the Kubernetes API.
    pub(super) fn administrator(&self) -> &Identity {
        &self.administrator
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

/// A certificate whose files have its name.
fn issue(
    folder: &Path,
    issuer: &Issuer<'static, KeyPair>,
    name: &str,
    organization: Option<&str>,
    serves: &[String],
) -> Result<(String, String)> {
    sign(folder, issuer, (name, name), organization, serves)
}

/// A certificate and its key, as PEM and as `files`.
fn sign(
    folder: &Path,
    issuer: &Issuer<'static, KeyPair>,
    (file, name): (&str, &str),
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
    fs::write(folder.join(format!("{file}.crt")), &certificate)?;
    fs::write(folder.join(format!("{file}.key")), &key_pem)?;
    Ok((certificate, key_pem))
}
