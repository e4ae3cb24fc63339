//! The table `[train]` of a sweep: every setting of the trainer's `[train]` except the steps, which the grid sets.
//!
//! The trainer's type is read and stored, so that every new setting of the trainer is also one of sweeps.

use std::collections::BTreeSet;
use std::fmt;

use mixdown_base::quantity::field;
use mixdown_train::{Schedule, TrainConfig};
use serde::de::value::Error as Probed;
use serde::de::{DeserializeSeed, Error as _, MapAccess, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer, forward_to_deserialize_any};
use toml::{Table, Value};

/// Keys that are always part of the fingerprints of runs: those that existed since the first sweep.
const ALWAYS: [&str; 10] = [
    "beta1",
    "beta2",
    "checkpoint_every",
    "clip",
    "learning_rate",
    "patience",
    "recompute",
    "schedule",
    "warmup_steps",
    "weight_decay",
];
/// Keys that are part of the fingerprints of runs if they were given, even with their default value.
const AS_GIVEN: [&str; 2] = ["device", "precision"];
/// The keys that only sweeps have.
const OWN: [&str; 3] = ["sequence_length", "batch_size", "epochs"];
/// The trainer's key that the grid sets.
const STEPS: &str = "steps";

/// The table `[train]`, by which models are finetuned to the minimum of the target's validation loss.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainSettings {
    /// The tokens of a sequence, in pretraining and evaluations as well.
    pub sequence_length: u64,
    /// The sequences of a batch.
    pub batch_size: u64,
    /// The most passes over the target tokens: the horizon of the schedule.
    pub epochs: u64,
    /// All other settings of the trainer. Its number of steps is ignored, because the steps of a run follow from
    /// `epochs`.
    pub trainer: TrainConfig,
    /// The values of [`AS_GIVEN`] that were given.
    given: Table,
}

/// The default number of passes over the target tokens.
const USUAL_EPOCHS: u64 = 12;

/// A whole number as files write it.
#[derive(Deserialize)]
#[serde(transparent)]
struct Count(#[serde(deserialize_with = "field::count")] u64);

/// The defaults of a sweep, where they differ from those of the trainer: a run ends at the minimum of the loss, whose
/// position a falling learning rate would determine; and the rate is the same for all models.
fn usual() -> [(&'static str, Value); 4] {
    [
        ("learning_rate", Value::Float(1e-3)),
        ("patience", Value::Integer(3)),
        ("schedule", Value::String(Schedule::Constant.name().to_owned())),
        ("warmup_steps", Value::Integer(10)),
    ]
}

impl TrainSettings {
    fn of(mut table: Table) -> Result<Self, String> {
        let mut own = |key: &str| -> Result<Option<u64>, String> {
            let count = table.remove(key).map(Value::try_into::<Count>).transpose();
            let count = count.map_err(|error| format!("{key}: {}", error.message()))?;
            Ok(count.map(|count| count.0))
        };
        let missing = |key: &str| format!("missing field `{key}`");
        let sequence_length = own(OWN[0])?.ok_or_else(|| missing(OWN[0]))?;
        let batch_size = own(OWN[1])?.ok_or_else(|| missing(OWN[1]))?;
        let epochs = own(OWN[2])?.unwrap_or(USUAL_EPOCHS);
        let given = AS_GIVEN.into_iter().filter_map(|key| Some((key, table.get(key)?)));
        let given = given.map(|(key, value)| (key.to_owned(), value.clone())).collect();
        for (key, value) in usual() {
            table.entry(key).or_insert(value);
        }
        Ok(Self { sequence_length, batch_size, epochs, trainer: trainer(&table)?, given })
    }
}

/// The trainer's settings of these keys.
fn trainer(table: &Table) -> Result<TrainConfig, String> {
    let read = |table: Table| {
        let mut table = table;
        table.insert(STEPS.to_owned(), Value::Integer(1));
        Value::Table(table).try_into::<TrainConfig>().map_err(|error| error.message().to_owned())
    };
    read(table.clone()).map_err(|error| {
        // A table's error names no key of it.
        let single = |(key, value): (&String, &Value)| {
            let alone = Table::from_iter([(key.clone(), value.clone())]);
            read(alone).err().map(|error| format!("{key}: {error}"))
        };
        table.iter().find_map(single).unwrap_or(error)
    })
}

impl<'de> Deserialize<'de> for TrainSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SettingsVisitor)
    }
}

struct SettingsVisitor;

impl<'de> Visitor<'de> for SettingsVisitor {
    type Value = TrainSettings;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a table of settings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TrainSettings, A::Error> {
        let mut table = Table::new();
        while let Some(key) = map.next_key_seed(Key)? {
            table.insert(key, map.next_value()?);
        }
        TrainSettings::of(table).map_err(A::Error::custom)
    }
}

/// A key of `[train]`: refused where it stands.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        let key = String::deserialize(deserializer)?;
        if key == STEPS {
            let reason = "`steps` is no setting of a sweep: `epochs` says how many passes over the target tokens a \
                          run does at most, and the steps follow for each D and p";
            return Err(D::Error::custom(reason));
        }
        let trainers = fields::<TrainConfig>();
        let known: BTreeSet<&str> =
            trainers.iter().copied().filter(|key| *key != STEPS).chain(OWN).collect();
        if known.contains(key.as_str()) {
            return Ok(key);
        }
        let known: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
        let known = known.join(", ");
        Err(D::Error::custom(format!("unknown field `{key}`, expected one of {known}")))
    }
}

impl Serialize for TrainSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let table = |config: &TrainConfig| Table::try_from(config).map_err(S::Error::custom);
        let (mut kept, usual) = (table(&self.trainer)?, table(&TrainConfig::new(1))?);
        kept.remove(STEPS);
        kept.retain(|key, value| ALWAYS.contains(&key) || usual.get(key) != Some(&*value));
        kept.extend(self.given.clone());
        let own = [
            ("sequence_length", self.sequence_length),
            ("batch_size", self.batch_size),
            ("epochs", self.epochs),
        ];
        for (key, count) in own {
            let count = i64::try_from(count).map_err(S::Error::custom)?;
            kept.insert(key.to_owned(), Value::Integer(count));
        }
        kept.serialize(serializer)
    }
}

/// The names of a struct's fields, as serde knows them.
fn fields<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut found: &'static [&'static str] = &[];
    // The error ends the call; nothing is read.
    let _ = T::deserialize(Probe(&mut found));
    found
}

/// A deserializer that keeps the names of the fields which a struct asks it for, and gives nothing.
struct Probe<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Probed;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Probed> {
        Err(<Probed as serde::de::Error>::custom("no struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Probed> {
        *self.0 = fields;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use mixdown_train::{DeviceChoice, Schedule, TrainConfig};

    use super::{TrainSettings, fields};

    const LEAST: &str = "sequence_length = 128\nbatch_size = 16\n";

    fn read(text: &str) -> Result<TrainSettings, String> {
        toml::from_str(&format!("{LEAST}{text}")).map_err(|error| error.to_string())
    }

    #[test]
    fn every_setting_of_the_trainer_is_one_of_a_sweep() {
        let usual = TrainConfig::new(1);
        let known = fields::<TrainConfig>();
        assert!(known.contains(&"learning_rate") && known.contains(&"epsilon"), "{known:?}");
        let own = "final_learning_rate_share = 0.0\nepsilon = 1e-6\nkeep_checkpoints = 1\ndecay_steps = 7\n\
                   path = 'reference'\nfreeze = ['*.bias']\nema = 0.9\nmicro_batch_size = 2\nrecompute = true";
        let read = read(own).unwrap().trainer;
        assert_eq!((read.epsilon, read.keep_checkpoints, read.decay_steps), (1e-6, 1, Some(7)));
        assert_ne!(read.path, usual.path);
        assert_eq!(
            (read.schedule, read.warmup_steps, read.patience),
            (Schedule::Constant, 10, Some(3))
        );
        let defaults = super::TrainSettings::of(toml::from_str(LEAST).unwrap()).unwrap();
        let expected = TrainConfig {
            schedule: Schedule::Constant,
            warmup_steps: 10,
            patience: Some(3),
            learning_rate: defaults.trainer.learning_rate,
            ..usual
        };
        assert_eq!((defaults.trainer, defaults.epochs), (expected, 12));
    }

    #[test]
    fn what_is_written_reads_back_and_says_no_more_than_it_must() {
        let written = |text: &str| toml::to_string(&read(text).unwrap()).unwrap();
        let usual = written("");
        assert_eq!(usual.lines().count(), 13, "{usual}");
        assert_eq!(written("epsilon = 1e-8\nkeep_checkpoints = 2"), usual);
        // Of sweeps that said so before, too: their fingerprints have it.
        assert!(written("device = 'cpu'").contains("device = \"cpu\""));
        for text in ["", "device = 'cpu'", "clip = inf\nema = 0.5", "[lora]\nrank = 4"] {
            let settings = read(text).unwrap();
            let again: TrainSettings =
                toml::from_str(&toml::to_string(&settings).unwrap()).unwrap();
            assert_eq!(again, settings, "{text}");
        }
        assert_eq!(read("device = 'cuda:1'").unwrap().trainer.device, DeviceChoice::Cuda(1));
    }

    #[test]
    fn errors_name_the_key() {
        for (text, expected) in [
            ("steps = 100", "`steps` is no setting of a sweep: `epochs` says"),
            (
                "lerning_rate = 1",
                "unknown field `lerning_rate`, expected one of `batch_size`, `beta1`",
            ),
            ("ema = 'much'", "ema: "),
            ("epochs = -1", "epochs"),
            ("lora = { rnak = 3 }", "rnak"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let error = toml::from_str::<TrainSettings>("batch_size = 3").unwrap_err().to_string();
        assert!(error.contains("sequence_length"), "{error}");
    }
}
