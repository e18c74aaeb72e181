//! Messages whose JSON is not an object of their fields: times, quantities, numbers or text, raw JSON.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::super::node::Node;
use super::super::{Scalar, scalar};
use super::backwards::Backwards;
use super::decode::{ProtobufError, string};
use super::encode::{EncodeError, mismatch};
use super::wire::{Fields, Raw};

/// `0001-01-01T00:00:00Z`: no time, in Go.
const NO_TIME_SECONDS: i64 = -62_135_596_800;

/// The JSON of a special message; null when Kubernetes would leave it out.
pub(super) fn decode(kind: Scalar, message: &[u8]) -> Result<Value, ProtobufError> {
    match kind {
        Scalar::Time | Scalar::MicroTime => time(kind, message),
        Scalar::Quantity => quantity(message),
        Scalar::IntOrString => int_or_string(message),
        Scalar::Duration => {
            let nanos = varint(message, 1)?.unwrap_or_default();
            Ok(scalar::duration(nanos.cast_signed()).into())
        }
        Scalar::Object | Scalar::Any => raw_json(message),
        Scalar::String | Scalar::Boolean | Scalar::Int32 | Scalar::Int64 | Scalar::Double | Scalar::Bytes => {
            Ok(Value::Null)
        }
    }
}

/// The content of a special message, from its JSON; none is the zero of its type.
pub(super) fn encode(kind: Scalar, node: Option<&Node<'_>>, out: &mut Backwards) -> Result<(), EncodeError> {
    let node = node.filter(|node| !matches!(node, Node::Null));
    match (kind, node) {
        (Scalar::Time | Scalar::MicroTime | Scalar::Object | Scalar::Any, None) => {}
        (Scalar::Time | Scalar::MicroTime, Some(Node::String(text))) if text.is_empty() => {}
        (Scalar::Time | Scalar::MicroTime, Some(node @ Node::String(text))) => {
            let at: Timestamp = text.parse().map_err(|_| mismatch("time", node))?;
            if at.as_second() != NO_TIME_SECONDS {
                let whole = at.as_nanosecond().div_euclid(1_000_000_000);
                let micros = at.as_nanosecond().rem_euclid(1_000_000_000) / 1000;
                let nanos = if kind == Scalar::MicroTime { micros * 1000 } else { 0 };
                out.number(2, nanos as u64);
                out.number(1, (whole as i64).cast_unsigned());
            }
        }
        (Scalar::Quantity, None) => out.bytes(1, b"0"),
        (Scalar::Quantity, Some(Node::String(text) | Node::Number(text))) => {
            let canonical = scalar::quantity(text);
            out.bytes(1, canonical.as_deref().unwrap_or(text).as_bytes());
        }
        (Scalar::IntOrString, node) => {
            let (text, number) = match node {
                None => ("", 0),
                Some(Node::String(text)) => (&**text, 0),
                Some(node @ Node::Number(text)) => ("", whole(text).ok_or_else(|| mismatch("intVal", node))?),
                Some(other) => return Err(mismatch("strVal", other)),
            };
            out.bytes(3, text.as_bytes());
            out.number(2, number.cast_unsigned());
            out.number(1, u64::from(matches!(node, Some(Node::String(_)))));
        }
        (Scalar::Duration, None) => out.number(1, 0),
        (Scalar::Duration, Some(node @ Node::String(text))) => {
            let duration: SignedDuration = text.parse().map_err(|_| mismatch("duration", node))?;
            let nanos = i64::try_from(duration.as_nanos()).map_err(|_| mismatch("duration", node))?;
            out.number(1, nanos.cast_unsigned());
        }
        (Scalar::Object | Scalar::Any, Some(node)) => {
            out.bytes(1, node.clone().into_value().to_string().as_bytes());
        }
        (_, None) => {}
        (_, Some(other)) => return Err(mismatch("special", other)),
    }
    Ok(())
}

/// A whole number, also one that is written with a fraction of zero.
pub(super) fn whole(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().or_else(|| {
        let double = text.parse::<f64>().ok()?;
        (double.fract() == 0.0 && double.abs() < 9.0e15).then_some(double as i64)
    })
}

/// The zero time is no time: Kubernetes sends it as an empty message.
fn time(kind: Scalar, message: &[u8]) -> Result<Value, ProtobufError> {
    if message.is_empty() {
        return Ok(Value::Null);
    }
    let seconds = varint(message, 1)?.unwrap_or_default().cast_signed();
    let nanos = varint(message, 2)?.unwrap_or_default().cast_signed();
    let nanos = i32::try_from(nanos).map_err(|_| ProtobufError::BadTime { seconds })?;
    let at = Timestamp::new(seconds, nanos).map_err(|_| ProtobufError::BadTime { seconds })?;
    Ok(match kind {
        Scalar::MicroTime => scalar::write_micros(at).into(),
        _ => scalar::write_seconds(at).into(),
    })
}

/// An empty quantity is zero.
fn quantity(message: &[u8]) -> Result<Value, ProtobufError> {
    match bytes(message, 1)? {
        None | Some(b"") => Ok("0".into()),
        Some(text) => {
            let text = string(text)?;
            Ok(scalar::quantity(&text).map_err(ProtobufError::BadScalar)?.into())
        }
    }
}

fn int_or_string(message: &[u8]) -> Result<Value, ProtobufError> {
    if varint(message, 1)?.unwrap_or_default() == 0 {
        let number = varint(message, 2)?.unwrap_or_default();
        return Ok(int32(number).into());
    }
    Ok(string(bytes(message, 3)?.unwrap_or_default())?.into())
}

/// Bytes that are JSON already.
fn raw_json(message: &[u8]) -> Result<Value, ProtobufError> {
    match bytes(message, 1)? {
        None | Some(b"") => Ok(Value::Null),
        Some(text) => serde_json::from_slice(text).map_err(|_| ProtobufError::BadJson),
    }
}

/// Negative 32-bit numbers stand on the wire as 64 bits.
pub(super) fn int32(raw: u64) -> i32 {
    (raw & u64::from(u32::MAX)) as u32 as i32
}

fn varint(message: &[u8], wanted: u32) -> Result<Option<u64>, ProtobufError> {
    let mut fields = Fields::new(message);
    let mut found = None;
    while let Some((number, raw)) = fields.next()? {
        match raw {
            Raw::Varint(value) if number == wanted => found = Some(value),
            Raw::Varint(_) | Raw::Fixed64(_) | Raw::Fixed32(_) | Raw::Bytes(_) => {}
        }
    }
    Ok(found)
}

fn bytes(message: &[u8], wanted: u32) -> Result<Option<&[u8]>, ProtobufError> {
    let mut fields = Fields::new(message);
    let mut found = None;
    while let Some((number, raw)) = fields.next()? {
        match raw {
            Raw::Bytes(value) if number == wanted => found = Some(value),
            Raw::Varint(_) | Raw::Fixed64(_) | Raw::Fixed32(_) | Raw::Bytes(_) => {}
        }
    }
    Ok(found)
}
