//! Where a model is computed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The device that computes: `cpu`, or `cuda` with the number of a GPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// This machine's processor.
    #[default]
    Cpu,
    /// The NVIDIA GPU of this number, as the driver counts.
    Cuda(u32),
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(0) => formatter.write_str("cuda"),
            Self::Cuda(number) => write!(formatter, "cuda:{number}"),
        }
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> Self {
        choice.to_string()
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let number = match text.as_str() {
            "cpu" => return Ok(Self::Cpu),
            "cuda" => Some(0),
            other => other.strip_prefix("cuda:").and_then(|number| number.parse().ok()),
        };
        let expected = || format!("expected \"cpu\", \"cuda\" or \"cuda:N\", got \"{text}\"");
        number.map(Self::Cuda).ok_or_else(expected)
    }
}

#[cfg(test)]
mod tests {
    use super::DeviceChoice;

    #[test]
    fn a_device_is_read_as_it_is_written() {
        for choice in [DeviceChoice::Cpu, DeviceChoice::Cuda(0), DeviceChoice::Cuda(3)] {
            assert_eq!(DeviceChoice::try_from(choice.to_string()), Ok(choice));
        }
        for wrong in ["gpu", "cuda:", "cuda:-1", "CPU"] {
            let error = DeviceChoice::try_from(wrong.to_owned()).unwrap_err();
            assert_eq!(error, format!("expected \"cpu\", \"cuda\" or \"cuda:N\", got \"{wrong}\""));
        }
    }
}
