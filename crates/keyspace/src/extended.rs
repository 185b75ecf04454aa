//! Arithmetic of 80-bit floats, in integers.
//!
//! INCRBYFLOAT and HINCRBYFLOAT of Redis add in C's `long double` (64 bits of mantissa on x86-64) and print 17 decimals
//! without trailing zeros, so that 0.1 + 0.2 is "0.3". Doing the same steps gives the same text on every machine; the
//! result, not the command, is what replicates.

use std::cmp::Ordering;

use crate::limits::{FLOAT_EXPONENT_MAX, FLOAT_TEXT_BYTES_MAX};

/// Largest exponent of the top bit of an 80-bit float.
const EXPONENT_MAX: i32 = 16_383;
/// Decimals that are printed.
const DECIMALS: usize = 17;
const TEN_TO_DECIMALS: u128 = 100_000_000_000_000_000;

/// A finite number: ± `mantissa` × 2^`exponent`; the top bit of the mantissa is set unless the number is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extended {
    negative: bool,
    mantissa: u64,
    exponent: i32,
}

/// Why a text is no number that can be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotANumber {
    /// Not a decimal number, or one outside the range.
    Malformed,
    /// `inf`: a number to the parser, refused by the addition.
    Infinite,
}

impl Extended {
    /// Reads a decimal number; the nearest 80-bit float is taken. Hexadecimal numbers, which C reads too, are refused.
    ///
    /// # Errors
    /// See [`NotANumber`].
    pub fn parse(text: &[u8]) -> Result<Self, NotANumber> {
        let (negative, rest) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        if rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity") {
            return Err(NotANumber::Infinite);
        }
        let (digits, exponent) = decimal(rest).ok_or(NotANumber::Malformed)?;
        if digits.is_zero() {
            return Ok(Self { negative, mantissa: 0, exponent: 0 });
        }
        let (mut numerator, mut denominator) = (digits, Big::from(1));
        let scale = if exponent >= 0 { &mut numerator } else { &mut denominator };
        for _ in 0..exponent.unsigned_abs() {
            scale.multiply_add(10, 0);
        }
        Self::quotient(negative, numerator, denominator).ok_or(NotANumber::Malformed)
    }

    fn quotient(negative: bool, mut numerator: Big, mut denominator: Big) -> Option<Self> {
        // Scale until 1 ≤ numerator / denominator < 2; then each step of the long division gives one bit.
        let mut exponent = numerator.bits() - denominator.bits();
        if exponent >= 0 {
            denominator.shift_left(exponent)
        } else {
            numerator.shift_left(-exponent)
        }
        if numerator.cmp(&denominator) == Ordering::Less {
            numerator.shift_left(1);
            exponent -= 1;
        }
        let mut bits: u128 = 0;
        // 64 bits of mantissa and one to round by.
        for _ in 0..65 {
            bits <<= 1;
            if numerator.cmp(&denominator) != Ordering::Less {
                numerator.subtract(&denominator);
                bits |= 1;
            }
            numerator.shift_left(1);
        }
        Self::rounded(negative, (bits << 1) | u128::from(!numerator.is_zero()), exponent - 65)
    }

    /// The nearest float to `value` × 2^`exponent`, ties to even; the lowest bit of `value` may stand for "and more".
    fn rounded(negative: bool, value: u128, exponent: i32) -> Option<Self> {
        if value == 0 {
            return Some(Self { negative: false, mantissa: 0, exponent: 0 });
        }
        let surplus = 64 - value.leading_zeros().cast_signed();
        let (mut mantissa, mut exponent) = if surplus <= 0 {
            (value << -surplus, exponent + surplus)
        } else {
            (round_shift(value, surplus.unsigned_abs()), exponent + surplus)
        };
        if mantissa >> 64 != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
        let mantissa = u64::try_from(mantissa).ok()?;
        (-EXPONENT_MAX..=EXPONENT_MAX).contains(&(exponent + 63)).then_some(Self {
            negative,
            mantissa,
            exponent,
        })
    }

    /// The sum, or `None` when it is infinite.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        if self.mantissa == 0 {
            return Some(other);
        }
        if other.mantissa == 0 {
            return Some(self);
        }
        let (big, small) = if (self.exponent, self.mantissa) >= (other.exponent, other.mantissa) {
            (self, other)
        } else {
            (other, self)
        };
        // One bit on top for the carry, 63 below for what is shifted out; the rest is kept as "and more".
        let high = u128::from(big.mantissa) << 63;
        let low = u128::from(small.mantissa) << 63;
        let distance = u32::try_from(big.exponent - small.exponent).unwrap_or(u32::MAX);
        let lost = distance >= 127 || low & ((1 << distance) - 1) != 0;
        let low = if distance >= 127 { 1 } else { (low >> distance) | u128::from(lost) };
        let sum = if big.negative == small.negative { high + low } else { high - low };
        Self::rounded(big.negative, sum, big.exponent - 63)
    }

    /// The number with at most 17 decimals and no trailing zeros.
    #[must_use]
    pub fn to_text(self) -> String {
        let (mut whole, fraction) = if self.exponent >= 0 {
            let mut whole = Big::from(self.mantissa);
            whole.shift_left(self.exponent);
            (whole.into_decimal(), 0)
        } else {
            let scaled = u128::from(self.mantissa) * TEN_TO_DECIMALS;
            let scaled = round_shift(scaled, self.exponent.unsigned_abs());
            ((scaled / TEN_TO_DECIMALS).to_string(), scaled % TEN_TO_DECIMALS)
        };
        if fraction != 0 {
            let decimals = format!("{fraction:0width$}", width = DECIMALS);
            whole.push('.');
            whole.push_str(decimals.trim_end_matches('0'));
        }
        if self.negative && whole != "0" {
            whole.insert(0, '-');
        }
        whole
    }
}

/// `value` ÷ 2^`bits`, rounded to the nearest, ties to even.
fn round_shift(value: u128, bits: u32) -> u128 {
    match bits {
        0 => value,
        1..=127 => {
            let (quotient, rest, half) = (value >> bits, value & ((1 << bits) - 1), 1 << (bits - 1));
            quotient + u128::from(rest > half || (rest == half && quotient & 1 == 1))
        }
        _ => 0,
    }
}

/// Digits and decimal exponent of `123.45e-6`.
fn decimal(text: &[u8]) -> Option<(Big, i32)> {
    if text.len() > FLOAT_TEXT_BYTES_MAX {
        return None;
    }
    let mark = text.iter().position(|byte| byte.eq_ignore_ascii_case(&b'e'));
    let (number, exponent) = match mark {
        None => (text, 0),
        Some(mark) => {
            let exponent = std::str::from_utf8(&text[mark + 1..]).ok()?;
            (&text[..mark], exponent.parse::<i32>().ok()?)
        }
    };
    let mut digits = Big::from(0);
    let (mut seen, mut point, mut decimals) = (0, false, 0_i32);
    for &byte in number {
        match byte {
            b'0'..=b'9' => {
                digits.multiply_add(10, u32::from(byte - b'0'));
                seen += 1;
                decimals += i32::from(point);
            }
            b'.' if !point => point = true,
            _ => return None,
        }
    }
    let exponent = exponent.checked_sub(decimals)?;
    (seen > 0 && exponent.abs() <= FLOAT_EXPONENT_MAX).then_some((digits, exponent))
}

/// A natural number of any size: 32-bit digits, lowest first, no zeros on top.
#[derive(Debug, Clone)]
struct Big(Vec<u32>);

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is meant")]
fn low_half(value: u64) -> u32 {
    value as u32
}

impl Big {
    fn from(value: u64) -> Self {
        let mut big = Self(vec![low_half(value), low_half(value >> 32)]);
        big.trim();
        big
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn bits(&self) -> i32 {
        let top = self.0.last().map_or(0, |digit| 32 - digit.leading_zeros());
        i32::try_from(self.0.len().saturating_sub(1) * 32).unwrap_or(i32::MAX / 2) + top.cast_signed()
    }

    fn multiply_add(&mut self, factor: u32, addend: u32) {
        let mut carry = u64::from(addend);
        for digit in &mut self.0 {
            let product = u64::from(*digit) * u64::from(factor) + carry;
            *digit = low_half(product);
            carry = product >> 32;
        }
        if carry > 0 {
            self.0.push(low_half(carry));
        }
    }

    fn shift_left(&mut self, bits: i32) {
        let bits = bits.unsigned_abs();
        let mut carry = 0;
        let small = bits % 32;
        if small > 0 {
            for digit in &mut self.0 {
                let shifted = (u64::from(*digit) << small) | carry;
                *digit = low_half(shifted);
                carry = shifted >> 32;
            }
            if carry > 0 {
                self.0.push(low_half(carry));
            }
        }
        if !self.is_zero() {
            self.0.splice(0..0, std::iter::repeat_n(0, (bits / 32) as usize));
        }
    }

    fn cmp(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }

    /// `self` -= `other`, which is not larger.
    fn subtract(&mut self, other: &Self) {
        let mut borrow = 0_i64;
        for (index, digit) in self.0.iter_mut().enumerate() {
            let taken = i64::from(other.0.get(index).copied().unwrap_or(0));
            let difference = i64::from(*digit) - taken - borrow;
            borrow = i64::from(difference < 0);
            *digit = low_half(difference.cast_unsigned());
        }
        self.trim();
    }

    fn into_decimal(mut self) -> String {
        let mut groups = Vec::new();
        while !self.is_zero() {
            let mut rest = 0_u64;
            for digit in self.0.iter_mut().rev() {
                let value = (rest << 32) | u64::from(*digit);
                *digit = low_half(value / 1_000_000_000);
                rest = value % 1_000_000_000;
            }
            groups.push(rest);
            self.trim();
        }
        let Some(first) = groups.pop() else { return "0".to_owned() };
        groups.iter().rev().fold(first.to_string(), |text, group| format!("{text}{group:09}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(left: &str, right: &str) -> Option<String> {
        let left = Extended::parse(left.as_bytes()).expect("a number");
        let right = Extended::parse(right.as_bytes()).expect("a number");
        left.plus(right).map(Extended::to_text)
    }

    /// The results are those of Redis 7.0.15 on x86-64.
    #[test]
    fn sums_print_as_redis_prints_them() {
        let check =
            |left, right, text: &str| assert_eq!(sum(left, right).as_deref(), Some(text), "{left} + {right}");
        check("0.1", "0.2", "0.3");
        check("10.50", "0.1", "10.6");
        check("5.0e3", "2.0e2", "5200");
        check("3", "-1.5", "1.5");
        check("1", "-1", "0");
        check("-0.5", "0.25", "-0.25");
        check("1e20", "1", "100000000000000000000");
        check("1234567.1", "0.1", "1234567.20000000000004547");
        check("123456789.123456789", "1", "123456790.12345678899873747");
        check("1e17", "0.5", "100000000000000000.5");
        check("1e-20", "0", "0");
        check("0", "-1e-20", "0");
        check(".5", "5.", "5.5");
        assert_eq!(sum("1e4900", "1e4900").map(|text| text.len()), Some(4_901));
    }

    #[test]
    fn refuses_what_is_no_number() {
        for bad in ["", "-", ".", "1e", "e5", "1.2.3", " 1", "1 ", "0x10", "nan", "1e99999", "1e4999"] {
            assert_eq!(Extended::parse(bad.as_bytes()), Err(NotANumber::Malformed), "{bad:?}");
        }
        assert_eq!(Extended::parse(b"-inf"), Err(NotANumber::Infinite));
    }

    proptest::proptest! {
        #[test]
        fn integers_add_exactly(left in -(1_i64 << 62)..(1_i64 << 62), right in -(1_i64 << 62)..(1_i64 << 62)) {
            let text = sum(&left.to_string(), &right.to_string());
            proptest::prop_assert_eq!(text, Some((left + right).to_string()));
        }

        #[test]
        fn doubles_keep_their_value(number in -1e15_f64..1e15) {
            let text = sum(&format!("{number:.17}"), "0").expect("finite");
            proptest::prop_assert_eq!(text.parse::<f64>().expect("a number"), number);
        }
    }
}
