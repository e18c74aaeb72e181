//! The options that a request carries in its query or, for deletes, in its body.
//!
//! Unknown options are ignored, as Kubernetes does; unknown values of known options are refused.

use kinds::schema::apply::OnConflict;
use kinds::{FieldError, FieldErrors};
use serde_json::{Value, json};

use crate::request::Query;
use crate::status::Status;
use crate::verbs::managing::MANAGER_BYTES_MAX;
use crate::verbs::past::Moment;

/// Options of LIST and WATCH.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListOptions {
    pub(crate) label_selector: String,
    pub(crate) field_selector: String,
    /// Empty, `0` or a revision.
    pub(crate) resource_version: String,
    pub(crate) version_match: Option<VersionMatch>,
    /// Zero: no limit.
    pub(crate) limit: usize,
    pub(crate) continue_token: String,
    pub(crate) bookmarks: bool,
    pub(crate) send_initial_events: Option<bool>,
    pub(crate) timeout_seconds: Option<u64>,
    /// Not the present.
    pub(crate) moment: Option<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VersionMatch {
    Exact,
    NotOlderThan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListUse {
    List,
    Watch,
    /// What is listed is deleted.
    Delete,
}

impl ListOptions {
    pub(crate) fn parse(query: &Query, list_use: ListUse) -> Result<Self, Status> {
        let matching = query.get("resourceVersionMatch");
        let options = Self {
            label_selector: query.get("labelSelector").to_owned(),
            field_selector: query.get("fieldSelector").to_owned(),
            resource_version: query.get("resourceVersion").to_owned(),
            version_match: match matching {
                "Exact" => Some(VersionMatch::Exact),
                "NotOlderThan" => Some(VersionMatch::NotOlderThan),
                _ => None,
            },
            limit: usize::try_from(integer(query, "limit")?.unwrap_or(0)).unwrap_or(0),
            continue_token: query.get("continue").to_owned(),
            bookmarks: query.flag("allowWatchBookmarks"),
            send_initial_events: query.find("sendInitialEvents").map(|_| query.flag("sendInitialEvents")),
            timeout_seconds: integer(query, "timeoutSeconds")?.and_then(|s| u64::try_from(s).ok()),
            moment: None,
        };
        let mut errors = match list_use {
            ListUse::List | ListUse::Delete => options.list_errors(matching),
            ListUse::Watch => options.watch_errors(matching),
        };
        let moment = match list_use {
            ListUse::List => Moment::parse(query, &mut errors),
            ListUse::Watch | ListUse::Delete => {
                Moment::refuse(query, &mut errors);
                None
            }
        };
        refuse("ListOptions", errors)?;
        Ok(Self { moment, ..options })
    }

    fn list_errors(&self, matching: &str) -> FieldErrors {
        let mut errors = FieldErrors::new();
        if self.send_initial_events.is_some() {
            errors
                .push(FieldError::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        if matching.is_empty() {
            return errors;
        }
        let forbidden = |detail| FieldError::forbidden("resourceVersionMatch", detail);
        if self.resource_version.is_empty() {
            errors.push(forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"));
        }
        if !self.continue_token.is_empty() {
            errors.push(forbidden("resourceVersionMatch is forbidden when continue is provided"));
        }
        match self.version_match {
            None => {
                errors.push(FieldError::not_supported(
                    "resourceVersionMatch",
                    matching,
                    &["Exact", "NotOlderThan", ""],
                ));
            }
            Some(VersionMatch::Exact) if self.resource_version == "0" => {
                errors
                    .push(forbidden("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""));
            }
            Some(_) => {}
        }
        errors
    }

    fn watch_errors(&self, matching: &str) -> FieldErrors {
        let mut errors = FieldErrors::new();
        let forbidden = |detail| FieldError::forbidden("resourceVersionMatch", detail);
        if self.send_initial_events.is_some() {
            if self.version_match != Some(VersionMatch::NotOlderThan) {
                errors.push(forbidden(
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                ));
            }
        } else if !matching.is_empty() {
            errors.push(forbidden(
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        errors
    }
}

/// Options of GET.
pub(crate) struct GetOptions {
    pub(crate) resource_version: String,
    /// Not the present.
    pub(crate) moment: Option<Moment>,
}

impl GetOptions {
    pub(crate) fn parse(query: &Query) -> Result<Self, Status> {
        let mut errors = FieldErrors::new();
        let moment = Moment::parse(query, &mut errors);
        refuse("GetOptions", errors)?;
        Ok(Self { resource_version: query.get("resourceVersion").to_owned(), moment })
    }
}

/// Options of POST, PUT and PATCH.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    pub(crate) field_validation: FieldValidation,
}

/// What happens to fields that the schema does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl WriteOptions {
    /// `options_kind`: `CreateOptions`, `UpdateOptions` or `PatchOptions`.
    pub(crate) fn parse(query: &Query, options_kind: &str) -> Result<Self, Status> {
        let mut errors = FieldErrors::new();
        if options_kind == "PatchOptions" && query.find("force").is_some() {
            errors.push(FieldError::forbidden("force", "may not be specified for non-apply patch"));
        }
        Self::parse_common(query, options_kind, errors)
    }

    /// Options of a server-side apply.
    pub(crate) fn parse_apply(query: &Query) -> Result<(Self, OnConflict), Status> {
        let mut errors = FieldErrors::new();
        if query.get("fieldManager").is_empty() {
            errors.push(FieldError::required("fieldManager", "is required for apply patch"));
        }
        let on_conflict = if query.flag("force") { OnConflict::Force } else { OnConflict::Refuse };
        Ok((Self::parse_common(query, "PatchOptions", errors)?, on_conflict))
    }

    fn parse_common(query: &Query, options_kind: &str, mut errors: FieldErrors) -> Result<Self, Status> {
        let manager = query.get("fieldManager");
        if manager.len() > MANAGER_BYTES_MAX {
            errors.push(FieldError::too_long("fieldManager", MANAGER_BYTES_MAX));
        }
        if manager.chars().any(char::is_control) {
            let detail = "should only contain printable characters";
            errors.push(FieldError::invalid("fieldManager", manager, detail));
        }
        let dry_run = dry_run(query.all("dryRun"), &mut errors);
        let field_validation = match query.get("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let supported = ["", "Ignore", "Strict", "Warn"];
                errors.push(FieldError::not_supported("fieldValidation", other, &supported));
                FieldValidation::Warn
            }
        };
        refuse(options_kind, errors)?;
        Ok(Self { dry_run, field_validation })
    }
}

/// Options of DELETE, from the body or, without one, from the query.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) grace_seconds: Option<i64>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    Foreground,
    Background,
    Orphan,
}

impl DeleteOptions {
    pub(crate) fn parse(query: &Query, body: Option<&Value>) -> Result<Self, Status> {
        let from_query;
        let options = match body {
            Some(body) => body,
            None => {
                from_query = Self::query_as_body(query)?;
                &from_query
            }
        };
        let text = |path: &str| kinds::tree::text(options, path);
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let mut errors = FieldErrors::new();
        let policy = text("propagationPolicy");
        let propagation = match policy {
            "" => None,
            "Foreground" => Some(Propagation::Foreground),
            "Background" => Some(Propagation::Background),
            "Orphan" => Some(Propagation::Orphan),
            other => {
                let supported = ["Foreground", "Background", "Orphan", "nil"];
                errors.push(FieldError::not_supported("propagationPolicy", other, &supported));
                None
            }
        };
        let orphan = options.get("orphanDependents").and_then(Value::as_bool);
        if propagation.is_some() && orphan.is_some() {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(FieldError::invalid("propagationPolicy", policy, detail));
        }
        let dry_run =
            dry_run(kinds::tree::items(options, "dryRun").iter().filter_map(Value::as_str), &mut errors);
        refuse("DeleteOptions", errors)?;
        Ok(Self {
            grace_seconds: kinds::tree::int(options, "gracePeriodSeconds"),
            uid: some(text("preconditions.uid")),
            resource_version: some(text("preconditions.resourceVersion")),
            propagation: propagation.or(match orphan {
                Some(true) => Some(Propagation::Orphan),
                Some(false) => Some(Propagation::Background),
                None => None,
            }),
            dry_run,
        })
    }

    fn query_as_body(query: &Query) -> Result<Value, Status> {
        let mut body = json!({});
        if let Some(grace) = integer(query, "gracePeriodSeconds")? {
            body["gracePeriodSeconds"] = json!(grace);
        }
        if let Some(policy) = query.find("propagationPolicy") {
            body["propagationPolicy"] = json!(policy);
        }
        if query.find("orphanDependents").is_some() {
            body["orphanDependents"] = json!(query.flag("orphanDependents"));
        }
        let dry_run: Vec<&str> = query.all("dryRun").collect();
        body["dryRun"] = json!(dry_run);
        Ok(body)
    }
}

fn refuse(options_kind: &str, errors: FieldErrors) -> Result<(), Status> {
    errors.into_result().map_err(|errors| Status::invalid_options(options_kind, &errors))
}

fn dry_run<'a>(values: impl Iterator<Item = &'a str>, errors: &mut FieldErrors) -> bool {
    let values: Vec<&str> = values.filter(|value| !value.is_empty()).collect();
    if values.iter().any(|value| *value != "All") {
        errors.push(FieldError::not_supported("dryRun", json!(values), &["All"]));
    }
    !values.is_empty()
}

fn integer(query: &Query, key: &str) -> Result<Option<i64>, Status> {
    let text = query.get(key);
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text
        .parse()
        .map_err(|_| Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))?;
    Ok(Some(parsed))
}

/// A resourceVersion as a number; `None` when empty.
pub(crate) fn parse_version(text: &str) -> Result<Option<i64>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = || {
        Status::bad_request(format!(
            "invalid resource version: resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
        ))
    };
    let number: u64 = text.parse().map_err(|_| invalid())?;
    i64::try_from(number).map(Some).map_err(|_| invalid())
}
