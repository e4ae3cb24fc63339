//! Corpora in a temporary folder, whose tokens encode their positions.

use std::path::{Path, PathBuf};

use mixdown_mixer::{Mixer, Mixture, MixtureConfig, SourceConfig, WeightUnit, WindowOffset};
use mixdown_shards::{
    Access, DocumentBytes, Dtype, Fingerprint, Manifest, PackRecord, ShardRecord, ShardWriter,
    Sketch, Split, SplitRecord,
};

pub const VOCAB_SIZE: u64 = 1 << 24;

/// The contents of a test corpus: token i of the training split has the id `first_token + i`.
pub struct CorpusPlan<'a> {
    pub name: &'a str,
    pub first_token: u32,
    pub train_tokens: u32,
    pub train_hashes: &'a [u64],
    pub holdout_hashes: &'a [u64],
    pub tokenizer: &'a [u8],
    /// Whether the training split has a loss mask.
    pub labeled: bool,
    /// If set, the manifest says that the documents are in rows of this many inputs.
    pub pack: Option<u64>,
    /// Whether documents have sketches; those whose hashes are equal modulo 1,000 are then near-duplicates.
    pub sketched: bool,
    /// Tokens per shard; by default one more than a third.
    pub shard_len: Option<usize>,
}

impl Default for CorpusPlan<'_> {
    fn default() -> Self {
        Self {
            name: "corpus",
            first_token: 0,
            train_tokens: 1_000,
            train_hashes: &[],
            holdout_hashes: &[],
            tokenizer: b"one",
            labeled: false,
            pack: None,
            sketched: false,
            shard_len: None,
        }
    }
}

/// Writes the corpus, its training split in three shards of several documents.
pub fn write(parent: &Path, plan: &CorpusPlan<'_>) -> PathBuf {
    let folder = parent.join(plan.name);
    let dtype = Dtype::for_vocab(VOCAB_SIZE);
    let end = plan.first_token + plan.train_tokens;
    let tokens: Vec<u32> = (plan.first_token..end).collect();
    let mut hashes = plan.train_hashes.iter().copied().chain(1_000_000_u64 + u64::from(end)..);
    let shard_len = plan.shard_len.unwrap_or(tokens.len() / 3 + 1);
    let train: Vec<ShardRecord> = tokens
        .chunks(shard_len)
        .enumerate()
        .map(|(i, shard)| {
            let documents = shard.chunks(37).map(|document| (document, hashes.next().unwrap()));
            write_shard(&folder, Split::Train, i, (plan.labeled, plan.sketched), documents)
        })
        .collect();
    let mut holdout = Vec::new();
    if !plan.holdout_hashes.is_empty() {
        let documents = plan.holdout_hashes.iter().map(|&hash| (&[1_u32, 2, 3][..], hash));
        holdout.push(write_shard(&folder, Split::Holdout, 0, (false, plan.sketched), documents));
    }
    let (train, holdout) = (SplitRecord::new(train), SplitRecord::new(holdout));
    let tokenizer_fingerprint = Fingerprint::of(plan.tokenizer);
    Manifest {
        pack: plan.pack.map(|sequence_length| PackRecord { sequence_length, padding: 0 }),
        ..Manifest::new(dtype, VOCAB_SIZE, tokenizer_fingerprint, train, holdout)
    }
    .write(&folder)
    .unwrap();
    folder
}

fn write_shard<'a>(
    folder: &Path,
    split: Split,
    number: usize,
    (labeled, sketched): (bool, bool),
    documents: impl Iterator<Item = (&'a [u32], u64)>,
) -> ShardRecord {
    let name = format!("shard-{number:05}");
    let dtype = Dtype::for_vocab(VOCAB_SIZE);
    let mut writer =
        ShardWriter::create(&folder.join(split.folder()), &name, dtype, VOCAB_SIZE).unwrap();
    for (document, hash) in documents {
        let mask: Option<Vec<u8>> =
            labeled.then(|| document.iter().map(|&token| counts(token)).collect());
        let ids: Vec<u8> = document.iter().flat_map(|id| id.to_le_bytes()).collect();
        let document = DocumentBytes {
            ids: &ids,
            text_bytes: 10,
            hash,
            mask: mask.as_deref(),
            own_id: None,
            sketch: sketched.then(|| Sketch::of_hash(hash % 1_000)),
        };
        writer.push_bytes(&document).unwrap();
    }
    writer.finish().unwrap()
}

/// The loss mask of a labeled corpus: whether the token with this id counts.
pub fn counts(id: u32) -> u8 {
    u8::from(id % 5 < 3)
}

pub fn source(name: &str, weight: &str) -> SourceConfig {
    SourceConfig {
        name: name.to_owned(),
        corpus: PathBuf::from(name),
        weight: Some(weight.parse().unwrap()),
        max_tokens: None,
        max_epochs: None,
    }
}

pub fn config(source: Vec<SourceConfig>) -> MixtureConfig {
    MixtureConfig {
        sequence_length: 16,
        batch_size: 24,
        seed: 7,
        window_offset: WindowOffset::Epoch,
        shuffle_block: None,
        weight_unit: WeightUnit::Sequences,
        access: Access::Map,
        source,
        stage: Vec::new(),
    }
}

/// A mixer over corpora written for it: source i's tokens start at i · 100,000.
pub struct TestMixer {
    pub folder: tempfile::TempDir,
    pub config: MixtureConfig,
    pub mixer: Mixer,
}

/// Makes a mixer from sources of (name, weight, training tokens).
pub fn mixer(sources: &[(&str, &str, u32)]) -> TestMixer {
    mixer_with(sources, |_| {})
}

pub fn mixer_with(
    sources: &[(&str, &str, u32)],
    change: impl FnOnce(&mut MixtureConfig),
) -> TestMixer {
    mixer_of(sources, |_| {}, change)
}

/// Makes a mixer with corpora and a description that are changed before they are written.
pub fn mixer_of(
    sources: &[(&str, &str, u32)],
    plan: impl Fn(&mut CorpusPlan<'_>),
    change: impl FnOnce(&mut MixtureConfig),
) -> TestMixer {
    let folder = tempfile::tempdir().unwrap();
    for (place, &(name, _, train_tokens)) in (0_u32..).zip(sources) {
        let first_token = place * 100_000;
        let mut corpus = CorpusPlan { name, first_token, train_tokens, ..Default::default() };
        plan(&mut corpus);
        write(folder.path(), &corpus);
    }
    let mut config =
        config(sources.iter().map(|&(name, weight, _)| source(name, weight)).collect());
    change(&mut config);
    let mixture = Mixture::open(&config, folder.path()).unwrap();
    let mixer = Mixer::new(mixture).unwrap();
    TestMixer { folder, config, mixer }
}

impl TestMixer {
    /// Opens the same corpora under a changed description.
    pub fn reopened(&self, change: impl FnOnce(&mut MixtureConfig)) -> Mixer {
        let mut config = self.config.clone();
        change(&mut config);
        Mixer::new(Mixture::open(&config, self.folder.path()).unwrap()).unwrap()
    }
}
