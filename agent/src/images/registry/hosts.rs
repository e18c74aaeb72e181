//! Which hosts answer for a registry: mirrors and the registry itself, as `hosts.toml` has them.
//!
//! The files are containerd's (`certs.d/<registry>/hosts.toml`), found and read by its rules, for each pull anew: what
//! an administrator writes counts at once. A folder without that file may hold certificates as Docker has them.

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use thiserror::Error;
use toml_edit::{DocumentMut, Item, TableLike, TomlError, Value};

const FILE: &str = "hosts.toml";
/// For registries that have no folder of their own.
const DEFAULT: &str = "_default";
/// What answers for `docker.io`.
const DOCKER_HUB: &str = "registry-1.docker.io";

#[derive(Debug, Error)]
pub(in crate::images) enum HostsError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is no TOML", path.display())]
    Toml { path: PathBuf, source: TomlError },
    #[error("{}: {problem}", path.display())]
    Content { path: PathBuf, problem: String },
}

/// One that is asked for a registry's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// With the beginning of the path: `https://registry-1.docker.io/v2`.
    pub(super) base: String,
    /// It may say what a tag means.
    pub(super) resolves: bool,
    /// It may give what has a digest.
    pub(super) pulls: bool,
    pub(super) tls: Tls,
    /// Sent with each request.
    pub(super) headers: HeaderMap,
    /// What to call the registry when asking it: it answers for others, too.
    pub(super) namespace: Option<String>,
}

/// Whom to believe that they are this host, and how to prove who asks; all are files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tls {
    pub(super) authorities: Vec<PathBuf>,
    pub(super) identities: Vec<Identity>,
    /// Anybody is believed.
    pub(super) skip_verify: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) certificate: PathBuf,
    /// The certificate's file, when it is in there.
    pub(super) key: PathBuf,
}

/// The hosts of a registry in the order in which to ask them, the registry itself last.
///
/// # Errors
/// When what is written about it cannot be read or understood.
pub(super) async fn of_registry(dirs: &[PathBuf], registry: &str) -> Result<Vec<Host>, HostsError> {
    for dir in dirs {
        for name in folders(registry) {
            let dir = dir.join(name);
            if tokio::fs::try_exists(&dir).await.unwrap_or(false) {
                return in_folder(&dir, registry).await;
            }
        }
    }
    Ok(vec![itself(registry)])
}

async fn in_folder(dir: &Path, registry: &str) -> Result<Vec<Host>, HostsError> {
    let path = dir.join(FILE);
    match tokio::fs::read_to_string(&path).await {
        Ok(text) => parse(&text, &path, registry),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let tls = as_docker_has_them(dir).await?;
            Ok(vec![Host { tls, ..itself(registry) }])
        }
        Err(source) => Err(HostsError::Read { path, source }),
    }
}

/// Names of a registry's folder: with the port in a form for all file systems, and as it is.
fn folders(registry: &str) -> Vec<String> {
    let with_port = registry.rsplit_once(':').filter(|(name, port)| !name.is_empty() && !port.contains(']'));
    let mut names: Vec<String> =
        with_port.map(|(name, port)| format!("{name}_{port}_")).into_iter().collect();
    names.extend([registry.to_owned(), DEFAULT.to_owned()]);
    names
}

/// The registry, when nobody says anything of it.
fn itself(registry: &str) -> Host {
    let host = if registry == "docker.io" { DOCKER_HUB } else { registry };
    let scheme = if is_plain(host) { "http" } else { "https" };
    Host {
        base: format!("{scheme}://{host}/v2"),
        resolves: true,
        pulls: true,
        tls: Tls::default(),
        headers: HeaderMap::new(),
        namespace: None,
    }
}

/// Registries on this machine speak plain HTTP, as Docker and containerd have it.
fn is_plain(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, ""),
    };
    let name = name.trim_matches(['[', ']']);
    let is_loopback = name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    (name == "localhost" || is_loopback) && port != "443"
}

/// `*.crt` are authorities, `*.cert` and `*.key` of one name prove who asks.
async fn as_docker_has_them(dir: &Path) -> Result<Tls, HostsError> {
    let fail = |source| HostsError::Read { path: dir.to_owned(), source };
    let mut entries = tokio::fs::read_dir(dir).await.map_err(fail)?;
    let mut tls = Tls::default();
    while let Some(entry) = entries.next_entry().await.map_err(fail)? {
        let path = entry.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => tls.authorities.push(path),
            Some("cert") => {
                tls.identities.push(Identity { key: path.with_extension("key"), certificate: path });
            }
            _ => {}
        }
    }
    tls.authorities.sort();
    tls.identities.sort_by(|one, other| one.certificate.cmp(&other.certificate));
    Ok(tls)
}

fn parse(text: &str, path: &Path, registry: &str) -> Result<Vec<Host>, HostsError> {
    let parsed = text.parse::<DocumentMut>();
    let document = parsed.map_err(|source| HostsError::Toml { path: path.to_owned(), source })?;
    let dir = path.parent().unwrap_or(Path::new("/"));
    read(&document, dir, registry).map_err(|problem| HostsError::Content { path: path.to_owned(), problem })
}

/// The error says what is wrong.
fn read(document: &DocumentMut, dir: &Path, registry: &str) -> Result<Vec<Host>, String> {
    let mut hosts = Vec::new();
    if let Some(mirrors) = document.get("host") {
        let mirrors = mirrors.as_table_like().ok_or("host must be a table")?;
        for (address, settings) in mirrors.iter() {
            let about = format!("host {address:?}");
            let settings = settings.as_table_like().ok_or(format!("{about} must be a table"))?;
            let host = Reader { settings, dir, registry };
            hosts.push(host.host(Some(address)).map_err(|problem| format!("{about}: {problem}"))?);
        }
    }
    let server = document.get("server").map(|server| text(server, "server")).transpose()?;
    let own = Reader { settings: document.as_table(), dir, registry };
    hosts.push(own.host(server.filter(|server| !server.is_empty()))?);
    Ok(hosts)
}

/// Reads what is said of one host.
struct Reader<'a> {
    settings: &'a dyn TableLike,
    /// Where its files are, when their paths are relative.
    dir: &'a Path,
    registry: &'a str,
}

impl Reader<'_> {
    /// `None`: the registry itself.
    fn host(&self, address: Option<&str>) -> Result<Host, String> {
        let mut host = itself(self.registry);
        if let Some(address) = address {
            let url = url(address)?;
            host.base = self.base(&url)?;
            let authority = url.authority().map_or("", |authority| authority.as_str());
            let is_own =
                authority == self.registry || self.registry == "docker.io" && authority == DOCKER_HUB;
            host.namespace = (!is_own).then(|| self.registry.to_owned());
        }
        if let Some(capabilities) = self.settings.get("capabilities") {
            let named = texts(capabilities, "capabilities")?;
            if let Some(unknown) = named.iter().find(|name| !["pull", "resolve", "push"].contains(name)) {
                return Err(format!("unknown capability {unknown}"));
            }
            // None at all are all of them.
            host.resolves = named.is_empty() || named.contains(&"resolve");
            host.pulls = named.is_empty() || named.contains(&"pull");
        }
        host.tls = Tls {
            authorities: match self.settings.get("ca") {
                Some(files) => texts(files, "ca")?.into_iter().map(|file| self.dir.join(file)).collect(),
                None => Vec::new(),
            },
            identities: self.identities()?,
            skip_verify: self.flag("skip_verify")?,
        };
        host.headers = self.headers()?;
        Ok(host)
    }

    fn base(&self, url: &Uri) -> Result<String, String> {
        let path = url.path().trim_end_matches('/');
        let is_whole = path.ends_with("/v2") || self.flag("override_path")?;
        let version = if is_whole { "" } else { "/v2" };
        let (scheme, authority) = (url.scheme_str().unwrap_or("https"), url.authority());
        let authority = authority.map_or("", |authority| authority.as_str());
        Ok(format!("{scheme}://{authority}{path}{version}"))
    }

    /// One file or several with certificate and key, or pairs of files.
    fn identities(&self) -> Result<Vec<Identity>, String> {
        let wrong = || "client must be a file, a list of files, or a list of pairs of them".to_owned();
        let both = |file: &str| {
            let file = self.dir.join(file);
            Identity { key: file.clone(), certificate: file }
        };
        let one = |value: &Value| {
            if let Some(file) = value.as_str() {
                return Ok(both(file));
            }
            let files: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            match files[..] {
                [file] => Ok(both(file)),
                [certificate, key] if !key.is_empty() => {
                    Ok(Identity { certificate: self.dir.join(certificate), key: self.dir.join(key) })
                }
                [certificate, _] => Ok(both(certificate)),
                _ => Err(wrong()),
            }
        };
        let Some(client) = self.settings.get("client") else { return Ok(Vec::new()) };
        match client.as_value() {
            Some(Value::String(file)) => Ok(vec![both(file.value())]),
            Some(Value::Array(all)) => all.iter().map(one).collect(),
            _ => Err(wrong()),
        }
    }

    fn headers(&self) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        let Some(all) = self.settings.get("header") else { return Ok(headers) };
        let all = all.as_table_like().ok_or("header must be a table")?;
        for (name, values) in all.iter() {
            let bad = || format!("header {name:?} cannot be sent");
            let key = HeaderName::try_from(name).map_err(|_| bad())?;
            for value in texts(values, "header")? {
                let mut value = HeaderValue::try_from(value).map_err(|_| bad())?;
                // It may be what lets us in.
                value.set_sensitive(true);
                headers.append(key.clone(), value);
            }
        }
        Ok(headers)
    }

    fn flag(&self, name: &str) -> Result<bool, String> {
        let Some(value) = self.settings.get(name) else { return Ok(false) };
        value.as_bool().ok_or_else(|| format!("{name} must be true or false"))
    }
}

fn url(address: &str) -> Result<Uri, String> {
    let full = if address.contains("://") { address.to_owned() } else { format!("https://{address}") };
    let url = Uri::try_from(full).ok().filter(|url| {
        matches!(url.scheme_str(), Some("http" | "https"))
            && url.authority().is_some()
            && url.query().is_none()
    });
    url.ok_or_else(|| format!("{address:?} is no address of a host"))
}

fn text<'a>(item: &'a Item, name: &str) -> Result<&'a str, String> {
    item.as_str().ok_or_else(|| format!("{name} must be a string"))
}

/// One or a list.
fn texts<'a>(item: &'a Item, name: &str) -> Result<Vec<&'a str>, String> {
    if let Some(one) = item.as_str() {
        return Ok(vec![one]);
    }
    let all = item.as_array().map(|all| all.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
    all.flatten().ok_or_else(|| format!("{name} must be a string or a list of strings"))
}
