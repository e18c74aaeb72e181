//! The labels of a namespace, as three rules: what is enforced, what is audited, what is warned of.

use std::fmt;

use kinds::{FieldError, FieldErrors, meta};
use serde_json::Value;

const PREFIX: &str = "pod-security.kubernetes.io";
const LEVELS: [(&str, Level); 3] =
    [("privileged", Level::Privileged), ("baseline", Level::Baseline), ("restricted", Level::Restricted)];

/// From the loosest to the strictest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// Whose year's list of checks counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Latest,
    /// 1 and this.
    Minor(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) level: Level,
    pub(super) version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) enforce: Rule,
    pub(super) warn: Rule,
}

impl Policy {
    /// What a namespace asks for, and what of it cannot be understood: that is enforced as strictly as there is, and
    /// not warned of at all.
    pub(super) fn of(namespace: &Value) -> (Self, FieldErrors) {
        let mut labels = Labels { namespace, errors: FieldErrors::new() };
        let level = labels.level("enforce");
        let enforce = Rule {
            level: level.map_or(Level::Privileged, |level| level.unwrap_or(Level::Restricted)),
            version: labels.version("enforce").unwrap_or(Version::Latest),
        };
        // Read for its errors: there is no audit log.
        let _ = (labels.level("audit"), labels.version("audit"));
        let (warn_level, warn_version) = (labels.level("warn"), labels.version("warn"));
        let is_understood = matches!(level, Some(Some(_)));
        let warn = match (warn_level, warn_version) {
            // Who says nothing of warnings is warned of what is enforced.
            (None, version) if is_understood && enforce.level > Level::Privileged => {
                Rule { level: enforce.level, version: version.unwrap_or(enforce.version) }
            }
            (level, version) => Rule {
                level: level.flatten().unwrap_or(Level::Privileged),
                version: version.unwrap_or(Version::Latest),
            },
        };
        (Self { enforce, warn }, labels.errors)
    }
}

struct Labels<'a> {
    namespace: &'a Value,
    errors: FieldErrors,
}

impl Labels<'_> {
    /// None without the label; a level that is none, inside.
    fn level(&mut self, mode: &str) -> Option<Option<Level>> {
        let label = format!("{PREFIX}/{mode}");
        let text = meta::label(self.namespace, &label)?;
        let level = LEVELS.iter().find(|(name, _)| *name == text).map(|(_, level)| *level);
        if level.is_none() {
            self.refuse(&label, text, "must be one of privileged, baseline, restricted");
        }
        Some(level)
    }

    /// A version that is none counts as the latest.
    fn version(&mut self, mode: &str) -> Option<Version> {
        let label = format!("{PREFIX}/{mode}-version");
        let text = meta::label(self.namespace, &label)?;
        if text == "latest" {
            return Some(Version::Latest);
        }
        let minor = text.strip_prefix("v1.").filter(|minor| *minor == "0" || !minor.starts_with(['0', '+']));
        let minor = minor.and_then(|minor| minor.parse().ok());
        if minor.is_none() {
            self.refuse(&label, text, "must be \"latest\" or \"v1.x\"");
        }
        Some(minor.map_or(Version::Latest, Version::Minor))
    }

    fn refuse(&mut self, label: &str, text: &str, why: &str) {
        self.errors.push(FieldError::invalid(format!("metadata.labels[{label}]"), text, why));
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = LEVELS.iter().find(|(_, level)| *level == self.level).map_or("", |(name, _)| name);
        match self.version {
            Version::Latest => write!(out, "{name}:latest"),
            Version::Minor(minor) => write!(out, "{name}:v1.{minor}"),
        }
    }
}
