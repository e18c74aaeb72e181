//! Reads kubeconfigs as kubectl does: one file, or several that are taken as one, in which the first to say something is
//! right.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use chaos::client::Identity;
use chaos::live::Context;
use serde_json::Value;

/// What stands between files.
const SEPARATOR: char = ':';

/// All files, in order, each with the folder from which its paths are.
struct Kubeconfig {
    files: Vec<(PathBuf, Value)>,
}

/// The contexts that were asked for, or the current one. `files` is a path, or several as in `$KUBECONFIG`.
pub(super) fn contexts(files: &str, wanted: &[String]) -> Result<Vec<Context>> {
    let config = Kubeconfig::read(files)?;
    let wanted = if wanted.is_empty() { vec![config.current()?] } else { wanted.to_vec() };
    wanted.iter().map(|name| config.context(name)).collect()
}

impl Kubeconfig {
    /// Of several, some may be missing.
    fn read(files: &str) -> Result<Self> {
        let paths: Vec<&Path> =
            files.split(SEPARATOR).filter(|path| !path.is_empty()).map(Path::new).collect();
        ensure!(!paths.is_empty(), "--against names no kubeconfig");
        let mut read = Vec::new();
        for path in &paths {
            let text = match std::fs::read_to_string(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && paths.len() > 1 => continue,
                text => text.with_context(|| format!("cannot read the kubeconfig {}", path.display()))?,
            };
            let value: Value = serde_saphyr::from_str(&text)
                .with_context(|| format!("{} is no kubeconfig", path.display()))?;
            ensure!(value.is_object(), "{} is no kubeconfig", path.display());
            read.push((path.parent().unwrap_or(Path::new("")).to_owned(), value));
        }
        ensure!(!read.is_empty(), "no kubeconfig of {files} exists");
        Ok(Self { files: read })
    }

    fn current(&self) -> Result<String> {
        let names = self.files.iter().filter_map(|(_, file)| file["current-context"].as_str());
        let current = names.filter(|name| !name.is_empty()).map(str::to_owned).next();
        current.with_context(|| format!("no context is current: choose one by --context; {}", self.known()))
    }

    fn context(&self, name: &str) -> Result<Context> {
        let (_, context) = self
            .find("contexts", "context", name)
            .with_context(|| format!("there is no context {name}; {}", self.known()))?;
        let said =
            |field: &str| context[field].as_str().with_context(|| format!("context {name} names no {field}"));
        let (cluster_name, user_name) = (said("cluster")?, said("user")?);
        let (cluster_folder, cluster) = self
            .find("clusters", "cluster", cluster_name)
            .with_context(|| format!("context {name} is of cluster {cluster_name}, which is not there"))?;
        let (user_folder, user) = self
            .find("users", "user", user_name)
            .with_context(|| format!("context {name} is of user {user_name}, who is not there"))?;
        let server = cluster["server"].as_str().unwrap_or_default().to_owned();
        ensure!(!server.is_empty(), "cluster {cluster_name} names no server");
        refuse(&server, cluster_name, cluster, user_name, user)?;
        let of_cluster = |field: &str| pem(cluster_folder, cluster, field);
        let of_user = |field: &str| pem(user_folder, user, field);
        Ok(Context {
            name: name.to_owned(),
            cluster: cluster_name.to_owned(),
            user: user_name.to_owned(),
            server,
            server_name: cluster["tls-server-name"].as_str().map(str::to_owned),
            identity: Identity {
                ca_pem: of_cluster("certificate-authority")?,
                certificate_pem: of_user("client-certificate")?,
                key_pem: of_user("client-key")?,
            },
            token: token(user_folder, user)?,
        })
    }

    /// The first of that name, and the folder of its file.
    fn find(&self, list: &str, field: &str, name: &str) -> Option<(&Path, &Value)> {
        self.files.iter().find_map(|(folder, file)| {
            let entries = file[list].as_array().map_or(&[][..], Vec::as_slice);
            let entry = entries.iter().find(|entry| entry["name"] == name)?;
            Some((folder.as_path(), &entry[field]))
        })
    }

    /// For who has to choose.
    fn known(&self) -> String {
        let contexts = self.files.iter().filter_map(|(_, file)| file["contexts"].as_array()).flatten();
        let names: Vec<&str> = contexts.filter_map(|context| context["name"].as_str()).collect();
        if names.is_empty() { "it has none".to_owned() } else { format!("there are {}", names.join(", ")) }
    }
}

/// What we cannot do, with what can.
fn refuse(server: &str, cluster_name: &str, cluster: &Value, user_name: &str, user: &Value) -> Result<()> {
    const OTHERWISE: &str =
        "run `kubectl proxy`, and give a kubeconfig whose server is http://127.0.0.1:8001";
    for way in ["exec", "auth-provider", "username"] {
        if !user[way].is_null() {
            bail!("user {user_name} logs in by `{way}`, which is not supported: {OTHERWISE}");
        }
    }
    if server.starts_with("http://") {
        return Ok(());
    }
    if cluster["insecure-skip-tls-verify"] == true {
        bail!(
            "cluster {cluster_name} is to be believed without a certificate, which is not supported: {OTHERWISE}"
        );
    }
    let has_authority = ["certificate-authority", "certificate-authority-data"];
    if has_authority.iter().all(|field| cluster[*field].is_null()) {
        bail!(
            "cluster {cluster_name} names no certificate-authority, and the system's are not read: {OTHERWISE}"
        );
    }
    Ok(())
}

/// `field-data` in the file, or the file that `field` names; empty without either.
fn pem(folder: &Path, of: &Value, field: &str) -> Result<String> {
    if let Some(data) = of[format!("{field}-data")].as_str() {
        let bytes = base64::engine::general_purpose::STANDARD.decode(data.trim());
        let bytes = bytes.with_context(|| format!("{field}-data is no base64"))?;
        return String::from_utf8(bytes).with_context(|| format!("{field}-data is no PEM"));
    }
    let Some(path) = of[field].as_str() else { return Ok(String::new()) };
    let path = folder.join(path);
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {field} {}", path.display()))
}

/// A file of a token wins over the token.
fn token(folder: &Path, user: &Value) -> Result<Option<String>> {
    let Some(path) = user["tokenFile"].as_str() else { return Ok(user["token"].as_str().map(str::to_owned)) };
    let path = folder.join(path);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read the token {}", path.display()))?;
    Ok(Some(text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of that name in a folder, with two contexts of which none is current.
    fn write(folder: &Path, name: &str, more: &str) -> String {
        let text = format!(
            "
clusters:
- {{name: here, cluster: {{server: 'https://127.0.0.1:6443', certificate-authority: ca.crt}}}}
- {{name: proxied, cluster: {{server: 'http://127.0.0.1:8001'}}}}
contexts:
- {{name: one, context: {{cluster: here, user: admin}}}}
- {{name: two, context: {{cluster: proxied, user: cloud}}}}
- {{name: three, context: {{cluster: proxied, user: admin}}}}
users:
- {{name: admin, user: {{client-certificate-data: Q0VSVA==, client-key-data: S0VZ, token: secret}}}}
- {{name: cloud, user: {{exec: {{command: cloud}}}}}}
{more}"
        );
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn refusal(files: &str, wanted: &[&str]) -> String {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        format!("{:#}", contexts(files, &wanted).unwrap_err())
    }

    #[test]
    fn a_context_is_found_with_its_certificates() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.crt"), "CA").unwrap();
        let file = write(folder.path(), "config", "current-context: one\n");
        let found = contexts(&file, &[]).unwrap();
        let [one] = &found[..] else { panic!("{found:?}") };
        assert_eq!((one.name.as_str(), one.cluster.as_str(), one.user.as_str()), ("one", "here", "admin"));
        assert_eq!(one.server, "https://127.0.0.1:6443");
        let Identity { ca_pem, certificate_pem, key_pem } = &one.identity;
        assert_eq!([ca_pem, certificate_pem, key_pem], ["CA", "CERT", "KEY"]);
        assert_eq!(one.token.as_deref(), Some("secret"));
        let proxied = contexts(&file, &["three".to_owned()]).unwrap();
        assert_eq!(proxied[0].identity.ca_pem, "");
    }

    #[test]
    fn of_several_files_the_first_to_say_something_is_right() {
        let folder = tempfile::tempdir().unwrap();
        let quiet = write(folder.path(), "quiet", "");
        let loud = write(folder.path(), "loud", "current-context: three\n");
        let gone = folder.path().join("gone").display().to_string();
        let found = contexts(&format!("{gone}:{quiet}:{loud}"), &[]).unwrap();
        assert_eq!(found[0].name, "three");
        assert!(refusal(&gone, &[]).starts_with("cannot read the kubeconfig"));
        assert!(refusal(&format!("{gone}:{gone}"), &[]).ends_with("exists"));
    }

    #[test]
    fn what_cannot_be_used_is_said_with_what_can() {
        let folder = tempfile::tempdir().unwrap();
        let file = write(folder.path(), "config", "");
        let none = refusal(&file, &[]);
        assert_eq!(none, "no context is current: choose one by --context; there are one, two, three");
        assert_eq!(refusal(&file, &["four"]), "there is no context four; there are one, two, three");
        let plugin = refusal(&file, &["two"]);
        assert!(plugin.starts_with("user cloud logs in by `exec`") && plugin.contains("kubectl proxy"));
        assert!(refusal(&file, &["one"]).starts_with("cannot read certificate-authority"));
        std::fs::write(folder.path().join("odd"), "just words").unwrap();
        assert!(refusal(&folder.path().join("odd").display().to_string(), &[]).ends_with("is no kubeconfig"));
    }
}
