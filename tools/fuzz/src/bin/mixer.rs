//! Any mixture of four small corpora: every slot against a naive model that counts and remembers.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use mixdown_fuzz::numbered_corpus;
use mixdown_mixer::{Batch, Mixer, Mixture, MixtureConfig, Rank, Slot};

/// Tokens of the corpora; token i of corpus c has the id 10,000 · c + i.
const TOKENS: [u32; 4] = [40, 333, 700, 1_025];

thread_local! {
    static FOLDER: (tempfile::TempDir, Vec<PathBuf>) = {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let corpora = (0..).zip(TOKENS).map(|(corpus, tokens)| {
            let path = folder.path().join(format!("c{corpus}"));
            numbered_corpus(&path, 10_000 * corpus, tokens);
            path
        });
        let corpora = corpora.collect();
        (folder, corpora)
    };
}

/// Numbers out of the input, 0 where it has ended.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u64 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        u64::from(first)
    }

    /// A weight from 1 on, small or of any size up to 2⁴⁰.
    fn weight(&mut self) -> u64 {
        let bits = self.byte() % 41;
        let bytes = [self.byte(), self.byte(), self.byte(), self.byte(), self.byte()];
        let number = bytes.iter().fold(0, |number, byte| number << 8 | byte);
        1 + (number & ((1 << bits) - 1))
    }
}

struct Run {
    mixer: Mixer,
    /// Per stage its first slot and weights; 0 for a source without any.
    stages: Vec<(u64, Vec<u64>)>,
}

fn run(input: &mut Input<'_>, corpora: &[PathBuf]) -> Option<Run> {
    let sources = 1 + input.byte() as usize % corpora.len();
    let mut stages = Vec::new();
    let mut start = 0;
    for _ in 0..1 + input.byte() % 3 {
        let given = input.byte();
        let weights = (0..sources).map(|i| if given >> i & 1 == 0 { input.weight() } else { 0 });
        stages.push((start, weights.collect::<Vec<_>>()));
        start += 1 + 3 * input.byte();
    }
    let mut text = format!(
        "sequence_length = {}\nbatch_size = {}\nseed = {}\n",
        1 + input.byte() % 40,
        1 + input.byte() % 12,
        input.byte(),
    );
    if input.byte() % 2 == 1 {
        text += "window_offset = \"fixed\"\n";
    }
    if input.byte() % 2 == 1 {
        text += &format!("shuffle_block = {}\n", 1 + input.byte());
    }
    for (i, corpus) in corpora.iter().enumerate().take(sources) {
        text += &format!("[[source]]\nname = \"s{i}\"\ncorpus = {corpus:?}\n");
        if stages[0].1[i] > 0 {
            text += &format!("weight = {}\n", stages[0].1[i]);
        }
        if input.byte() % 4 == 0 {
            text += &format!("max_tokens = {}\n", 4 * input.byte());
        }
    }
    for (start, weights) in &stages[1..] {
        text += &format!("[[stage]]\nstart = \"{start} sequences\"\n[stage.weights]\n");
        let given = weights.iter().enumerate().filter(|(_, weight)| **weight > 0);
        text += &given.map(|(i, weight)| format!("s{i} = {weight}\n")).collect::<String>();
    }
    let config: MixtureConfig = toml::from_str(&text).expect("a description of this shape");
    // Refused: a source shorter than a sequence, a stage without weights.
    let mixer = Mixer::new(Mixture::open_lazily(&config, "".as_ref()).ok()?).ok()?;
    Some(Run { mixer, stages })
}

/// The row of a slot, by the words of the contract.
fn row(mixer: &Mixer, slot: &Slot) -> Vec<u32> {
    let targets = mixer.mixture().sequences(slot.source).unwrap() * mixer.sequence_length();
    let start = slot.start_token;
    let tokens = (0..mixer.sequence_length()).map(|i| (start + i) % targets + 1);
    let ids = std::iter::once(start).chain(tokens).map(|token| token as u32);
    ids.map(|token| 10_000 * slot.source + token).collect()
}

/// |count − n·w| times the sum of the weights, and the bound that it must keep.
fn check_share(count: u64, n: u64, weights: &[u64], source: usize) {
    let sum: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
    let given = u128::from(count) * sum;
    let deviation = given.abs_diff(u128::from(n) * u128::from(weights[source]));
    let sources = weights.iter().filter(|weight| **weight > 0).count();
    let bound = match sources {
        1 => 0,
        2 => 500,
        _ => 1_680,
    };
    assert!(deviation * 1_000 <= sum * bound, "{count} of {n} by {weights:?}");
}

fn check(Run { mixer, stages }: &Run) {
    let mut counts = vec![0_u64; stages[0].1.len()];
    let mut since = counts.clone();
    let mut windows: BTreeMap<(u32, u64), (BTreeSet<u64>, u64)> = BTreeMap::new();
    let mut planner = mixer.planner();
    let mut batch = Batch::<u32>::default();
    let end = 600 / mixer.batch_size() * mixer.batch_size();
    for n in 0..end {
        let (start, weights) = stages.iter().rev().find(|(start, _)| *start <= n).unwrap();
        if *start == n {
            since.fill(0);
        }
        if n % mixer.batch_size() == 0 {
            mixer.batch(n / mixer.batch_size(), Rank::single(), &mut batch).unwrap();
        }
        let slot = planner.slot(n).unwrap();
        assert_eq!(slot, mixer.slot(n).unwrap());
        let source = slot.source as usize;
        assert!(weights[source] > 0);
        assert_eq!(slot.sequence, counts[source]);
        assert_eq!(mixer.slot_of(slot.source, slot.sequence).unwrap(), n);
        counts[source] += 1;
        since[source] += 1;
        (0..weights.len()).for_each(|i| check_share(since[i], n + 1 - start, weights, i));
        let sequences = mixer.mixture().sequences(slot.source).unwrap();
        assert_eq!(slot.epoch, slot.sequence / sequences);
        let offset = slot.start_token - slot.window * mixer.sequence_length();
        let (seen, first_offset) =
            windows.entry((slot.source, slot.epoch)).or_insert_with(|| (BTreeSet::new(), offset));
        assert!(slot.window < sequences && seen.insert(slot.window) && *first_offset == offset);
        let row_len = mixer.sequence_length() as usize + 1;
        let place = (n % mixer.batch_size()) as usize * row_len;
        assert_eq!(batch.tokens[place..place + row_len], row(mixer, &slot));
    }
}

fuzz_target!(|data: &[u8]| {
    FOLDER.with(|(_, corpora)| {
        if let Some(run) = run(&mut Input(data), corpora) {
            check(&run);
        }
    });
});
