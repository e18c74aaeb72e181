//! What registries and archives say about an image: index, manifest and configuration. Pure.
//!
//! OCI's and Docker's formats differ in their media types only. What is not known is ignored, as OCI asks.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use super::digest::Digest;

/// As overlayfs and containerd have it.
pub(crate) const LAYERS_MAX: usize = 127;
/// Manifests and indexes.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 4 << 20;
pub(crate) const CONFIG_BYTES_MAX: u64 = 4 << 20;

/// What a manifest's `Accept` names, most wanted first.
pub(crate) const MANIFEST_TYPES: &[&str] = &[
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

#[derive(Debug, Error)]
pub(crate) enum DocumentError {
    #[error("the {what} is not the JSON that it should be")]
    Json { what: &'static str, source: serde_json::Error },
    #[error("the manifest is of schema version 1, which is not supported")]
    Schema1,
    #[error("the manifest has neither layers nor manifests")]
    NoManifest,
    #[error("the image has {0} layers, more than {LAYERS_MAX}")]
    Layers(usize),
    #[error("the manifest has {layers} layers, the configuration {diff_ids}")]
    Uneven { layers: usize, diff_ids: usize },
    #[error("{0:?} is no sha256 digest")]
    Digest(String),
    #[error("the {what} claims {bytes} bytes, more than {max}")]
    Large { what: &'static str, bytes: u64, max: u64 },
    #[error("no match for platform in manifest: it has {found}, this machine is {wanted}: not found")]
    Platform { found: String, wanted: String },
}

/// What a manifest's bytes turned out to be.
pub(crate) enum Document {
    Index(Vec<Descriptor>),
    Manifest(Manifest),
}

pub(crate) struct Manifest {
    pub(crate) config: Blob,
    /// The lowest first.
    pub(crate) layers: Vec<Blob>,
}

/// Content and how long it must be.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    digest: String,
    size: u64,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: String,
}

impl Descriptor {
    pub(crate) fn blob(&self) -> Result<Blob, DocumentError> {
        let digest = Digest::parse(&self.digest).ok_or_else(|| DocumentError::Digest(self.digest.clone()))?;
        Ok(Blob { digest, size: self.size })
    }
}

impl Document {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Raw {
            schema_version: u32,
            manifests: Option<Vec<Descriptor>>,
            config: Option<Descriptor>,
            layers: Option<Vec<Descriptor>>,
        }
        let raw: Raw = serde_json::from_slice(bytes)
            .map_err(|source| DocumentError::Json { what: "manifest", source })?;
        match raw {
            Raw { schema_version: 1, .. } => Err(DocumentError::Schema1),
            Raw { config: Some(config), layers: Some(layers), .. } => {
                if layers.len() > LAYERS_MAX {
                    return Err(DocumentError::Layers(layers.len()));
                }
                let config = config.blob()?;
                if config.size > CONFIG_BYTES_MAX {
                    let (bytes, max) = (config.size, CONFIG_BYTES_MAX);
                    return Err(DocumentError::Large { what: "configuration", bytes, max });
                }
                let layers = layers.iter().map(Descriptor::blob).collect::<Result<_, _>>()?;
                Ok(Self::Manifest(Manifest { config, layers }))
            }
            Raw { manifests: Some(manifests), .. } => Ok(Self::Index(manifests)),
            _ => Err(DocumentError::NoManifest),
        }
    }
}

/// The manifest of an index that this machine runs best.
pub(crate) fn choose(manifests: &[Descriptor], machine: &Machine) -> Result<Blob, DocumentError> {
    let rank = |descriptor: &Descriptor| match &descriptor.platform {
        None => Some(machine.variants.len() + 1),
        Some(platform) => machine.rank(&platform.os, &platform.architecture, &platform.variant),
    };
    let best = manifests
        .iter()
        .filter_map(|one| Some((rank(one)?, one)))
        // Of equals the first, as the specification says.
        .min_by_key(|(rank, _)| *rank);
    let Some((_, best)) = best else {
        let found: BTreeSet<String> = manifests
            .iter()
            .filter_map(|one| one.platform.as_ref())
            .map(|platform| format!("{}/{}", platform.os, platform.architecture))
            .collect();
        let found = found.into_iter().collect::<Vec<_>>().join(", ");
        return Err(DocumentError::Platform { found, wanted: machine.to_string() });
    };
    let blob = best.blob()?;
    if blob.size > MANIFEST_BYTES_MAX {
        let (bytes, max) = (blob.size, MANIFEST_BYTES_MAX);
        return Err(DocumentError::Large { what: "manifest", bytes, max });
    }
    Ok(blob)
}

/// Which programs this machine runs, in Go's words.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    architecture: &'static str,
    /// Best first.
    variants: &'static [&'static str],
}

impl Machine {
    pub(crate) fn this() -> Self {
        Self::named(std::env::consts::ARCH)
    }

    fn named(architecture: &'static str) -> Self {
        match architecture {
            "x86_64" => Self { architecture: "amd64", variants: &["", "v1"] },
            "aarch64" => Self { architecture: "arm64", variants: &["v8", ""] },
            "arm" => Self { architecture: "arm", variants: &["v7", "v6", "v5", ""] },
            "x86" => Self { architecture: "386", variants: &[""] },
            "powerpc64" => Self { architecture: "ppc64le", variants: &[""] },
            other => Self { architecture: other, variants: &[""] },
        }
    }

    /// Lower is better; `None` does not run here.
    fn rank(&self, os: &str, architecture: &str, variant: &str) -> Option<usize> {
        let same = os == "linux" && architecture == self.architecture;
        same.then(|| self.variants.iter().position(|known| *known == variant)).flatten()
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "linux/{}", self.architecture)
    }
}

/// How a container of an image starts when its pod does not say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageConfig {
    pub(crate) user: String,
    pub(crate) env: Vec<String>,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) cmd: Vec<String>,
    pub(crate) working_dir: String,
    pub(crate) volumes: BTreeSet<String>,
    pub(crate) stop_signal: Option<String>,
}

/// An image's configuration: how it starts, and what its layers are called once unpacked, lowest first.
pub(crate) fn parse_config(
    bytes: &[u8],
    machine: &Machine,
) -> Result<(ImageConfig, Vec<Digest>), DocumentError> {
    #[derive(Deserialize)]
    struct Raw {
        #[serde(default)]
        architecture: String,
        #[serde(default)]
        os: String,
        #[serde(default, deserialize_with = "or_default")]
        config: Process,
        rootfs: Root,
    }
    #[derive(Deserialize)]
    struct Root {
        #[serde(default, deserialize_with = "or_default")]
        diff_ids: Vec<String>,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Process {
        #[serde(deserialize_with = "or_default")]
        user: String,
        #[serde(deserialize_with = "or_default")]
        env: Vec<String>,
        #[serde(deserialize_with = "or_default")]
        entrypoint: Vec<String>,
        #[serde(deserialize_with = "or_default")]
        cmd: Vec<String>,
        #[serde(deserialize_with = "or_default")]
        working_dir: String,
        #[serde(deserialize_with = "or_default")]
        volumes: BTreeMap<String, serde_json::Value>,
        stop_signal: Option<String>,
    }
    let raw: Raw = serde_json::from_slice(bytes)
        .map_err(|source| DocumentError::Json { what: "configuration", source })?;
    let differs = |found: &str, wanted: &str| !found.is_empty() && found != wanted;
    if differs(&raw.os, "linux") || differs(&raw.architecture, machine.architecture) {
        let found = format!("{}/{}", raw.os, raw.architecture);
        return Err(DocumentError::Platform { found, wanted: machine.to_string() });
    }
    if raw.rootfs.diff_ids.len() > LAYERS_MAX {
        return Err(DocumentError::Layers(raw.rootfs.diff_ids.len()));
    }
    let diff_ids = raw.rootfs.diff_ids.into_iter();
    let diff_ids = diff_ids.map(|id| Digest::parse(&id).ok_or(DocumentError::Digest(id)));
    let process = raw.config;
    let config = ImageConfig {
        user: process.user,
        env: process.env,
        entrypoint: process.entrypoint,
        cmd: process.cmd,
        working_dir: process.working_dir,
        volumes: process.volumes.into_keys().collect(),
        stop_signal: process.stop_signal.filter(|signal| !signal.is_empty()),
    };
    Ok((config, diff_ids.collect::<Result<_, _>>()?))
}

/// Go writes `null` for what is empty.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chosen(machine: &'static str, platforms: &[(&str, &str, &str)]) -> Result<u64, String> {
        let manifests: Vec<_> = platforms
            .iter()
            .enumerate()
            .map(|(at, (os, architecture, variant))| {
                json!({
                    "digest": Digest::of(b"").as_str(), "size": at,
                    "platform": { "os": os, "architecture": architecture, "variant": variant },
                })
            })
            .collect();
        let index = serde_json::to_vec(&json!({ "schemaVersion": 2, "manifests": manifests })).unwrap();
        let Ok(Document::Index(manifests)) = Document::parse(&index) else { panic!("no index") };
        let chosen = choose(&manifests, &Machine::named(machine));
        chosen.map(|blob| blob.size).map_err(|error| error.to_string())
    }

    #[test]
    fn the_best_variant_wins_and_other_systems_never() {
        let many = [
            ("windows", "amd64", ""),
            ("linux", "arm", "v6"),
            ("linux", "arm", "v7"),
            ("linux", "arm64", "v8"),
            ("unknown", "unknown", ""),
            ("linux", "amd64", ""),
        ];
        assert_eq!(chosen("x86_64", &many), Ok(5));
        assert_eq!(chosen("aarch64", &many), Ok(3));
        assert_eq!(chosen("arm", &many), Ok(2));
        let refusal = chosen("s390x", &many[..1]).unwrap_err();
        assert_eq!(
            refusal,
            "no match for platform in manifest: it has windows/amd64, this machine is linux/s390x: not found"
        );
    }

    #[test]
    fn null_is_empty() {
        let text = br#"{"os":"linux","config":{"Env":null,"Cmd":["a"],"Volumes":{"/d":{}},"User":null},
            "rootfs":{"type":"layers","diff_ids":null},"history":[]}"#;
        let (config, diff_ids) = parse_config(text, &Machine::this()).unwrap();
        let wanted = ImageConfig {
            cmd: vec!["a".to_owned()],
            volumes: ["/d".to_owned()].into(),
            ..ImageConfig::default()
        };
        assert_eq!((config, diff_ids), (wanted, vec![]));
    }
}
