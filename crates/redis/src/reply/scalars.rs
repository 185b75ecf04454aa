//! Single values.

use bowline_resp::{Frame, write_double};
use bytes::{Bytes, BytesMut};

use super::{ConversionError, FromReply, elements};
use crate::error::ServerError;

impl FromReply for Frame {
    fn from_reply(frame: Frame) -> Result<Self, ConversionError> {
        Ok(frame)
    }
}

impl FromReply for Bytes {
    fn from_reply(frame: Frame) -> Result<Self, ConversionError> {
        Ok(match frame {
            Frame::Simple(bytes)
            | Frame::Bulk(bytes)
            | Frame::BigNumber(bytes)
            | Frame::Verbatim { text: bytes, .. } => bytes,
            Frame::Integer(number) => number_text(number),
            Frame::Boolean(yes) => number_text(i64::from(yes)),
            Frame::Double(number) => {
                let mut text = BytesMut::new();
                write_double(number, &mut text);
                text.freeze()
            }
            other => return Err(ConversionError::unexpected("a string", &other)),
        })
    }
}

fn number_text(number: i64) -> Bytes {
    Bytes::copy_from_slice(itoa::Buffer::new().format(number).as_bytes())
}

impl FromReply for String {
    fn from_reply(frame: Frame) -> Result<Self, ConversionError> {
        let found = frame.kind();
        let bytes = Bytes::from_reply(frame)?;
        let text = std::str::from_utf8(&bytes);
        text.map(str::to_owned).map_err(|_| ConversionError::Form { expected: "UTF-8 text", found })
    }
}

/// `OK` and nothing else: any other answer says more than that it is done.
impl FromReply for () {
    fn from_reply(frame: Frame) -> Result<Self, ConversionError> {
        match frame {
            Frame::Simple(text) if &text[..] == b"OK" => Ok(()),
            Frame::Simple(_) => {
                Err(ConversionError::Form { expected: "the status OK", found: "simple string" })
            }
            other => Err(ConversionError::unexpected("the status OK", &other)),
        }
    }
}

impl FromReply for bool {
    fn from_reply(frame: Frame) -> Result<Self, ConversionError> {
        match frame {
            Frame::Boolean(yes) => Ok(yes),
            Frame::Integer(0) => Ok(false),
            Frame::Integer(1) => Ok(true),
            Frame::Integer(_) => Err(ConversionError::Range { expected: "bool", found: "integer" }),
            other => Err(ConversionError::unexpected("a boolean", &other)),
        }
    }
}

impl<T: FromReply> FromReply for Option<T> {
    fn from_reply(frame: Frame) -> Result<Self, ConversionError> {
        if frame.is_null() { Ok(None) } else { T::from_reply(frame).map(Some) }
    }
}

impl<T: FromReply> FromReply for Result<T, ServerError> {
    fn from_reply(frame: Frame) -> Result<Self, ConversionError> {
        match frame {
            Frame::Error(text) => Ok(Err(ServerError::new(&text))),
            frame => T::from_reply(frame).map(Ok),
        }
    }
}

impl FromReply for f64 {
    fn from_reply(frame: Frame) -> Result<Self, ConversionError> {
        match &frame {
            Frame::Double(number) => Ok(*number),
            Frame::Integer(number) => {
                exact(*number).ok_or(ConversionError::Range { expected: "f64", found: "integer" })
            }
            Frame::Boolean(yes) => Ok(f64::from(u8::from(*yes))),
            other => number_from_text(other, "a number"),
        }
    }
}

impl FromReply for f32 {
    /// Rounds, but not to infinity.
    fn from_reply(frame: Frame) -> Result<Self, ConversionError> {
        let found = frame.kind();
        let wide = f64::from_reply(frame)?;
        let narrow = wide as Self;
        if narrow.is_infinite() && wide.is_finite() {
            return Err(ConversionError::Range { expected: "f32", found });
        }
        Ok(narrow)
    }
}

/// The number without rounding, if there is such a double.
fn exact(number: i64) -> Option<f64> {
    const WHOLE_MAX: u64 = 1 << f64::MANTISSA_DIGITS;
    (number.unsigned_abs() <= WHOLE_MAX).then_some(number as f64)
}

/// A number out of a string of any kind.
fn number_from_text<N: std::str::FromStr>(
    frame: &Frame,
    expected: &'static str,
) -> Result<N, ConversionError> {
    let bytes = match frame {
        Frame::Bulk(bytes)
        | Frame::Simple(bytes)
        | Frame::BigNumber(bytes)
        | Frame::Verbatim { text: bytes, .. } => bytes,
        other => return Err(ConversionError::unexpected(expected, other)),
    };
    let number = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
    number.ok_or(ConversionError::Form { expected, found: frame.kind() })
}

/// The whole number that a frame is, in a type that holds all that an answer can bring.
fn whole(frame: &Frame, expected: &'static str) -> Result<i128, ConversionError> {
    match frame {
        Frame::Integer(number) => Ok(i128::from(*number)),
        Frame::Boolean(yes) => Ok(i128::from(*yes)),
        Frame::Double(number) => {
            let is_whole = number.fract() == 0.0 && exact(*number as i64) == Some(*number);
            let found = frame.kind();
            is_whole.then_some(*number as i128).ok_or(ConversionError::Form { expected, found })
        }
        text => number_from_text(text, expected),
    }
}

macro_rules! integers {
    ($($integer:ident),*) => {$(
        impl FromReply for $integer {
            fn from_reply(frame: Frame) -> Result<Self, ConversionError> {
                let number = whole(&frame, concat!("a whole number (", stringify!($integer), ")"))?;
                let found = frame.kind();
                number.try_into().map_err(|_| ConversionError::Range { expected: stringify!($integer), found })
            }
        }
    )*};
}

integers!(i8, i16, u16, i32, u32, i64, u64, i128, u128, isize, usize);

impl FromReply for u8 {
    fn from_reply(frame: Frame) -> Result<Self, ConversionError> {
        let number = whole(&frame, "a whole number (u8)")?;
        let found = frame.kind();
        number.try_into().map_err(|_| ConversionError::Range { expected: "u8", found })
    }

    /// The bytes of a string, or an array of small numbers.
    fn several_from_reply(frame: Frame) -> Result<Vec<Self>, ConversionError> {
        match frame {
            Frame::Array(_) | Frame::Set(_) => {
                elements(frame, "a string")?.into_iter().map(Self::from_reply).collect()
            }
            frame => Bytes::from_reply(frame).map(Vec::from),
        }
    }
}
