//! Where the content of a sparse file belongs: GNU tar's old map, and pax's versions 0.1 and 1.0. Pure but for reading.

use std::io::Read;

use super::UnpackError;
use super::header::{BLOCK, decimal, number, size};
use super::reader::Content;

/// A map longer than this is an attack.
const PIECES_MAX: usize = 1 << 20;

/// A run of bytes in the file; the archive holds the runs one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// The map must rise, stay in the file, and use what is stored.
pub(super) fn check(pieces: &[Piece], file: u64, stored: u64) -> Result<(), UnpackError> {
    const BAD: UnpackError = UnpackError::Damaged("a sparse file's map does not fit");
    let mut at = 0_u64;
    let mut used = 0_u64;
    for piece in pieces {
        let end = piece.offset.checked_add(piece.length).ok_or(BAD)?;
        if piece.offset < at || end > file {
            return Err(BAD);
        }
        at = end;
        used += piece.length;
    }
    if used == stored { Ok(()) } else { Err(BAD) }
}

/// The old map: four pieces in the header, 21 in each block after it.
pub(super) fn old(
    header: &[u8; BLOCK],
    mut more: impl FnMut() -> Result<[u8; BLOCK], UnpackError>,
) -> Result<(Vec<Piece>, u64), UnpackError> {
    let mut pieces = Vec::new();
    take(&header[386..482], &mut pieces)?;
    let mut goes_on = header[482] == 1;
    while goes_on {
        let block = more()?;
        take(&block[..504], &mut pieces)?;
        goes_on = block[504] == 1;
    }
    Ok((pieces, size(number(&header[483..495])?)?))
}

fn take(fields: &[u8], pieces: &mut Vec<Piece>) -> Result<(), UnpackError> {
    for field in fields.chunks_exact(24).filter(|field| field[12] != 0 && field[0] != 0) {
        pieces.push(Piece { offset: size(number(&field[..12])?)?, length: size(number(&field[12..])?)? });
    }
    if pieces.len() > PIECES_MAX {
        return Err(UnpackError::Damaged("a sparse file's map is too long"));
    }
    Ok(())
}

/// Version 0.1: `offset,length,offset,length`.
pub(super) fn listed(value: &[u8]) -> Result<Vec<Piece>, UnpackError> {
    if value.is_empty() {
        return Ok(Vec::new());
    }
    let numbers: Vec<u64> = value.split(|byte| *byte == b',').map(decimal).collect::<Result<_, _>>()?;
    if !numbers.len().is_multiple_of(2) {
        return Err(UnpackError::Damaged("a sparse file's map is odd"));
    }
    Ok(numbers.chunks_exact(2).map(|pair| Piece { offset: pair[0], length: pair[1] }).collect())
}

/// Version 1.0: the map stands before the content, a number a line, filled up to a block.
pub(super) fn leading(content: &mut Content<'_, impl Read>) -> Result<Vec<Piece>, UnpackError> {
    let mut block = [0; BLOCK];
    let mut at = BLOCK;
    let mut line = |digits_max: usize| -> Result<u64, UnpackError> {
        let mut digits = Vec::new();
        loop {
            if at == BLOCK {
                content.read_exact(&mut block).map_err(|_| UnpackError::CutShort)?;
                at = 0;
            }
            let byte = block[at];
            at += 1;
            if byte == b'\n' {
                return decimal(&digits);
            }
            digits.push(byte);
            if digits.len() > digits_max {
                return Err(UnpackError::Damaged("a sparse file's map is none"));
            }
        }
    };
    const DIGITS_MAX: usize = 20;
    let count = usize::try_from(line(DIGITS_MAX)?).unwrap_or(usize::MAX);
    if count > PIECES_MAX {
        return Err(UnpackError::Damaged("a sparse file's map is too long"));
    }
    (0..count).map(|_| Ok(Piece { offset: line(DIGITS_MAX)?, length: line(DIGITS_MAX)? })).collect()
}
