//! Encoded arguments, in place while they are few: most commands are a name and a key, and need no memory of their own.

use std::ops::Deref;

use bowline_resp::encode_bulk;
use bytes::BytesMut;

use crate::limits::BODY_INLINE_BYTES;

/// Bulk strings, one behind the other.
#[derive(Clone)]
pub(crate) enum Body {
    /// The first `length` bytes count.
    InPlace {
        bytes: [u8; BODY_INLINE_BYTES],
        length: u8,
    },
    Spilled(BytesMut),
}

impl Body {
    pub const fn new() -> Self {
        Self::InPlace { bytes: [0; BODY_INLINE_BYTES], length: 0 }
    }

    /// Makes room for so many more bytes at once: what grows as it is filled ends with room for up to twice as much.
    pub fn reserve(&mut self, bytes: usize) {
        match self {
            Self::InPlace { length, .. } if usize::from(*length) + bytes <= BODY_INLINE_BYTES => {}
            Self::InPlace { .. } => {
                let mut spilled = BytesMut::with_capacity(self.len() + bytes);
                spilled.extend_from_slice(self);
                *self = Self::Spilled(spilled);
            }
            Self::Spilled(spilled) => spilled.reserve(bytes),
        }
    }

    /// Appends a bulk string.
    pub fn push(&mut self, argument: &[u8]) {
        let (bytes, length) = match self {
            Self::InPlace { bytes, length } => (bytes, length),
            Self::Spilled(bytes) => return encode_bulk(argument, bytes),
        };
        let filled = usize::from(*length);
        if let Some(added) = put(&mut bytes[filled..], argument) {
            *length += added as u8;
            return;
        }
        let mut spilled = BytesMut::with_capacity(2 * BODY_INLINE_BYTES + argument.len());
        spilled.extend_from_slice(&bytes[..filled]);
        encode_bulk(argument, &mut spilled);
        *self = Self::Spilled(spilled);
    }
}

/// Most bytes that a bulk string takes.
pub(crate) const fn bulk_bytes_max(length: usize) -> usize {
    const DIGITS_MAX: usize = usize::MAX.ilog10() as usize + 1;
    length + b"$\r\n\r\n".len() + DIGITS_MAX
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::InPlace { bytes, length } => &bytes[..usize::from(*length)],
            Self::Spilled(bytes) => bytes,
        }
    }
}

/// Writes a bulk string to the beginning of `room`; `None`, and nothing that counts, if it does not fit. Its length has two digits
/// at most then.
#[inline]
fn put(room: &mut [u8], argument: &[u8]) -> Option<usize> {
    const { assert!(BODY_INLINE_BYTES < 100, "longer lengths would need more digits") }
    let length = argument.len();
    if length + b"$00\r\n\r\n".len() > room.len() {
        return None;
    }
    let (tens, ones) = (b'0' + (length / 10) as u8, b'0' + (length % 10) as u8);
    let header =
        if length < 10 { &[b'$', ones, b'\r', b'\n'][..] } else { &[b'$', tens, ones, b'\r', b'\n'] };
    let end = header.len() + length;
    room[..header.len()].copy_from_slice(header);
    room[header.len()..end].copy_from_slice(argument);
    room[end..end + 2].copy_from_slice(b"\r\n");
    Some(end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_its_room_does_not_grow() {
        let argument = vec![b'x'; 10 * BODY_INLINE_BYTES];
        let (mut body, mut expected) = (Body::new(), BytesMut::new());
        body.push(b"SET");
        encode_bulk(b"SET", &mut expected);
        encode_bulk(&argument, &mut expected);
        let (length, bytes_max) = (expected.len() - body.len(), bulk_bytes_max(argument.len()));
        assert!((length..length + 20).contains(&bytes_max), "{length} {bytes_max}");
        body.reserve(bytes_max);
        body.push(&argument);
        assert_eq!(&body[..], &expected[..]);
        assert!(matches!(body, Body::Spilled(bytes) if bytes.capacity() < expected.len() + 20));
    }

    #[test]
    fn it_is_the_same_in_place_and_spilled() {
        for length in 0..2 * BODY_INLINE_BYTES {
            let argument = vec![b'x'; length];
            let (mut body, mut expected) = (Body::new(), BytesMut::new());
            for argument in [b"GET".as_slice(), &argument, b""] {
                body.push(argument);
                encode_bulk(argument, &mut expected);
                assert_eq!(&body[..], &expected[..]);
            }
            let is_short = expected.len() < BODY_INLINE_BYTES - 10;
            assert!(matches!(body, Body::InPlace { .. }) || !is_short, "{length}");
        }
    }
}
