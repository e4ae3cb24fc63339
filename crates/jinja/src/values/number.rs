//! Python's numbers: their spelling, order and arithmetic.

use std::cmp::Ordering;

use crate::error::{Result, fail};
use crate::values::value::Value;

/// An operator between two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Rem,
    Pow,
}

impl Arithmetic {
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::FloorDiv => "//",
            Self::Rem => "%",
            Self::Pow => "**",
        }
    }
}

/// Python's `repr` of a float: the shortest digits that read back as the same number, with an exponent below 1e-4 and
/// from 1e16 on.
pub(crate) fn repr_float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number < 0.0 { "-inf" } else { "inf" }.to_owned();
    }
    let magnitude = number.abs();
    if magnitude.to_bits() == 0 || (1e-4..1e16).contains(&magnitude) {
        return format!("{number:?}");
    }
    let text = format!("{number:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) =
        exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

/// Returns the order of two numbers; `None` for other values and for NaN.
pub(crate) fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a.as_int(), b.as_int()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => as_float(a)?.partial_cmp(&as_float(b)?),
    }
}

/// Returns a number as a float.
pub(crate) fn as_float(value: &Value) -> Option<f64> {
    match value {
        Value::Float(number) => Some(*number),
        _ => value.as_int().map(|number| number as f64),
    }
}

/// Converts a float to an integer, without its fraction.
pub(crate) fn integer_of(number: f64) -> Result<i128> {
    // The limit is 2^126, far beyond the counts of any template, and exact as a float.
    const LIMIT: f64 = 85_070_591_730_234_615_865_843_651_857_942_052_864.0;
    if number.is_nan() || number.abs() > LIMIT {
        return fail(format!("cannot convert float {} to integer", repr_float(number)));
    }
    // This is exact: the digits of a float without an exponent are those of the integer.
    let digits = format!("{:.0}", number.trunc());
    digits.parse().or_else(|_| fail(format!("cannot convert float {digits} to integer")))
}

/// Returns the result of an operator between two numbers; `None` if either value is not a number.
pub(crate) fn calculate(operator: Arithmetic, a: &Value, b: &Value) -> Option<Result<Value>> {
    if let (Some(a), Some(b)) = (a.as_int(), b.as_int()) {
        return Some(integers(operator, a, b));
    }
    Some(floats(operator, as_float(a)?, as_float(b)?).map(Value::Float))
}

fn integers(operator: Arithmetic, a: i128, b: i128) -> Result<Value> {
    let by_zero = || fail("integer division or modulo by zero");
    let result = match operator {
        Arithmetic::Add => a.checked_add(b),
        Arithmetic::Sub => a.checked_sub(b),
        Arithmetic::Mul => a.checked_mul(b),
        Arithmetic::Div if b == 0 => return fail("division by zero"),
        Arithmetic::Div => return Ok(Value::Float(a as f64 / b as f64)),
        Arithmetic::FloorDiv | Arithmetic::Rem if b == 0 => return by_zero(),
        Arithmetic::FloorDiv => a
            .checked_div(b)
            .map(|quotient| if a % b != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient }),
        Arithmetic::Rem => a
            .checked_rem(b)
            .map(|rest| if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }),
        Arithmetic::Pow if b < 0 => {
            return floats(operator, a as f64, b as f64).map(Value::Float);
        }
        Arithmetic::Pow => u32::try_from(b).ok().and_then(|power| a.checked_pow(power)),
    };
    result.map_or_else(|| fail("an integer of more than 127 bits"), |number| Ok(Value::Int(number)))
}

fn floats(operator: Arithmetic, a: f64, b: f64) -> Result<f64> {
    let by_zero = b == 0.0;
    Ok(match operator {
        Arithmetic::Add => a + b,
        Arithmetic::Sub => a - b,
        Arithmetic::Mul => a * b,
        Arithmetic::Div | Arithmetic::FloorDiv | Arithmetic::Rem if by_zero => {
            return fail("float division by zero");
        }
        Arithmetic::Div => a / b,
        Arithmetic::FloorDiv => (a / b).floor(),
        Arithmetic::Rem => {
            let rest = a % b;
            if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
        }
        Arithmetic::Pow if a == 0.0 && b < 0.0 => {
            return fail("0.0 cannot be raised to a negative power");
        }
        Arithmetic::Pow => a.powf(b),
    })
}

/// Python's `round` with digits: rounds a float to the nearest number with `digits` digits, ties to even.
pub(crate) fn round(number: f64, digits: i128) -> Result<f64> {
    if !number.is_finite() || digits > 400 {
        return Ok(number);
    }
    let Ok(places) = usize::try_from(digits) else {
        let places = i32::try_from(digits).unwrap_or(i32::MIN).max(-400);
        let unit = 10_f64.powi(-places);
        return Ok((number / unit).round_ties_even() * unit);
    };
    let text = format!("{number:.places$}");
    text.parse().or_else(|_| fail(format!("cannot round {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_spelled_as_python_spells_them() {
        let cases = [
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (1e16, "1e+16"),
            (1e22, "1e+22"),
            (1.5e300, "1.5e+300"),
            (123_456_789.125, "123456789.125"),
            (1e15, "1000000000000000.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (3.0, "3.0"),
            (f64::NAN, "nan"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (number, expected) in cases {
            assert_eq!(repr_float(number), expected);
        }
    }

    #[test]
    fn arithmetic_is_pythons() {
        let int = |operator, a, b| calculate(operator, &Value::Int(a), &Value::Int(b)).unwrap();
        assert_eq!(int(Arithmetic::FloorDiv, -7, 2), Ok(Value::Int(-4)));
        assert_eq!(int(Arithmetic::Rem, -7, 2), Ok(Value::Int(1)));
        assert_eq!(int(Arithmetic::Rem, 7, -2), Ok(Value::Int(-1)));
        assert_eq!(int(Arithmetic::Div, 6, 2), Ok(Value::Float(3.0)));
        assert_eq!(int(Arithmetic::Pow, 2, 10), Ok(Value::Int(1024)));
        assert!(int(Arithmetic::Rem, 1, 0).is_err() && int(Arithmetic::Pow, 2, 300).is_err());
        let mixed = calculate(Arithmetic::Add, &Value::Float(0.5), &Value::Bool(true)).unwrap();
        assert_eq!(mixed, Ok(Value::Float(1.5)));
        assert!(calculate(Arithmetic::Add, &Value::None, &Value::Int(1)).is_none());
    }

    #[test]
    fn rounding_goes_to_the_nearest_of_the_exact_value() {
        for (number, digits, expected) in
            [(2.675, 2, 2.67), (0.5, 0, 0.0), (1.5, 0, 2.0), (1234.5, -2, 1200.0)]
        {
            assert_eq!(round(number, digits), Ok(expected));
        }
    }
}
