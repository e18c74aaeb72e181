//! Containers of a pod: names, images, ports, environment, probes, hooks.

use serde_json::Value;

use super::{resources, volumes};
use crate::core::service::target_port;
use crate::{Field, FieldError, FieldErrors, names};

const INIT_ONLY: &str = "may not be set for init containers without restartPolicy=Always";
const PROBES: &[&str] = &["livenessProbe", "readinessProbe", "startupProbe"];

/// All containers of `spec`; mounts refer to the volumes named `volumes`.
pub(super) fn validate(spec: &Field<'_>, volumes: &[&str]) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let containers = spec.get("containers");
    if containers.list().is_empty() {
        errors.push(containers.required(""));
    }
    let mut seen: Vec<&str> = Vec::new();
    for container in containers.items() {
        errors.extend(validate_container(&container, volumes));
        errors.extend(validate_lifecycle(&container));
        errors.extend(unique_name(&container, &mut seen));
    }
    errors.extend(host_port_conflicts(&containers));
    for container in spec.get("initContainers").items() {
        errors.extend(validate_container(&container, volumes));
        errors.extend(unique_name(&container, &mut seen));
        let policy = container.get("restartPolicy");
        if policy.is_set() && policy.text() != "Always" {
            errors.push(policy.not_supported(&["Always"]));
        }
        if policy.text() == "Always" {
            errors.extend(validate_lifecycle(&container));
            continue;
        }
        for field in ["lifecycle"].iter().chain(PROBES) {
            if container.get(field).is_set() {
                errors.push(container.get(field).forbidden(INIT_ONLY));
            }
        }
    }
    errors
}

pub(super) fn unique_name<'a>(container: &Field<'a>, seen: &mut Vec<&'a str>) -> Option<FieldError> {
    let name = container.get("name");
    let twice = !name.text().is_empty() && seen.contains(&name.text());
    seen.push(name.text());
    twice.then(|| name.duplicate())
}

pub(super) fn validate_container(container: &Field<'_>, volumes: &[&str]) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (name, image) = (container.get("name"), container.get("image"));
    match name.text() {
        "" => errors.push(name.required("")),
        text => errors.extend(names::label(text).map(|wrong| name.invalid(wrong))),
    }
    if image.text().is_empty() {
        errors.push(image.required(""));
    } else if image.text().trim() != image.text() {
        errors.push(image.invalid("must not have leading or trailing whitespace"));
    }
    errors.extend(container.get("terminationMessagePolicy").one_of(&["FallbackToLogsOnError", "File"]));
    errors.extend(validate_ports(&container.get("ports")));
    errors.extend(validate_environment(&container.get("env")));
    errors.extend(validate_environment_sources(&container.get("envFrom")));
    errors.extend(volumes::validate_mounts(&container.get("volumeMounts"), volumes));
    errors.extend(container.get("imagePullPolicy").one_of(&["Always", "IfNotPresent", "Never"]));
    errors.extend(resources::validate(&container.get("resources")));
    for id in ["runAsUser", "runAsGroup"] {
        let id = container.get("securityContext").get(id);
        if id.int().is_some_and(|id| !(0..=i64::from(i32::MAX)).contains(&id)) {
            errors.push(id.invalid("must be between 0 and 2147483647, inclusive"));
        }
    }
    let context = container.get("securityContext");
    let escalation = context.get("allowPrivilegeEscalation");
    if context.get("privileged").flag() && escalation.value == &Value::Bool(false) {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.push(FieldError::invalid(&context.path, context.value.clone(), detail));
    }
    errors
}

fn validate_ports(ports: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut seen: Vec<&str> = Vec::new();
    for port in ports.items() {
        let (name, number, host) = (port.get("name"), port.get("containerPort"), port.get("hostPort"));
        if !name.text().is_empty() {
            let wrong = names::port_name(name.text());
            if wrong.is_empty() && seen.contains(&name.text()) {
                errors.push(name.duplicate());
            }
            errors.extend(wrong.into_iter().map(|wrong| name.invalid(wrong)));
            seen.push(name.text());
        }
        match number.int().unwrap_or_default() {
            0 => errors.push(number.required("")),
            value => errors.extend(names::port_number(value).map(|wrong| number.invalid(wrong))),
        }
        if let Some(value) = host.int().filter(|value| *value != 0) {
            errors.extend(names::port_number(value).map(|wrong| host.invalid(wrong)));
        }
        errors.extend(port.get("protocol").one_of(&["SCTP", "TCP", "UDP"]));
    }
    errors
}

/// No two containers take the same port of the node.
fn host_port_conflicts(containers: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut seen: Vec<String> = Vec::new();
    for port in containers.items().flat_map(|container| container.get("ports").items()) {
        let Some(number) = port.get("hostPort").int().filter(|number| *number != 0) else { continue };
        let taken = format!("{}/{}/{number}", port.get("protocol").text(), port.get("hostIP").text());
        if seen.contains(&taken) {
            errors.push(FieldError::duplicate(port.get("hostPort").path, taken.clone()));
        }
        seen.push(taken);
    }
    errors
}

fn validate_environment(variables: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for variable in variables.items() {
        let (name, from) = (variable.get("name"), variable.get("valueFrom"));
        match name.text() {
            "" => errors.push(name.required("")),
            text => {
                errors.extend(names::environment_variable(text).into_iter().map(|wrong| name.invalid(wrong)));
            }
        }
        if from.is_set() {
            errors.extend(validate_value_from(&from, !variable.get("value").text().is_empty()));
        }
    }
    errors
}

fn validate_value_from(from: &Field<'_>, has_value: bool) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let sources: Vec<Field<'_>> =
        ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"]
            .iter()
            .map(|source| from.get(source))
            .filter(Field::is_set)
            .collect();
    for source in &sources {
        for field in ["name", "key"] {
            let needed = source.path.ends_with("KeyRef");
            if needed && source.get(field).text().is_empty() {
                errors.push(source.get(field).required(""));
            }
        }
        if source.path.ends_with("fieldRef") && source.get("fieldPath").text().is_empty() {
            errors.push(source.get("fieldPath").required(""));
        }
        if source.path.ends_with("resourceFieldRef") && source.get("resource").text().is_empty() {
            errors.push(source.get("resource").required(""));
        }
    }
    let shown = |detail: &str| FieldError::invalid(&from.path, "", detail);
    match sources.len() {
        0 => errors.push(shown(
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        )),
        _ if has_value => errors.push(shown("may not be specified when `value` is not empty")),
        1 => {}
        _ => errors.push(shown("may not have more than one field specified at a time")),
    }
    errors
}

fn validate_environment_sources(sources: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for source in sources.items() {
        let set: Vec<Field<'_>> =
            ["configMapRef", "secretRef"].iter().map(|name| source.get(name)).filter(Field::is_set).collect();
        match set.as_slice() {
            [] => errors.push(FieldError::invalid(
                &source.path,
                "",
                "must specify one of: `configMapRef` or `secretRef`",
            )),
            [one] if one.get("name").text().is_empty() => errors.push(one.get("name").required("")),
            [_] => {}
            _ => errors.push(FieldError::invalid(
                &source.path,
                "",
                "may not have more than one field specified at a time",
            )),
        }
    }
    errors
}

fn validate_lifecycle(container: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for hook in ["postStart", "preStop"] {
        let hook = container.get("lifecycle").get(hook);
        if hook.is_set() {
            errors.extend(validate_handler(&hook, &["exec", "httpGet", "tcpSocket", "sleep"]));
        }
    }
    for name in PROBES {
        let probe = container.get(name);
        if !probe.is_set() {
            continue;
        }
        errors.extend(validate_probe(&probe));
        let successes = probe.get("successThreshold");
        if *name != "readinessProbe" && successes.int().is_some_and(|count| count != 1 && count >= 0) {
            errors.push(successes.invalid("must be 1"));
        }
    }
    errors
}

fn validate_probe(probe: &Field<'_>) -> FieldErrors {
    let mut errors = validate_handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"]);
    let numbers =
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];
    errors.extend(probe.negatives(&numbers));
    let grace = probe.get("terminationGracePeriodSeconds");
    if grace.int().is_some_and(|seconds| seconds <= 0) {
        errors.push(grace.invalid("must be greater than 0"));
    }
    errors
}

fn validate_handler(handler: &Field<'_>, kinds: &[&str]) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let set: Vec<Field<'_>> = kinds.iter().map(|kind| handler.get(kind)).filter(Field::is_set).collect();
    if set.is_empty() {
        errors.push(handler.required("must specify a handler type"));
    }
    for extra in set.iter().skip(1) {
        errors.push(extra.forbidden("may not specify more than 1 handler type"));
    }
    let Some(action) = set.first() else { return errors };
    if action.path.ends_with(".exec") && action.get("command").list().is_empty() {
        errors.push(action.get("command").required(""));
    }
    if action.path.ends_with(".httpGet") {
        if action.get("path").text().is_empty() {
            errors.push(action.get("path").required(""));
        }
        errors.extend(action.get("scheme").one_of(&["HTTP", "HTTPS"]));
    }
    if !action.path.ends_with(".exec") {
        errors.extend(target_port(&action.get("port")));
    }
    errors
}
