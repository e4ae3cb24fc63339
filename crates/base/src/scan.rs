//! The scanner for the grammar of [`quantity`](crate::quantity).

use crate::quantity::{Number, Quantity, greatest_common_divisor};

const NO_NUMBER: &str = "it does not begin with a number";
const TOO_LONG: &str = "it has more digits than 64 bits hold";
const SEPARATOR: &str = "a separator stands where it separates no digits or thousands";

/// A fraction whose parts can be longer than those of a [`Number`].
#[derive(Clone, Copy)]
struct Fraction {
    numerator: u128,
    denominator: u128,
}

impl Fraction {
    fn reduced(numerator: u128, denominator: u128) -> Self {
        let common = greatest_common_divisor(numerator, denominator).max(1);
        Self { numerator: numerator / common, denominator: denominator / common }
    }

    fn times(self, other: Self) -> Result<Self, &'static str> {
        // Reducing crosswise first lets only a product that is truly too long overflow.
        let one = Self::reduced(self.numerator, other.denominator);
        let two = Self::reduced(other.numerator, self.denominator);
        let numerator = one.numerator.checked_mul(two.numerator);
        let denominator = two.denominator.checked_mul(one.denominator);
        match (numerator, denominator) {
            (Some(numerator), Some(denominator)) => Ok(Self { numerator, denominator }),
            _ => Err(TOO_LONG),
        }
    }
}

/// Reads a number and returns the text after it as the unit.
pub(crate) fn scan(text: &str) -> Result<Quantity<'_>, &'static str> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err("it is empty");
    }
    if trimmed.starts_with(['-', '−']) {
        return Err("it is negative");
    }
    let (mut value, mut rest) = scaled(trimmed)?;
    if let Some(below) = rest.strip_prefix('/') {
        let (divisor, after) = scaled(below)?;
        if divisor.numerator == 0 {
            return Err("it divides by zero");
        }
        let inverse = Fraction { numerator: divisor.denominator, denominator: divisor.numerator };
        (value, rest) = (value.times(inverse)?, after);
    }
    let percent = rest.trim_start().strip_prefix('%');
    if let Some(after) = percent {
        (value, rest) = (value.times(Fraction { numerator: 1, denominator: 100 })?, after);
    }
    if rest.starts_with(['.', ',', '_', '/', '%']) {
        return Err(SEPARATOR);
    }
    match (u64::try_from(value.numerator), u64::try_from(value.denominator)) {
        (Ok(numerator), Ok(denominator)) => {
            let number = Number { numerator, denominator, is_percent: percent.is_some() };
            Ok(Quantity { number, unit: rest.trim() })
        }
        _ => Err(TOO_LONG),
    }
}

/// A decimal number with an exponent and a suffix, and the text after it.
fn scaled(text: &str) -> Result<(Fraction, &str), &'static str> {
    let (whole, after) = digits(text, true)?;
    let (fraction, after) = match after.strip_prefix('.') {
        Some(after) => digits(after, false)?,
        None => (String::new(), after),
    };
    if whole.len() + fraction.len() == 0 {
        return Err(NO_NUMBER);
    }
    let (exponent, after_exponent) = exponent(after)?;
    let (zeros, after_suffix) = suffix(after_exponent);
    let is_bare = exponent == 0 && zeros == 0;
    if is_bare && fraction == "000" && (1..=3).contains(&whole.len()) && whole != "0" {
        // Much of the world reads 50.000 as fifty thousand.
        return Err("it may be read as thousands: leave out the point, or the zeros behind it");
    }
    let places = i64::try_from(fraction.len()).map_err(|_| TOO_LONG)?;
    let number = whole + &fraction;
    let number: u128 = number.parse().map_err(|_| TOO_LONG)?;
    let power = i64::from(exponent) + i64::from(zeros) - places;
    Ok((times_power_of_ten(number, power)?, after_suffix))
}

fn times_power_of_ten(number: u128, power: i64) -> Result<Fraction, &'static str> {
    if number == 0 {
        return Ok(Fraction { numerator: 0, denominator: 1 });
    }
    let scale = u32::try_from(power.unsigned_abs()).ok();
    let scale = scale.and_then(|power| 10_u128.checked_pow(power)).ok_or(TOO_LONG)?;
    if power < 0 {
        return Ok(Fraction::reduced(number, scale));
    }
    let numerator = number.checked_mul(scale).ok_or(TOO_LONG)?;
    Ok(Fraction { numerator, denominator: 1 })
}

/// Digits without their separators: `_` between any two, `,` between thousands where allowed.
fn digits(text: &str, with_thousands: bool) -> Result<(String, &str), &'static str> {
    let is_part = |c: char| c.is_ascii_digit() || c == '_' || (c == ',' && with_thousands);
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    let (part, rest) = text.split_at(end);
    let mut thousands = part.split(',');
    let first = thousands.next().unwrap_or_default();
    let mut all = plain(first)?;
    let has_thousands = part.contains(',');
    if has_thousands && (!(1..=3).contains(&first.len()) || first.starts_with('0')) {
        return Err(SEPARATOR);
    }
    for group in thousands {
        if group.len() != 3 || group.contains('_') {
            return Err(SEPARATOR);
        }
        all.push_str(group);
    }
    Ok((all, rest))
}

fn plain(digits: &str) -> Result<String, &'static str> {
    if digits.starts_with('_') || digits.ends_with('_') || digits.contains("__") {
        return Err(SEPARATOR);
    }
    Ok(digits.replace('_', ""))
}

/// An exponent, if there is one: the `e` of `2epochs` is not an exponent.
fn exponent(text: &str) -> Result<(i32, &str), &'static str> {
    let Some(after) = text.strip_prefix(['e', 'E']) else { return Ok((0, text)) };
    let (sign, unsigned) = match after.strip_prefix('-') {
        Some(unsigned) => (-1, unsigned),
        None => (1, after.strip_prefix('+').unwrap_or(after)),
    };
    let end = unsigned.find(|c: char| !c.is_ascii_digit()).unwrap_or(unsigned.len());
    let (digits, rest) = unsigned.split_at(end);
    if digits.is_empty() {
        return Ok((0, text));
    }
    let exponent: i32 = digits.parse().map_err(|_| TOO_LONG)?;
    Ok((sign * exponent, rest))
}

/// The number of zeros that a suffix means, if there is one: a single letter, with optional blanks before it.
fn suffix(text: &str) -> (i32, &str) {
    let trimmed = text.trim_start();
    let mut characters = trimmed.chars();
    let zeros = match characters.next() {
        Some('k' | 'K') => 3,
        Some('m' | 'M') => 6,
        Some('b' | 'B' | 'g' | 'G') => 9,
        Some('t' | 'T') => 12,
        _ => return (0, text),
    };
    let rest = characters.as_str();
    if rest.starts_with(|c: char| c.is_alphanumeric()) { (0, text) } else { (zeros, rest) }
}
