//! What objects that name no class have in common with others that name none: the newest class marked as default is theirs.

use kinds::{meta, tree};
use serde_json::Value;

use super::Attempt;
use crate::status::Status;

/// Which objects have classes, and how a class is marked.
pub(super) struct Classes {
    /// Group and kind of what has a class.
    pub(super) of: (&'static str, &'static str),
    /// Where it is named.
    pub(super) field: &'static str,
    /// How old clients name it.
    pub(super) annotation: &'static str,
    /// Group and plural of the classes.
    pub(super) resource: (&'static str, &'static str),
    /// A class with one of these annotations set to `true` is a default.
    pub(super) marks: &'static [&'static str],
}

/// Names the default class in a new object that names none; without a default it stays as it is.
pub(super) async fn name_default(attempt: &mut Attempt<'_>, classes: &Classes) -> Result<(), Status> {
    let (group, kind) = classes.of;
    let names_one = |object: &Value| {
        !tree::get(object, classes.field).is_null() || meta::annotation(object, classes.annotation).is_some()
    };
    if !attempt.creates(group, kind) || names_one(attempt.object) {
        return Ok(());
    }
    let (group, plural) = classes.resource;
    let known = attempt.all(&attempt.scope(group, plural, None)?).await?;
    let is_default =
        |class: &&Value| classes.marks.iter().any(|mark| meta::annotation(class, mark) == Some("true"));
    // The newest; of several of one second, the first by name, which is the order that they come in.
    let made = |class: &Value| tree::text(class, "metadata.creationTimestamp").to_owned();
    let newest = known.iter().filter(is_default).rev().max_by_key(|class| made(class));
    if let Some(class) = newest {
        tree::set(attempt.object, classes.field, meta::name(class));
    }
    Ok(())
}
