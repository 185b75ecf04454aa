//! The text of a floating-point number, as Redis ≥ 7.2 and Valkey write it: the shortest digits that read back as the same
//! number, with an exponent only where the plain form would be long.

use std::fmt::Write;

use bytes::{BufMut, BytesMut};

/// Digits of a plain whole number may exceed the significant ones by this many zeros before an exponent is used.
const TRAILING_ZEROS_MAX: usize = 7;
/// Decimal places up to which a fraction is always written plainly.
const PLAIN_PLACES_MAX: i32 = 6;
/// Numbers of a smaller decimal exponent than this are always written plainly.
const PLAIN_EXPONENT_END: u32 = 4;

/// Appends `number` to `out`: `0.1`, `3`, `1e+25`, `1.5e-9`, `inf`, `-inf`, `nan`.
pub fn write_double(number: f64, out: &mut BytesMut) {
    if number.is_nan() {
        return out.put_slice(b"nan");
    }
    if number.is_sign_negative() {
        out.put_u8(b'-');
    }
    let number = number.abs();
    if number.is_infinite() {
        return out.put_slice(b"inf");
    }
    if number == 0.0 {
        return out.put_u8(b'0');
    }
    let mut scientific = String::new();
    write!(scientific, "{number:e}").expect("a string takes any text");
    let (mantissa, exponent) = scientific.split_once('e').expect("the form has an exponent");
    let digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    let exponent: i32 = exponent.parse().expect("the exponent of an f64 fits");
    write_digits(&digits, exponent, out);
}

/// Writes `digits` with a decimal point after the first, times ten to the `exponent`.
fn write_digits(digits: &[u8], exponent: i32, out: &mut BytesMut) {
    let count = i32::try_from(digits.len()).expect("an f64 has at most 17 significant digits");
    let places = count - 1 - exponent;
    let magnitude = exponent.unsigned_abs();
    if places <= 0 {
        if magnitude as usize >= digits.len() + TRAILING_ZEROS_MAX {
            return write_scientific(digits, exponent, out);
        }
        out.put_slice(digits);
        out.put_bytes(b'0', places.unsigned_abs() as usize);
    } else if places <= PLAIN_PLACES_MAX || magnitude < PLAIN_EXPONENT_END {
        let whole = usize::try_from(exponent + 1).unwrap_or(0);
        if whole == 0 {
            out.put_slice(b"0.");
            out.put_bytes(b'0', places.unsigned_abs() as usize - digits.len());
            out.put_slice(digits);
        } else {
            out.put_slice(&digits[..whole]);
            out.put_u8(b'.');
            out.put_slice(&digits[whole..]);
        }
    } else {
        write_scientific(digits, exponent, out);
    }
}

fn write_scientific(digits: &[u8], exponent: i32, out: &mut BytesMut) {
    out.put_u8(digits[0]);
    if digits.len() > 1 {
        out.put_u8(b'.');
        out.put_slice(&digits[1..]);
    }
    out.put_slice(if exponent < 0 { b"e-" } else { b"e+" });
    out.put_slice(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(number: f64) -> String {
        let mut out = BytesMut::new();
        write_double(number, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn numbers_are_written_as_valkey_writes_them() {
        let check = |number, expected: &str| assert_eq!(text(number), expected);
        check(0.0, "0");
        check(-0.0, "-0");
        check(1.0, "1");
        check(-3.5, "-3.5");
        check(0.1, "0.1");
        check(100.0, "100");
        check(10_000_000.0, "10000000");
        check(100_000_000.0, "1e+8");
        check(1e25, "1e+25");
        check(0.001, "0.001");
        check(0.000_001, "0.000001");
        check(0.000_000_1, "1e-7");
        check(1.5e-9, "1.5e-9");
        check(std::f64::consts::PI, "3.141592653589793");
        check(1_234.567_890_123, "1234.567890123");
        check(f64::MAX, "1.7976931348623157e+308");
        check(f64::INFINITY, "inf");
        check(f64::NEG_INFINITY, "-inf");
        check(f64::NAN, "nan");
    }

    proptest! {
        #[test]
        fn every_number_reads_back(number in any::<f64>()) {
            let back: f64 = text(number).parse().unwrap();
            prop_assert!(back.to_bits() == number.to_bits() || (back.is_nan() && number.is_nan()));
        }
    }
}
