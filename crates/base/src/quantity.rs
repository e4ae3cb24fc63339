//! Quantities as people write them: the grammar that every command, file and Python argument shares.
//!
//! ```text
//! quantity = number [suffix] ["/" number [suffix]] ["%"] [unit]
//! number   = digits ["." digits] ["e" ["+" | "-"] digits]
//! digits   = digits with "_" between them, or whole thousands with "," between them
//! suffix   = k | M | B | G | T, in either case: 10³, 10⁶, 10⁹, 10⁹, 10¹²
//! unit     = a word or more: tokens, steps, "epochs of target"
//! ```
//!
//! Blanks are allowed before the suffix, the `%` and the unit. `50k`, `50K`, `50_000`, `50,000`, `5e4` and `0.05M
//! tokens` are the same number. Every number is an exact fraction without rounding through a float, so `0.1%` is 1/1000
//! and `1.5B` is 1,500,000,000.
//!
//! ```
//! use mixdown_base::quantity::{self, Number};
//!
//! assert_eq!(quantity::tokens::<u64>("1.5B tokens"), Ok(1_500_000_000));
//! assert_eq!(quantity::count::<u32>("32k"), Ok(32_000));
//! let share: Number = "0.5 %".parse().unwrap();
//! assert_eq!((share.numerator(), share.denominator()), (1, 200));
//! let error = quantity::count::<u64>("1.5").unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "expected a whole number such as 300, 50_000, 50k or 1.5M, got \"1.5\": it is not whole"
//! );
//! ```

use std::fmt;
use std::str::FromStr;

use crate::display::escaped;
use crate::scan::scan;

pub mod field;

/// A text that is not the quantity that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, got \"{}\": {reason}", escaped(.text))]
pub struct QuantityError {
    /// A description of the expected quantity, with examples.
    pub expected: String,
    /// The text.
    pub text: String,
    /// Why it is not one: a clause such as `it is not whole`.
    pub reason: String,
}

/// An exact number that is not negative: a fraction in lowest terms whose parts each fit in 64 bits.
///
/// A percentage has the value of its share: `1%` is 1/100.
///
/// ```
/// use mixdown_base::quantity::Number;
///
/// let number: Number = "2.5e-3".parse().unwrap();
/// assert_eq!((number.numerator(), number.denominator()), (1, 400));
/// assert_eq!(number.whole(), None);
/// assert!("100/3%".parse::<Number>().unwrap().is_percent());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Number {
    pub(crate) numerator: u64,
    pub(crate) denominator: u64,
    pub(crate) is_percent: bool,
}

impl Number {
    /// Returns the numerator in lowest terms.
    pub fn numerator(self) -> u64 {
        self.numerator
    }

    /// Returns the denominator in lowest terms; never 0.
    pub fn denominator(self) -> u64 {
        self.denominator
    }

    /// Returns whether the number was written as a percentage.
    pub fn is_percent(self) -> bool {
        self.is_percent
    }

    /// Returns the number if it is whole.
    pub fn whole(self) -> Option<u64> {
        (self.denominator == 1).then_some(self.numerator)
    }

    /// Returns the nearest float: for display and for settings that are floats, never for a count.
    #[expect(clippy::cast_precision_loss, reason = "the nearest float is what is asked for")]
    pub fn to_f64(self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }
}

/// A number with the words after it.
///
/// ```
/// use mixdown_base::quantity::Quantity;
///
/// let quantity = Quantity::parse("2 epochs of target", "a length").unwrap();
/// assert_eq!((quantity.number.whole(), quantity.unit), (Some(2), "epochs of target"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantity<'t> {
    /// The number.
    pub number: Number,
    /// The text after the number, without blanks at its ends; may be empty.
    pub unit: &'t str,
}

impl<'t> Quantity<'t> {
    /// Reads a number and the text after it; `expected` describes a correct text, with examples.
    ///
    /// # Errors
    /// The text does not begin with a number, or the number does not fit in 64 bits.
    pub fn parse(text: &'t str, expected: &str) -> Result<Self, QuantityError> {
        scan(text).map_err(|reason| error(text, expected, reason))
    }
}

impl FromStr for Number {
    type Err = QuantityError;

    /// Reads a number without a unit: `0.01`, `1 %`, `1/3`, `50k`, `1e-4`.
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let quantity = Quantity::parse(text, NUMBER)?;
        match quantity.unit {
            "" => Ok(quantity.number),
            unit => Err(error(text, NUMBER, not_a_unit(unit))),
        }
    }
}

impl fmt::Display for Number {
    /// Writes the number exactly, in a form that reads back: `300`, `0.01`, `1/3`, `0.5%`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hundred, sign) = if self.is_percent { (100, "%") } else { (1, "") };
        let numerator = u128::from(self.numerator) * hundred;
        write_fraction(formatter, numerator, u128::from(self.denominator))?;
        formatter.write_str(sign)
    }
}

/// Writes a fraction as a decimal where that is exact within 18 places, otherwise as `n/d`.
///
/// # Errors
/// The formatter fails.
///
/// ```
/// use mixdown_base::quantity::write_fraction;
///
/// let mut text = String::new();
/// write_fraction(&mut text, 3, 8).unwrap();
/// text.push(' ');
/// write_fraction(&mut text, 1, 3).unwrap();
/// assert_eq!(text, "0.375 1/3");
/// ```
pub fn write_fraction(out: &mut dyn fmt::Write, numerator: u128, denominator: u128) -> fmt::Result {
    let common = greatest_common_divisor(numerator, denominator).max(1);
    let (numerator, denominator) = (numerator / common, denominator / common);
    let Some(places) = (0..=18_u32).find(|&places| 10_u128.pow(places) % denominator == 0) else {
        return write!(out, "{numerator}/{denominator}");
    };
    let scale = 10_u128.pow(places);
    write!(out, "{}", numerator / denominator)?;
    if places > 0 {
        let fraction = numerator % denominator * (scale / denominator);
        let width = usize::try_from(places).unwrap_or(usize::MAX);
        write!(out, ".{fraction:0width$}")?;
    }
    Ok(())
}

/// Returns the greatest common divisor (Euclid); of a number and zero it is the number.
///
/// ```
/// assert_eq!(mixdown_base::quantity::greatest_common_divisor(12, 18), 6);
/// ```
pub fn greatest_common_divisor(mut one: u128, mut other: u128) -> u128 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

const NUMBER: &str = "a number such as 0.01, 1%, 1/3 or 1e-4";

/// Examples of counts, for messages about counts in other crates.
pub const COUNT_EXAMPLES: &str = "300, 50_000, 50k or 1.5M";

/// Reads a whole number: `300`, `50k`, `1.5M`.
///
/// # Errors
/// The text is not a whole number without a unit, or `T` does not hold it.
///
/// ```
/// use mixdown_base::quantity;
///
/// assert_eq!(quantity::count::<u32>("50k"), Ok(50_000));
/// assert!(quantity::count::<u32>("5T").is_err());
/// ```
pub fn count<T: TryFrom<u64>>(text: &str) -> Result<T, QuantityError> {
    count_of(text, None)
}

/// Reads a whole number above 0.
///
/// # Errors
/// Those of [`count`]; and 0.
///
/// ```
/// use mixdown_base::quantity;
///
/// assert!(quantity::positive::<u64>("0").unwrap_err().to_string().ends_with("\"0\": it is zero"));
/// ```
pub fn positive<T: TryFrom<u64>>(text: &str) -> Result<T, QuantityError> {
    positive_of(text, None)
}

/// Reads a number of tokens, with or without the word: `20k`, `20k tokens`.
///
/// # Errors
/// Those of [`count`].
///
/// ```
/// assert_eq!(mixdown_base::quantity::tokens::<u64>("20k tokens"), Ok(20_000));
/// ```
pub fn tokens<T: TryFrom<u64>>(text: &str) -> Result<T, QuantityError> {
    count_of(text, Some("token"))
}

/// Reads a number of tokens above 0, with or without the word.
///
/// # Errors
/// Those of [`positive`].
///
/// ```
/// use mixdown_base::quantity;
///
/// assert_eq!(quantity::positive_tokens::<u64>("1.5B"), Ok(1_500_000_000));
/// assert!(quantity::positive_tokens::<u64>("0 tokens").is_err());
/// ```
pub fn positive_tokens<T: TryFrom<u64>>(text: &str) -> Result<T, QuantityError> {
    positive_of(text, Some("token"))
}

/// Reads a number of steps, with or without the word: `2k`, `2,000 steps`.
///
/// # Errors
/// Those of [`count`].
///
/// ```
/// assert_eq!(mixdown_base::quantity::steps::<u64>("2,000 steps"), Ok(2_000));
/// ```
pub fn steps<T: TryFrom<u64>>(text: &str) -> Result<T, QuantityError> {
    count_of(text, Some("step"))
}

/// Reads a number of sequences, with or without the word.
///
/// # Errors
/// Those of [`count`].
///
/// ```
/// assert_eq!(mixdown_base::quantity::sequences::<u32>("64 sequences"), Ok(64));
/// ```
pub fn sequences<T: TryFrom<u64>>(text: &str) -> Result<T, QuantityError> {
    count_of(text, Some("sequence"))
}

/// Reads a number of documents, with or without the word.
///
/// # Errors
/// Those of [`count`].
///
/// ```
/// assert_eq!(mixdown_base::quantity::documents::<u64>("10k documents"), Ok(10_000));
/// ```
pub fn documents<T: TryFrom<u64>>(text: &str) -> Result<T, QuantityError> {
    count_of(text, Some("document"))
}

/// Returns a count as a float, for ratios and laws: exact below 2⁵³.
///
/// ```
/// assert_eq!(mixdown_base::quantity::to_f64(1_000), 1e3);
/// ```
#[expect(clippy::cast_precision_loss, reason = "ratios and laws need no more than 53 bits")]
pub fn to_f64(count: u64) -> f64 {
    count as f64
}

/// The description of what [`count_of`] expects, for messages.
fn expected_count(unit: Option<&str>, least: &str) -> String {
    let unit = unit.map(|unit| format!(" of {unit}s")).unwrap_or_default();
    format!("a whole number{unit}{least} such as {COUNT_EXAMPLES}")
}

/// Reads a whole number of a unit, given in the singular; the unit may be left out.
///
/// # Errors
/// Those of [`count`].
///
/// ```
/// use mixdown_base::quantity;
///
/// assert!(quantity::count_of::<u64>("3 rows", None).is_err());
/// assert_eq!(quantity::count_of::<u64>("3 rows", Some("row")), Ok(3));
/// ```
pub fn count_of<T: TryFrom<u64>>(text: &str, unit: Option<&str>) -> Result<T, QuantityError> {
    whole(text, unit, &expected_count(unit, ""))
}

/// Reads a whole number above 0 of a unit, given in the singular; the unit may be left out.
///
/// # Errors
/// Those of [`positive`].
///
/// ```
/// use mixdown_base::quantity;
///
/// assert_eq!(quantity::positive_of::<u64>("3 rows", Some("row")), Ok(3));
/// assert!(quantity::positive_of::<u64>("0 rows", Some("row")).is_err());
/// ```
pub fn positive_of<T: TryFrom<u64>>(text: &str, unit: Option<&str>) -> Result<T, QuantityError> {
    let expected = expected_count(unit, " above 0");
    match whole::<u64>(text, unit, &expected)? {
        0 => Err(error(text, &expected, "it is zero")),
        number => narrow(text, &expected, number),
    }
}

fn whole<T: TryFrom<u64>>(
    text: &str,
    unit: Option<&str>,
    expected: &str,
) -> Result<T, QuantityError> {
    let quantity = Quantity::parse(text, expected)?;
    let is_unit =
        |word: &str| unit.is_some_and(|unit| word.strip_suffix('s').unwrap_or(word) == unit);
    if !(quantity.unit.is_empty() || is_unit(quantity.unit)) {
        return Err(error(text, expected, not_a_unit(quantity.unit)));
    }
    let number = quantity.whole().map_err(|reason| error(text, expected, reason))?;
    narrow(text, expected, number)
}

impl Quantity<'_> {
    /// Returns the number if it is whole.
    ///
    /// # Errors
    /// Why it is not, as a clause.
    pub fn whole(&self) -> Result<u64, &'static str> {
        match self.number.whole() {
            _ if self.number.is_percent => Err("it is a percentage"),
            Some(number) => Ok(number),
            None => Err("it is not whole"),
        }
    }
}

fn narrow<T: TryFrom<u64>>(text: &str, expected: &str, number: u64) -> Result<T, QuantityError> {
    T::try_from(number).map_err(|_| error(text, expected, "it is too large here"))
}

/// Explains why a word is not a unit of the number before it.
///
/// ```
/// assert_eq!(mixdown_base::quantity::not_a_unit("mugs"), "\"mugs\" is not a unit here");
/// ```
pub fn not_a_unit(word: &str) -> String {
    format!("\"{}\" is not a unit here", escaped(word))
}

pub(crate) fn error(text: &str, expected: &str, reason: impl Into<String>) -> QuantityError {
    QuantityError { expected: expected.to_owned(), text: text.to_owned(), reason: reason.into() }
}

#[cfg(test)]
#[path = "quantity_tests.rs"]
mod tests;
