//! The mixer: planning and gathering, apart.
//!
//! `plan`: nanoseconds a slot (criterion's time for 4,096 slots, as elements per second) for
//! K = 1, 2, 7 (tabulated and tree) and 64 sources: schedule, permutation and window, no token
//! read. The keys of each source's epoch are derived once, outside the timing.
//! `seek`: one slot at a random place of a fresh planner, keys included.
//! `gather`: tokens a second (elements) and bytes delivered, of whole batches of 64 rows, mix
//! 70/20/10, planning included, from a warm map of 64 MiB of 16-bit ids in a temporary folder.
//! `loader`: the same batches taken from a loader of one and of two threads, buffers going back to it.
//! Writing the corpora, opening and mapping are outside. There is no C limit in this bench; the
//! peers' table is made by its own runner.
//!
//! `cargo bench -p mixdown-benches --bench mixer`

use std::error::Error;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mixdown_mixer::{
    Batch, Loader, LoaderConfig, Mixer, Mixture, MixtureConfig, Permutation, Rank, Schedule,
    SourceConfig, Weight, WeightParts, WeightUnit, WindowOffset,
};
use mixdown_shards::{Access, Dtype, Fingerprint, Manifest, ShardWriter, SplitRecord};

type Outcome<T> = Result<T, Box<dyn Error>>;

const VOCAB_SIZE: u64 = 50_257;
const SLOTS: u64 = 4_096;

fn write_corpus(folder: &Path, tokens: u64, seed: u64) -> Outcome<()> {
    let dtype = Dtype::for_vocab(VOCAB_SIZE);
    let mut writer = ShardWriter::create(&folder.join("train"), "shard-00000", dtype, VOCAB_SIZE)?;
    let mut state = seed;
    let mut left = tokens;
    while left > 0 {
        let mut document = Vec::new();
        for _ in 0..left.min(1_000) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            document.push(u32::try_from((state >> 33) % VOCAB_SIZE)?);
        }
        left -= left.min(1_000);
        writer.push(&document, 4_000, state, None)?;
    }
    let (train, holdout) = (SplitRecord::new(vec![writer.finish()?]), SplitRecord::new(Vec::new()));
    let tokenizer_fingerprint = Fingerprint::of(b"bench");
    Manifest::new(dtype, VOCAB_SIZE, tokenizer_fingerprint, train, holdout).write(folder)?;
    Ok(())
}

/// A mixer whose sources all draw from one corpus.
fn mixer(corpus: &Path, weights: &[u64], sequence_length: u64) -> Outcome<Mixer> {
    let source = (0..)
        .zip(weights)
        .map(|(place, &weight): (u32, _)| {
            Ok(SourceConfig {
                name: format!("source {place}"),
                corpus: PathBuf::from(corpus),
                weight: Some(Weight::from_integer(weight)?),
                max_tokens: None,
                max_epochs: None,
            })
        })
        .collect::<Outcome<Vec<_>>>()?;
    let config = MixtureConfig {
        sequence_length,
        batch_size: 64,
        seed: 7,
        window_offset: WindowOffset::Epoch,
        shuffle_block: None,
        weight_unit: WeightUnit::Sequences,
        access: Access::Map,
        source,
        stage: Vec::new(),
    };
    Ok(Mixer::new(Mixture::open(&config, Path::new(""))?)?)
}

fn mixtures() -> Vec<(&'static str, Vec<u64>)> {
    vec![
        ("1", vec![1]),
        ("2", vec![99, 1]),
        ("7 tabulated", vec![1_301, 707, 405, 203, 101, 33, 7]),
        ("7 tree", vec![130_001, 70_007, 40_005, 20_003, 10_001, 303, 7]),
        ("64 tree", (1..=64).map(|rank| 1_000_000_000 / rank).collect()),
    ]
}

#[expect(clippy::expect_used, reason = "a refusal in the loop would be timed as if it were work")]
fn plan(criterion: &mut Criterion, corpus: &Path) -> Outcome<()> {
    let mut group = criterion.benchmark_group("plan");
    group.throughput(Throughput::Elements(SLOTS));
    for (name, weights) in mixtures() {
        let schedule = Schedule::new(WeightParts::new(&weights)?);
        group.bench_function(BenchmarkId::new("schedule", name), |bencher| {
            bencher.iter(|| (0..SLOTS).map(|slot| schedule.at(slot).sequence).fold(0, u64::max));
        });
        let mixer = mixer(corpus, &weights, 128)?;
        let mut planner = mixer.planner();
        let mut slots = Vec::new();
        planner.plan(0..SLOTS, &mut slots)?;
        group.bench_function(BenchmarkId::new("slots", name), |bencher| {
            bencher.iter(|| planner.plan(0..SLOTS, black_box(&mut slots)).expect("slots planned"));
        });
    }
    for len in [300, 1_000_000, 1_000_000_000_000] {
        let permutation = Permutation::new(len, &[7; 32])?;
        group.bench_function(BenchmarkId::new("permutation", len), |bencher| {
            bencher.iter(|| (0..SLOTS).map(|item| permutation.apply(item)).fold(0, u64::max));
        });
    }
    group.finish();
    let mixer = mixer(corpus, &mixtures()[4].1, 128)?;
    let mut place = 1_u64;
    criterion.bench_function("seek/64 tree", |bencher| {
        bencher.iter(|| {
            place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            mixer.slot(place >> 14).expect("a slot of a checked mixture")
        });
    });
    Ok(())
}

#[expect(clippy::expect_used, reason = "a refusal in the loop would be timed as if it were work")]
fn gather(criterion: &mut Criterion, corpus: &Path) -> Outcome<()> {
    let mut group = criterion.benchmark_group("gather");
    for sequence_length in [128, 512, 1_024, 4_096] {
        let mixer = mixer(corpus, &[70, 20, 10], sequence_length)?;
        let mut planner = mixer.planner();
        let (mut slots, mut batch, mut step) = (Vec::new(), Batch::<u32>::default(), 0_u64);
        group.throughput(Throughput::ElementsAndBytes {
            elements: 64 * sequence_length,
            bytes: 64 * sequence_length * 4,
        });
        group.bench_function(BenchmarkId::new("batch", sequence_length), |bencher| {
            bencher.iter(|| {
                step += 1;
                let batch_slots = mixer.slots(step, Rank::single()).expect("a step of 64 bits");
                planner.plan(batch_slots, &mut slots).expect("slots planned");
                mixer.gather(&slots, &mut batch).expect("a batch gathered");
            });
        });
    }
    group.finish();
    Ok(())
}

#[expect(clippy::expect_used, reason = "a refusal in the loop would be timed as if it were work")]
fn loader(criterion: &mut Criterion, corpus: &Path) -> Outcome<()> {
    let mut group = criterion.benchmark_group("loader");
    for sequence_length in [128, 1_024, 4_096] {
        let mixer = Arc::new(mixer(corpus, &[70, 20, 10], sequence_length)?);
        group.throughput(Throughput::ElementsAndBytes {
            elements: 64 * sequence_length,
            bytes: 64 * sequence_length * 4,
        });
        for threads in [1, 2] {
            let config = LoaderConfig { threads, ..LoaderConfig::from_step(0) };
            let mut batches = Loader::<u32>::new(Arc::clone(&mixer), config)?;
            let id = BenchmarkId::new(format!("{threads} threads"), sequence_length);
            group.bench_function(id, |bencher| {
                bencher.iter(|| batches.next().expect("an endless run").expect("a batch"));
            });
        }
    }
    group.finish();
    Ok(())
}

fn run(criterion: &mut Criterion) -> Outcome<()> {
    let folder = std::env::temp_dir().join(format!("mixdown-bench-{}", std::process::id()));
    let outcome = write_corpus(&folder, 32 << 20, 1)
        .and_then(|()| plan(criterion, &folder))
        .and_then(|()| gather(criterion, &folder))
        .and_then(|()| loader(criterion, &folder));
    std::fs::remove_dir_all(&folder)?;
    outcome
}

fn all(criterion: &mut Criterion) {
    if let Err(error) = run(criterion) {
        #[expect(clippy::panic, reason = "a bench that cannot run must fail loudly")]
        {
            panic!("{error}");
        }
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
