//! Formats by name, in the words of the rules for names.

use base64::Engine as _;

use super::super::functions::{Overload, function, method};
use super::super::meter::Failure;
use super::super::types::Pattern as P;
use super::super::value::Val;
use super::url::Url;
use crate::names;

/// What a text should look like.
#[derive(Debug)]
pub(crate) struct Format {
    name: &'static str,
    problems: fn(&str) -> Vec<String>,
}

static FORMATS: &[Format] = &[
    Format { name: "dns1123Label", problems: |text| names::label(text).into_iter().collect() },
    Format { name: "dns1123LabelPrefix", problems: |text| names::label(&whole(text)).into_iter().collect() },
    Format { name: "dns1123Subdomain", problems: |text| names::subdomain(text).into_iter().collect() },
    Format {
        name: "dns1123SubdomainPrefix",
        problems: |text| names::subdomain(&whole(text)).into_iter().collect(),
    },
    Format { name: "dns1035Label", problems: |text| names::label_1035(text).into_iter().collect() },
    Format {
        name: "dns1035LabelPrefix",
        problems: |text| names::label_1035(&whole(text)).into_iter().collect(),
    },
    Format { name: "qualifiedName", problems: names::qualified },
    Format { name: "labelValue", problems: names::label_value },
    Format { name: "uri", problems: |text| Url::parse(text).err().into_iter().collect() },
    Format {
        name: "uuid",
        problems: |text| said(crate::custom::fits("uuid", text), "does not match the UUID format"),
    },
    Format {
        name: "byte",
        problems: |text| {
            said(base64::engine::general_purpose::STANDARD.decode(text).is_ok(), "invalid base64")
        },
    },
    Format { name: "date", problems: |text| said(crate::custom::fits("date", text), "invalid date") },
    Format {
        name: "datetime",
        problems: |text| said(crate::custom::fits("date-time", text), "invalid datetime"),
    },
];

pub(in super::super) static ALL: &[Overload] = &[
    function("format.named", &[P::Text], P::Optional(&P::Format), |args, _| {
        let name = args[0].as_text()?;
        Ok(match FORMATS.iter().find(|format| format.name == name) {
            Some(format) => Val::some(Val::Format(format)),
            None => Val::Optional(None),
        })
    }),
    method("validate", &[P::Format, P::Text], P::Optional(&P::List(&P::Text)), |args, _| {
        let Val::Format(format) = &args[0] else { return Err(Failure::NoOverload) };
        let problems = (format.problems)(args[1].as_text()?);
        Ok(match problems.is_empty() {
            true => Val::Optional(None),
            false => Val::some(Val::list(problems.into_iter().map(Val::text).collect())),
        })
    }),
    function("format.dns1123Label", &[], P::Format, |_, _| Ok(Val::Format(&FORMATS[0]))),
    function("format.dns1123LabelPrefix", &[], P::Format, |_, _| Ok(Val::Format(&FORMATS[1]))),
    function("format.dns1123Subdomain", &[], P::Format, |_, _| Ok(Val::Format(&FORMATS[2]))),
    function("format.dns1123SubdomainPrefix", &[], P::Format, |_, _| Ok(Val::Format(&FORMATS[3]))),
    function("format.dns1035Label", &[], P::Format, |_, _| Ok(Val::Format(&FORMATS[4]))),
    function("format.dns1035LabelPrefix", &[], P::Format, |_, _| Ok(Val::Format(&FORMATS[5]))),
    function("format.qualifiedName", &[], P::Format, |_, _| Ok(Val::Format(&FORMATS[6]))),
    function("format.labelValue", &[], P::Format, |_, _| Ok(Val::Format(&FORMATS[7]))),
    function("format.uri", &[], P::Format, |_, _| Ok(Val::Format(&FORMATS[8]))),
    function("format.uuid", &[], P::Format, |_, _| Ok(Val::Format(&FORMATS[9]))),
    function("format.byte", &[], P::Format, |_, _| Ok(Val::Format(&FORMATS[10]))),
    function("format.date", &[], P::Format, |_, _| Ok(Val::Format(&FORMATS[11]))),
    function("format.datetime", &[], P::Format, |_, _| Ok(Val::Format(&FORMATS[12]))),
];

/// What begins a name may end in a dash; that what follows is good is assumed.
fn whole(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(front) => format!("{front}-a"),
        None => prefix.to_owned(),
    }
}

fn said(is_good: bool, problem: &str) -> Vec<String> {
    if is_good { Vec::new() } else { vec![problem.to_owned()] }
}
