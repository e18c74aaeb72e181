//! Messages whose JSON is not an object of their fields: times, quantities, numbers or text, raw JSON.

use jiff::Timestamp;
use serde_json::Value;

use super::super::{Scalar, scalar};
use super::decode::{ProtobufError, string};
use super::wire::{Fields, Raw};

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

/// The zero time is no time: Kubernetes sends it as an empty message.
fn time(kind: Scalar, message: &[u8]) -> Result<Value, ProtobufError> {
    let seconds = varint(message, 1)?.unwrap_or_default().cast_signed();
    let nanos = varint(message, 2)?.unwrap_or_default().cast_signed();
    if seconds == 0 && nanos == 0 {
        return Ok(Value::Null);
    }
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
