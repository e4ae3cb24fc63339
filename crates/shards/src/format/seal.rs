//! The seal of a manifest (docs/format.md, section 6): the sums of the manifest and of the tokenizer's files beside it.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use mixdown_base::files;
use serde::{Deserialize, Serialize};

use crate::Damage;
use crate::Error;
use crate::Fingerprint;
use crate::Manifest;
use crate::format::manifest_rules::wrong;

/// Files beside the manifest that belong to a corpus.
pub(crate) const COMPANIONS: [&str; 3] =
    ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"];

/// The size limit of a companion that is read whole: that of a tokenizer.json.
const MAX_COMPANION_BYTES: u64 = 256 << 20;

/// The last member of a sealed manifest.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Seal {
    /// The BLAKE3 hash of each existing companion.
    companions: BTreeMap<String, Fingerprint>,
    /// The BLAKE3 hash of manifest.json with 64 zeros in the place of these digits.
    sum: Fingerprint,
}

/// Returns the JSON of `manifest` with the seal of the companions in `folder`.
pub(crate) fn sealed_json(manifest: &Manifest, folder: &Path) -> Result<Vec<u8>, Error> {
    #[derive(Serialize)]
    struct Sealed<'a> {
        #[serde(flatten)]
        manifest: &'a Manifest,
        seal: Seal,
    }
    let path = folder.join(Manifest::FILE);
    let mut companions = BTreeMap::new();
    for name in COMPANIONS {
        if let Some(bytes) = companion(&folder.join(name))? {
            companions.insert(name.to_owned(), Fingerprint::of(&bytes));
        }
    }
    let seal = Seal { companions, sum: Fingerprint::from_bytes([0; 32]) };
    let mut sealed = Sealed { manifest, seal };
    let json = |sealed: &Sealed<'_>| {
        let mut bytes = serde_json::to_vec_pretty(sealed)
            .map_err(|source| Error::ManifestJson { path: path.clone(), source })?;
        bytes.push(b'\n');
        Ok(bytes)
    };
    sealed.seal.sum = Fingerprint::of(&json(&sealed)?);
    json(&sealed)
}

/// Returns the seal of the manifest with these bytes, if it has one, after checking its sum.
pub(crate) fn check_sum(path: &Path, json: &[u8]) -> Result<Option<Seal>, Error> {
    #[derive(Deserialize)]
    struct MaybeSealed {
        seal: Option<Seal>,
    }
    let manifest: MaybeSealed = serde_json::from_slice(json)
        .map_err(|source| Error::ManifestJson { path: path.to_owned(), source })?;
    let Some(seal) = manifest.seal else {
        // Unknown members are ignored, so a damaged name would hide the seal.
        const MEMBER: &[u8] = b"\"companions\"";
        if json.windows(MEMBER.len()).any(|part| part == MEMBER) {
            let expected = "the member \"seal\" of a sealed manifest";
            return Err(Error::damaged(path, None, expected, "its content under another name"));
        }
        return Ok(None);
    };
    let unknown = seal.companions.keys().find(|name| !COMPANIONS.contains(&name.as_str()));
    if let Some(name) = unknown {
        let expected = format!("only {}", COMPANIONS.join(", "));
        return Err(wrong(path, "seal.companions", expected, crate::error::quoted(name)));
    }
    let digits = seal.sum.to_string();
    let mut zeroed = json.to_vec();
    // The seal is the last member, so this search ends at once.
    let place = json.windows(digits.len()).rposition(|part| part == digits.as_bytes());
    if let Some(digits) = place.and_then(|at| zeroed.get_mut(at..at + digits.len())) {
        digits.fill(b'0');
    }
    let got = Fingerprint::of(&zeroed);
    if got == seal.sum {
        return Ok(Some(seal));
    }
    let expected = format!("the manifest as it was written, with the sum {}", seal.sum);
    Err(Error::damaged(path, None, expected, format!("another one, with {got}")))
}

/// Returns the damage to the tokenizer's files beside a manifest: differences from its seal, and files that are not
/// JSON.
pub(crate) fn check_companions(folder: &Path, seal: Option<&Seal>) -> Result<Vec<Damage>, Error> {
    let mut damage = Vec::new();
    for name in COMPANIONS {
        let path = folder.join(name);
        let bytes = companion(&path)?;
        let sum = seal.map(|seal| seal.companions.get(name));
        damage.extend(companion_damage(path, bytes.as_deref(), sum));
    }
    Ok(damage)
}

/// Returns the bytes of a tokenizer file beside a manifest, unchanged since the corpus was finished; none if it did not
/// exist then.
pub(crate) fn sound_companion(folder: &Path, name: &str) -> Result<Option<Vec<u8>>, Error> {
    let (_, seal) = Manifest::read_with_seal(folder)?;
    let path = folder.join(name);
    let bytes = companion(&path)?;
    let sum = seal.as_ref().map(|seal| seal.companions.get(name));
    // A corpus without a seal may have no tokenizer.
    if bytes.is_none() && sum.is_none() {
        return Ok(None);
    }
    match companion_damage(path, bytes.as_deref(), sum) {
        None => Ok(bytes),
        Some(Damage { path, offset_bytes, expected, got }) => {
            Err(Error::Damaged { path, offset_bytes, expected, got })
        }
    }
}

/// Checks a file against `sum`, which is the seal's: no seal, no entry for this file, or the file's hash.
fn companion_damage(
    path: PathBuf,
    bytes: Option<&[u8]>,
    sum: Option<Option<&Fingerprint>>,
) -> Option<Damage> {
    let expected_and_got = match (bytes, sum) {
        (None, Some(Some(_))) => {
            Some(("the file that the corpus was finished with".to_owned(), "no file".to_owned()))
        }
        (None, None) if path.ends_with("tokenizer.json") => {
            Some(("the tokenizer that made the corpus".to_owned(), "no file".to_owned()))
        }
        (None, _) => None,
        (Some(_), Some(None)) => Some((
            "no file, as when the corpus was finished".to_owned(),
            "one that came later".to_owned(),
        )),
        (Some(bytes), Some(Some(sum))) if Fingerprint::of(bytes) != *sum => {
            Some((format!("a file with the hash {sum}"), Fingerprint::of(bytes).to_string()))
        }
        (Some(bytes), _) => serde_json::from_slice::<serde::de::IgnoredAny>(bytes)
            .err()
            .map(|error| ("one JSON value".to_owned(), error.to_string())),
    };
    expected_and_got.map(|(expected, got)| Damage { path, offset_bytes: None, expected, got })
}

fn companion(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match files::read_capped(path, MAX_COMPANION_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(files::Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
