//! Counts in files: a whole number, or a text in the grammar of [`quantity`](crate::quantity).
//!
//! The functions are for serde's `deserialize_with`; an optional field also needs `default`.
//!
//! ```
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Source {
//!     #[serde(default, deserialize_with = "mixdown_base::quantity::field::optional_tokens")]
//!     max_tokens: Option<u64>,
//! }
//!
//! let source: Source = toml::from_str("max_tokens = '50k tokens'").unwrap();
//! assert_eq!(source.max_tokens, Some(50_000));
//! assert!(toml::from_str::<Source>("max_tokens = '50 mugs'").is_err());
//! ```

use std::fmt;
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::{Error, Visitor};

use crate::quantity::{QuantityError, count_of, error, expected_count, narrow};

/// Reads a whole number.
///
/// # Errors
/// Any other value, and a number that `T` does not hold.
///
/// ```
/// # use serde::Deserialize;
/// # #[derive(Deserialize)]
/// # struct Settings {
/// #[serde(deserialize_with = "mixdown_base::quantity::field::count")]
/// batch_size: u64,
/// # }
/// let settings: Settings = toml::from_str("batch_size = '1k'").unwrap();
/// assert_eq!(settings.batch_size, 1_000);
/// ```
pub fn count<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(Whole { unit: None, number: PhantomData })
}

/// Reads a whole number, or none.
///
/// # Errors
/// Those of [`count`].
///
/// ```
/// # use serde::Deserialize;
/// # #[derive(Deserialize)]
/// # struct Settings {
/// #[serde(default, deserialize_with = "mixdown_base::quantity::field::optional_count")]
/// batch_size: Option<u64>,
/// # }
/// let settings: Settings = toml::from_str("batch_size = '1k'").unwrap();
/// assert_eq!(settings.batch_size, Some(1_000));
/// ```
pub fn optional_count<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    deserializer.deserialize_option(Optional(Whole { unit: None, number: PhantomData }))
}

/// Reads a number of tokens, with or without the word.
///
/// # Errors
/// Those of [`count`].
///
/// ```
/// # use serde::Deserialize;
/// # #[derive(Deserialize)]
/// # struct Settings {
/// #[serde(deserialize_with = "mixdown_base::quantity::field::tokens")]
/// length: u64,
/// # }
/// let settings: Settings = toml::from_str("length = '1.5B tokens'").unwrap();
/// assert_eq!(settings.length, 1_500_000_000);
/// ```
pub fn tokens<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(Whole { unit: Some("token"), number: PhantomData })
}

/// Reads a number of tokens, with or without the word, or none.
///
/// # Errors
/// Those of [`count`].
///
/// ```
/// # use serde::Deserialize;
/// # #[derive(Deserialize)]
/// # struct Settings {
/// #[serde(default, deserialize_with = "mixdown_base::quantity::field::optional_tokens")]
/// length: Option<u64>,
/// # }
/// let settings: Settings = toml::from_str("length = '1.5B tokens'").unwrap();
/// assert_eq!(settings.length, Some(1_500_000_000));
/// ```
pub fn optional_tokens<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    deserializer.deserialize_option(Optional(Whole { unit: Some("token"), number: PhantomData }))
}

/// Reads a number of steps, with or without the word.
///
/// # Errors
/// Those of [`count`].
///
/// ```
/// # use serde::Deserialize;
/// # #[derive(Deserialize)]
/// # struct Settings {
/// #[serde(deserialize_with = "mixdown_base::quantity::field::steps")]
/// warmup: u64,
/// # }
/// let settings: Settings = toml::from_str("warmup = '2k steps'").unwrap();
/// assert_eq!(settings.warmup, 2_000);
/// ```
pub fn steps<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(Whole { unit: Some("step"), number: PhantomData })
}

/// Reads a number of steps, with or without the word, or none.
///
/// # Errors
/// Those of [`count`].
///
/// ```
/// # use serde::Deserialize;
/// # #[derive(Deserialize)]
/// # struct Settings {
/// #[serde(default, deserialize_with = "mixdown_base::quantity::field::optional_steps")]
/// warmup: Option<u64>,
/// # }
/// let settings: Settings = toml::from_str("warmup = '2k steps'").unwrap();
/// assert_eq!(settings.warmup, Some(2_000));
/// ```
pub fn optional_steps<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    deserializer.deserialize_option(Optional(Whole { unit: Some("step"), number: PhantomData }))
}

struct Whole<T> {
    unit: Option<&'static str>,
    number: PhantomData<T>,
}

impl<T: TryFrom<u64>> Whole<T> {
    fn refused(&self, text: &str, reason: &str) -> QuantityError {
        error(text, &expected_count(self.unit, ""), reason)
    }
}

impl<T: TryFrom<u64>> Visitor<'_> for Whole<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&expected_count(self.unit, ""))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        narrow(&number.to_string(), &expected_count(self.unit, ""), number).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::custom(self.refused(&number.to_string(), "it is negative"))),
        }
    }

    /// TOML parses `3e6` as a float; its shortest spelling is read as written.
    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        count_of(text, self.unit).map_err(E::custom)
    }
}

struct Optional<T>(Whole<T>);

impl<'de, T: TryFrom<u64>> Visitor<'de> for Optional<T> {
    type Value = Option<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(formatter)
    }

    fn visit_none<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        deserializer.deserialize_any(self.0).map(Some)
    }
}
