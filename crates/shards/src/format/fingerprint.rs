//! Fingerprints: BLAKE3 hashes written as hexadecimal digits.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{Error, error::quoted};

/// A 32-byte BLAKE3 hash, shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Returns the BLAKE3 hash of `bytes`, as `b3sum` prints it.
    ///
    /// ```
    /// use mixdown_shards::Fingerprint;
    ///
    /// assert!(Fingerprint::of(b"").to_string().contains("af1349b9f5f9a1a6"));
    /// ```
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Makes the fingerprint with these bytes.
    ///
    /// ```
    /// use mixdown_shards::Fingerprint;
    ///
    /// let fingerprint = Fingerprint::of(b"content");
    /// assert_eq!(Fingerprint::from_bytes(*fingerprint.as_bytes()), fingerprint);
    /// ```
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns its 32 bytes, in the order in which they are printed.
    ///
    /// ```
    /// use mixdown_shards::Fingerprint;
    ///
    /// assert_eq!(Fingerprint::from_bytes([7; 32]).as_bytes(), &[7; 32]);
    /// ```
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        decoded(text.as_bytes()).map(Self).ok_or_else(|| Error::Fingerprint { got: quoted(text) })
    }
}

/// Decodes 64 hexadecimal digits. A manifest of 10,000 shards holds 40,000 of them, and this takes a fraction of the
/// time of `blake3::Hash::from_hex`.
fn decoded(digits: &[u8]) -> Option<[u8; 32]> {
    if digits.len() != 64 || !digits.iter().fold(true, |all, digit| all & digit.is_ascii_hexdigit())
    {
        return None;
    }
    // In either case, the low bits of the letters, which have bit 6 set, start at 1.
    let value = |digit: u8| (digit & 15) + 9 * (digit >> 6);
    let pairs: &[[u8; 2]; 32] = digits.as_chunks().0.try_into().ok()?;
    Some(pairs.map(|[high, low]| value(high) << 4 | value(low)))
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl de::Visitor<'_> for Digits {
            type Value = Fingerprint;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("64 hexadecimal digits")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Fingerprint, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Digits)
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl From<blake3::Hash> for Fingerprint {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_input_has_the_published_hash() {
        let text = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(Fingerprint::of(b"").to_string(), text);
        assert_eq!(text.parse::<Fingerprint>().unwrap(), Fingerprint::of(b""));
    }

    #[test]
    fn json_is_the_hexadecimal_string() {
        let fingerprint = Fingerprint::of(b"x");
        let json = serde_json::to_string(&fingerprint).unwrap();
        assert_eq!(json, format!("\"{fingerprint}\""));
        assert_eq!(serde_json::from_str::<Fingerprint>(&json).unwrap(), fingerprint);
    }

    #[test]
    fn other_text_is_refused() {
        let wide = "é".repeat(32);
        for text in ["", "00", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &wide] {
            let error = text.parse::<Fingerprint>().unwrap_err().to_string();
            assert!(error.contains("64 hexadecimal digits"), "{error}");
        }
    }
}
