//! Who manages the fields that a write sets: how a request becomes a manager.

use http::header::USER_AGENT;
use kinds::Kind;
use kinds::schema::apply::{FieldSet, Writer, track};
use serde_json::Value;

use super::create::timestamp;
use super::write::Part;
use crate::server::{Call, Shared};
use crate::status::Status;

/// Longer names are refused, or cut when the client did not give one itself.
pub(crate) const MANAGER_BYTES_MAX: usize = 128;

/// Whether a write keeps the managed fields true, or brings them along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Managing {
    /// The writer comes to manage what it changes.
    Track,
    /// The change has done so already: it is an apply.
    Applied,
}

/// Sets the managed fields of `new`, unless an apply has. Before admission, so that nobody comes to manage what plugins
/// set.
pub(crate) fn manage(
    call: &Call<'_>,
    (managing, part): (Managing, Part),
    old: Option<&Value>,
    new: &mut Value,
) -> Result<(), Status> {
    if managing == Managing::Track {
        let (schema, ty) = call.server.type_of_kind(call.kind)?;
        track(schema, ty, old, new, &writer(call, part));
    }
    Ok(())
}

/// The manager that this request is.
pub(crate) fn writer(call: &Call<'_>, part: Part) -> Writer {
    let named = call.query.get("fieldManager");
    let agent = || call.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    Writer {
        manager: if named.is_empty() { manager_of_agent(agent()) } else { named.to_owned() },
        api_version: call.kind.api_version(),
        subresource: call.path.subresource.clone().unwrap_or_default(),
        now: timestamp(call),
        ignored: unchangeable(call.server, call.kind, part),
        kind: Some(call.kind).filter(|kind| kind.custom.is_none()),
    }
}

/// The program in front of the first slash: `kubectl` of `kubectl/v1.36.0 (linux/amd64)`.
fn manager_of_agent(agent: &str) -> String {
    let program = agent.split('/').next().unwrap_or_default();
    let mut manager = String::new();
    for letter in program.chars().filter(|letter| !letter.is_control()) {
        if manager.len() + letter.len_utf8() > MANAGER_BYTES_MAX {
            break;
        }
        manager.push(letter);
    }
    manager
}

/// What a write of this part leaves as it was.
fn unchangeable(server: &Shared, kind: &Kind, part: Part) -> FieldSet {
    match part {
        Part::Object if kind.subresource("status").is_some() => FieldSet::of_names(&[&["status"]]),
        Part::Object | Part::Trusted => FieldSet::default(),
        Part::Status | Part::View(_) => {
            let own = match part {
                Part::View(view) => view.part.split('.').next().unwrap_or_default(),
                _ => "status",
            };
            let ty = server.type_of_kind(kind).ok().and_then(|(schema, ty)| schema.as_struct(ty));
            let fields = ty.map(|ty| &ty.fields[..]).unwrap_or_default();
            let names: Vec<[&str; 1]> = fields
                .iter()
                .map(|field| [&*field.name])
                .filter(|[name]| *name != "metadata" && *name != own)
                .collect();
            FieldSet::of_names(&names.iter().map(<[&str; 1]>::as_slice).collect::<Vec<_>>())
        }
    }
}
