//! The state of a run: its next slot, and checks of the mixture with which it may continue.

use mixdown_shards::Fingerprint;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::mixture::Mixture;
use crate::mixture::identity::{Checks, Identity};
use crate::schedule::SCHEDULE_VERSION;

/// The version of the layout of a state.
const STATE_VERSION: u16 = 1;

/// Everything that a run must keep to continue: its next slot, and a hash of everything that determines its order.
///
/// Every rank's state is the same. It is stored as JSON (serde) or as 62 bytes, little endian: u16 state version, u16
/// schedule version, u64 slot, 32 bytes hash, five u16 and 8 bytes of checks that serve only to name a difference
/// (seed, windows, names, weights, sizes, data).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixerState {
    version: u16,
    schedule_version: u16,
    slot: u64,
    order: Fingerprint,
    checks: Checks,
}

impl MixerState {
    /// The length of the binary form.
    pub const LEN_BYTES: u64 = 62;

    pub(crate) fn new(slot: u64, identity: &Identity, checks: Checks) -> Self {
        Self {
            version: STATE_VERSION,
            schedule_version: SCHEDULE_VERSION,
            slot,
            order: identity.order,
            checks,
        }
    }

    /// Returns the next slot of the run.
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// assert_eq!(mixer.state(12).slot(), 12);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn slot(&self) -> u64 {
        self.slot
    }

    /// Returns the hash of everything that determines the order of the run.
    ///
    /// ```
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// assert_eq!(mixer.state(12).order(), mixer.state(13).order());
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn order(&self) -> Fingerprint {
        self.order
    }

    /// Returns the binary form.
    ///
    /// ```
    /// use mixdown_mixer::MixerState;
    ///
    /// # let (_folder, mixer) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc_mixer.in"));
    /// let state = mixer.state(12);
    /// assert_eq!(MixerState::from_bytes(&state.to_bytes())?, state);
    /// # Ok::<(), mixdown_mixer::Error>(())
    /// ```
    pub fn to_bytes(&self) -> [u8; 62] {
        let mut bytes = [0; 62];
        let checks = &self.checks;
        let numbers = [checks.seed, checks.windows, checks.names, checks.weights, checks.sizes];
        let fields = [
            self.version.to_le_bytes().as_slice(),
            &self.schedule_version.to_le_bytes(),
            &self.slot.to_le_bytes(),
            self.order.as_bytes(),
            &numbers.map(u16::to_le_bytes).concat(),
            &checks.data,
        ]
        .concat();
        bytes.copy_from_slice(&fields);
        bytes
    }

    /// Reads the binary form. [`Mixer::resume`] checks whether the state fits a mixture.
    ///
    /// # Errors
    /// The length or version is wrong.
    ///
    /// [`Mixer::resume`]: crate::Mixer::resume
    ///
    /// ```
    /// use mixdown_mixer::MixerState;
    ///
    /// assert!(MixerState::from_bytes(&[0; 61]).is_err());
    /// ```
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields { bytes, len: bytes.len() };
        let state = Self {
            version: u16::from_le_bytes(fields.take()?),
            schedule_version: u16::from_le_bytes(fields.take()?),
            slot: u64::from_le_bytes(fields.take()?),
            order: Fingerprint::from_bytes(fields.take()?),
            checks: Checks {
                seed: u16::from_le_bytes(fields.take()?),
                windows: u16::from_le_bytes(fields.take()?),
                names: u16::from_le_bytes(fields.take()?),
                weights: u16::from_le_bytes(fields.take()?),
                sizes: u16::from_le_bytes(fields.take()?),
                data: fields.take()?,
            },
        };
        if !fields.bytes.is_empty() {
            return Err(wrong_len(fields.len));
        }
        state.check_version()?;
        Ok(state)
    }

    fn check_version(&self) -> Result<(), Error> {
        if self.version == STATE_VERSION {
            return Ok(());
        }
        Err(Error::State {
            expected: format!("version {STATE_VERSION}"),
            got: format!("version {}", self.version),
        })
    }

    /// Returns the fix for a state that does not fit; a stage can change weights and sources only.
    fn fix(&self, identity: &Identity) -> String {
        let (own, other) = (&identity.checks, &self.checks);
        let is_same_rule =
            self.schedule_version == SCHEDULE_VERSION && self.order != identity.rounded_per_stage;
        let others_agree = own.seed == other.seed && own.windows == other.windows;
        let weights_differ = own.weights != other.weights || own.names != other.names;
        let back = "use the mixture that the state was made with, or";
        let slot = self.slot;
        // Added or removed sources have other sizes and data.
        let sizes_agree = own.names != other.names || own.sizes == other.sizes;
        let data_agree = own.names != other.names || own.data == other.data;
        if is_same_rule && others_agree && weights_differ && sizes_agree && data_agree {
            format!("{back} change it by a [[stage]] that starts at \"{slot} sequences\" or later")
        } else {
            format!(
                "{back} begin a new run (a comparison of the two mixtures shows what it would repeat)"
            )
        }
    }

    pub(crate) fn check(&self, identity: &Identity, mixture: &Mixture) -> Result<(), Error> {
        self.check_version()?;
        let batch_size = mixture.shape().batch_size;
        let counted = identity.checks.in_steps(batch_size);
        if self.schedule_version == SCHEDULE_VERSION && self.order == identity.order {
            // A state of a run without anything in steps contains nothing about batches.
            let same = [identity.checks.weights, counted.weights].contains(&self.checks.weights);
            if same || !mixture.timeline().counts_steps_from(self.slot) {
                return Ok(());
            }
            return Err(Error::BatchSize { slot: self.slot, got: batch_size });
        }
        let differences = if self.schedule_version != SCHEDULE_VERSION {
            let state = self.schedule_version;
            format!("the schedule version (state {state}, this mixdown {SCHEDULE_VERSION})")
        } else if self.order == identity.rounded_per_stage {
            "the rule of stages (the state is from a version of mixdown that rounded again in every stage, and so gave \
             other sequences from the second stage on; continue with that version, or begin a new run)"
                .to_owned()
        } else {
            let now =
                if self.checks.weights == counted.weights { counted } else { identity.checks };
            now.differences(&self.checks, mixture, self.slot)
        };
        Err(Error::OtherOrder {
            slot: self.slot,
            expected: identity.order,
            got: self.order,
            differences,
            fix: self.fix(identity),
        })
    }
}

/// A reader of the remaining bytes of a binary state.
struct Fields<'a> {
    bytes: &'a [u8],
    len: usize,
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (field, rest) = self.bytes.split_first_chunk().ok_or_else(|| wrong_len(self.len))?;
        self.bytes = rest;
        Ok(*field)
    }
}

fn wrong_len(got: usize) -> Error {
    Error::State {
        expected: format!("{} bytes", MixerState::LEN_BYTES),
        got: format!("{got} bytes"),
    }
}
