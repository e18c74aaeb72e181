//! Which representation a client wants (`Accept`), and which one it sent (`Content-Type`).
//!
//! What has no protobuf message is answered with JSON, if the client takes that as well: Tables, custom objects, and what
//! only this server has.

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};

use crate::status::Status;

pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    Yaml,
    Protobuf,
}

/// What an answer is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The object, or the list, itself.
    Object,
    /// A `meta.k8s.io` Table of this version.
    Table { version: &'static str },
    /// Metadata alone, of this version.
    PartialMetadata { version: &'static str },
    /// `apidiscovery.k8s.io` of this version.
    AggregatedDiscovery { version: &'static str },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) encoding: Encoding,
    pub(crate) shape: Shape,
}

/// How a body was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFormat {
    Json,
    Yaml,
    Protobuf,
}

/// Which alternative shapes a handler can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    Objects,
    /// Only their metadata has a protobuf message.
    CustomObjects,
    Discovery,
    /// No other shape: old discovery, errors.
    Plain,
    /// No other shape, and no protobuf message.
    WithoutMessage,
}

/// The first acceptable representation, in the client's order of preference.
pub(crate) fn accepted(headers: &HeaderMap, offer: Offer) -> Result<Accepted, Status> {
    let mut ranges: Vec<MediaRange<'_>> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(MediaRange::parse)
        .collect();
    if ranges.is_empty() {
        return Ok(Accepted { encoding: Encoding::Json, shape: Shape::Object });
    }
    // Of equal wishes, the one that says what it wants goes first.
    ranges.sort_by_key(|range| (std::cmp::Reverse(range.quality_thousandths), range.is_wild()));
    ranges.iter().find_map(|range| range.answer(offer)).ok_or_else(Status::not_acceptable)
}

/// How an error is written to a client: nobody is refused one.
pub(crate) fn encoding_of_errors(headers: &HeaderMap) -> Encoding {
    accepted(headers, Offer::Plain).map_or(Encoding::Json, |accepted| accepted.encoding)
}

/// The format of a request's body; none named means JSON.
pub(crate) fn body_format(headers: &HeaderMap) -> Result<BodyFormat, Status> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(BodyFormat::Json) };
    match media_type(value.to_str().unwrap_or_default()).as_str() {
        "" | "application/json" => Ok(BodyFormat::Json),
        "application/yaml" => Ok(BodyFormat::Yaml),
        PROTOBUF => Ok(BodyFormat::Protobuf),
        _ => Err(Status::unsupported_media_type(OBJECT_MEDIA_TYPES)),
    }
}

/// What a request for an object may be written in.
pub(crate) const OBJECT_MEDIA_TYPES: &[&str] = &["application/json", "application/yaml", PROTOBUF];

/// `application/json; charset=utf-8` → `application/json`.
pub(crate) fn media_type(header: &str) -> String {
    header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

struct MediaRange<'a> {
    media_type: String,
    shape: Option<&'a str>,
    group: Option<&'a str>,
    version: Option<&'a str>,
    quality_thousandths: u32,
}

impl<'a> MediaRange<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next()?.to_ascii_lowercase();
        let mut range =
            Self { media_type, shape: None, group: None, version: None, quality_thousandths: 1000 };
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            match key.trim() {
                "as" => range.shape = Some(value.trim()),
                "g" => range.group = Some(value.trim()),
                "v" => range.version = Some(value.trim()),
                "q" => range.quality_thousandths = thousandths(value.trim()),
                _ => {}
            }
        }
        Some(range)
    }

    fn is_wild(&self) -> bool {
        self.media_type.ends_with("/*")
    }

    fn answer(&self, offer: Offer) -> Option<Accepted> {
        let encoding = match self.media_type.as_str() {
            "application/json" | "application/*" | "*/*" => Encoding::Json,
            "application/yaml" => Encoding::Yaml,
            PROTOBUF => Encoding::Protobuf,
            _ => return None,
        };
        let gives_objects = matches!(offer, Offer::Objects | Offer::CustomObjects);
        let shape = match (self.shape, self.group, self.version) {
            (None, _, _) => Shape::Object,
            (Some("Table"), Some("meta.k8s.io"), version) if gives_objects => {
                Shape::Table { version: known(version, &["v1", "v1beta1"])? }
            }
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some("meta.k8s.io"), version)
                if gives_objects =>
            {
                Shape::PartialMetadata { version: known(version, &["v1", "v1beta1"])? }
            }
            (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), version)
                if offer == Offer::Discovery =>
            {
                Shape::AggregatedDiscovery { version: known(version, &["v2", "v2beta1"])? }
            }
            (Some(_), _, _) => return None,
        };
        let has_message = match (&shape, offer) {
            (Shape::Table { .. }, _) => false,
            (Shape::Object, Offer::CustomObjects | Offer::WithoutMessage) => false,
            (Shape::Object | Shape::PartialMetadata { .. } | Shape::AggregatedDiscovery { .. }, _) => true,
        };
        (encoding != Encoding::Protobuf || has_message).then_some(Accepted { encoding, shape })
    }
}

fn known(version: Option<&str>, versions: &[&'static str]) -> Option<&'static str> {
    versions.iter().copied().find(|v| Some(*v) == version)
}

fn thousandths(quality: &str) -> u32 {
    let (whole, fraction) = quality.split_once('.').unwrap_or((quality, ""));
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    whole.parse::<u32>().unwrap_or(1) * 1000 + digits.parse::<u32>().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(accept: &str, offer: Offer, expected: Expect) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        let shown = match accepted(&headers, offer) {
            Ok(accepted) => format!("{:?} {:?}", accepted.encoding, accepted.shape),
            Err(status) => format!("{} {}", status.code().as_u16(), status.message()),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn the_first_acceptable_range_wins() {
        check("application/json, */*", Offer::Objects, expect!["Json Object"]);
        let first = "application/vnd.kubernetes.protobuf,application/json";
        check(first, Offer::Objects, expect!["Protobuf Object"]);
        check(first, Offer::CustomObjects, expect!["Json Object"]);
        check("*/*, application/vnd.kubernetes.protobuf", Offer::Objects, expect!["Protobuf Object"]);
        check(
            "application/vnd.kubernetes.protobuf;q=0.5, application/json",
            Offer::Objects,
            expect!["Json Object"],
        );
        check("application/vnd.kubernetes.protobuf;stream=watch", Offer::Objects, expect!["Protobuf Object"]);
        check("application/yaml", Offer::Objects, expect!["Yaml Object"]);
        check("application/json;q=0.1, application/yaml;q=0.9", Offer::Objects, expect!["Yaml Object"]);
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
            Offer::Objects,
            expect![[r#"Json Table { version: "v1" }"#]],
        );
        check(
            "application/json;as=Bogus;g=meta.k8s.io;v=v1,application/json",
            Offer::Objects,
            expect!["Json Object"],
        );
        check(
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            Offer::Discovery,
            expect![[r#"Json AggregatedDiscovery { version: "v2" }"#]],
        );
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        check(metadata, Offer::CustomObjects, expect![[r#"Protobuf PartialMetadata { version: "v1" }"#]]);
        check(
            "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json",
            Offer::Objects,
            expect!["Json Object"],
        );
        let refused = expect![
            "406 only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
        ];
        check("application/vnd.kubernetes.protobuf", Offer::CustomObjects, refused);
        check(
            "text/html",
            Offer::Objects,
            expect![
                "406 only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
            ],
        );
    }
}
