//! Priority: a pod without a priority class has priority 0 and may preempt.

use kinds::{FieldError, FieldErrors, meta, tree};

use super::{Admit, Attempt, Plugin};
use crate::status::Status;

pub(super) const PLUGIN: Plugin = Plugin { name: "Priority", admit: Admit::Object(admit) };

/// The classes that exist without being served as objects.
const SYSTEM_CLASSES: &[(&str, i64)] =
    &[("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

fn admit(attempt: &mut Attempt<'_>) -> Result<(), Status> {
    if !attempt.creates("", "Pod") {
        return Ok(());
    }
    let class = tree::text(attempt.object, "spec.priorityClassName").to_owned();
    let priority = match SYSTEM_CLASSES.iter().find(|(name, _)| *name == class) {
        Some((_, priority)) => *priority,
        None if class.is_empty() => 0,
        None => {
            let why = format!("no PriorityClass with name {class} was found");
            return Err(Status::forbidden_object(attempt.kind, attempt.name, &why));
        }
    };
    if tree::int(attempt.object, "spec.priority").is_some_and(|asked| asked != priority) {
        let detail = format!(
            "the integer value of priority ({}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name",
            tree::get(attempt.object, "spec.priority")
        );
        let mut errors = FieldErrors::new();
        errors.push(FieldError::forbidden("spec.priority", detail));
        return Err(Status::invalid(attempt.kind, meta::name(attempt.object), &errors));
    }
    tree::set(attempt.object, "spec.priority", priority);
    tree::set_default_text(attempt.object, "spec.preemptionPolicy", "PreemptLowerPriority");
    Ok(())
}
