//! The loader: the mixer's batches with any number of threads, and an end at any time.

use std::sync::Arc;
use std::time::Duration;

use mixdown_mixer::{Batch, Error, Loader, LoaderConfig, Mixer, Rank};

use crate::corpora::{mixer, mixer_of, mixer_with};
use crate::random::Random;

fn expected(mixer: &Mixer, step: u64, rank: Rank) -> Batch {
    let mut batch = Batch::default();
    mixer.batch(step, rank, &mut batch).unwrap();
    mixer.add_documents(&mut batch).unwrap();
    batch
}

#[test]
fn batches_come_in_order_and_are_the_mixer_s() {
    let sources = [("math", "3", 1_000), ("chats", "1", 900)];
    let test = mixer_of(&sources, |plan| plan.labeled = plan.name == "chats", |_| {});
    let mixer = Arc::new(test.mixer.clone());
    for (threads, batches_ahead, rank) in [
        (1, 1, Rank::single()),
        (2, 3, Rank::new(1, 3).unwrap()),
        (5, 16, Rank::new(7, 8).unwrap()),
    ] {
        let config = LoaderConfig { steps: 11..60, rank, threads, batches_ahead, documents: true };
        let mut loader = Loader::<u32>::new(Arc::clone(&mixer), config).unwrap();
        let mut held = Vec::new();
        for step in 11..60 {
            assert_eq!(loader.step(), step);
            assert_eq!(loader.state(), mixer.state(step * 24));
            let batch = loader.next().unwrap().unwrap();
            assert_eq!(batch.step(), step);
            assert_eq!(*batch, expected(&mixer, step, rank));
            // The consumer holds on to some, which does not block the loader.
            if step % 7 == 0 {
                held.push(batch);
            }
        }
        assert!(loader.next().is_none() && loader.next().is_none());
        drop(loader);
        for batch in held {
            let step = batch.step();
            assert_eq!(batch.into_inner(), expected(&mixer, step, rank));
        }
    }
}

#[test]
fn a_resumed_loader_goes_on_with_other_threads_and_ranks() {
    let test = mixer(&[("math", "3", 1_000), ("general", "1", 900)]);
    let mixer = Arc::new(test.mixer.clone());
    let mut random = Random(8);
    let mut step = 0;
    let mut slots = Vec::new();
    while step < 300 {
        let world_size = [1, 2, 3, 4, 6, 8][usize::try_from(random.below(6)).unwrap()];
        let steps = 1 + random.below(20);
        let mut parts: Vec<Vec<Batch>> = Vec::new();
        for rank in 0..world_size {
            let config = LoaderConfig {
                rank: Rank::new(rank, world_size).unwrap(),
                threads: u32::try_from(1 + random.below(3)).unwrap(),
                batches_ahead: u32::try_from(1 + random.below(5)).unwrap(),
                ..LoaderConfig::from_step(step)
            };
            let mut loader = Loader::<u32>::new(Arc::clone(&mixer), config).unwrap();
            let take = (0..steps).map(|_| loader.next().unwrap().unwrap().into_inner());
            parts.push(take.collect());
            assert_eq!(loader.state().slot(), (step + steps) * 24);
        }
        for step in 0..usize::try_from(steps).unwrap() {
            let mut batch: Vec<u64> =
                parts.iter().flat_map(|part| part[step].slots.clone()).collect();
            batch.sort_unstable();
            slots.extend(batch);
        }
        step += steps;
    }
    assert!(slots.into_iter().eq(0..step * 24));
}

/// The vocabulary does not fit in 16 bits: the first batch reports it, and nothing follows.
#[test]
fn an_error_comes_once_and_ends_the_loader() {
    let test = mixer(&[("math", "1", 1_000)]);
    for threads in [1, 3] {
        let config = LoaderConfig { threads, ..LoaderConfig::from_step(5) };
        let mut loader = Loader::<u16>::new(Arc::new(test.mixer.clone()), config).unwrap();
        assert!(matches!(loader.next(), Some(Err(Error::Corpus { .. }))));
        assert!(loader.next().is_none() && loader.next().is_none());
    }
}

#[test]
fn what_no_loader_can_do() {
    let test = mixer(&[("math", "1", 1_000)]);
    let refusal = |change: fn(&mut LoaderConfig)| {
        let mut config = LoaderConfig::from_step(0);
        change(&mut config);
        Loader::<u32>::new(Arc::new(test.mixer.clone()), config).unwrap_err().to_string()
    };
    assert!(refusal(|config| config.threads = 1_000_000).contains("1 to 1024, got 1000000"));
    assert!(refusal(|config| config.threads = 0).contains("threads: expected 1 to 1024"));
    assert!(
        refusal(|config| config.batches_ahead = 0).contains("batches_ahead: expected 1 to 65536")
    );
    assert!(refusal(|config| config.rank = Rank::new(0, 5).unwrap()).contains("world size 5"));
    // The last steps that 64 bits can count.
    let last = u64::MAX / 24;
    let mut loader =
        Loader::<u32>::new(Arc::new(test.mixer.clone()), LoaderConfig::from_step(last - 2))
            .unwrap();
    assert!(loader.next().unwrap().is_ok() && loader.next().unwrap().is_ok());
    assert!(loader.next().is_none());
}

/// Dropping a loader at any moment, with any number of threads and any number of batches made, held and wanted, from
/// the reading thread or another one, causes no deadlock and no panic.
#[test]
fn ten_thousand_loaders_are_dropped_under_load() {
    let test = mixer_with(&[("math", "3", 1_000), ("general", "1", 900)], |config| {
        config.batch_size = 4;
    });
    let mixer = Arc::new(test.mixer.clone());
    let mut random = Random(10);
    for round in 0..10_000 {
        let config = LoaderConfig {
            steps: 0..random.below(40),
            rank: Rank::single(),
            threads: u32::try_from(1 + random.below(4)).unwrap(),
            batches_ahead: u32::try_from(1 + random.below(6)).unwrap(),
            documents: random.below(4) == 0,
        };
        let end = config.steps.end;
        let mut loader = Loader::<i32>::new(Arc::clone(&mixer), config).unwrap();
        let wanted = random.below(20);
        let mut held = Vec::new();
        for step in 0..wanted {
            match loader.next() {
                Some(batch) => {
                    let batch = batch.unwrap();
                    assert_eq!((batch.step(), batch.slots[0]), (step, step * 4));
                    if random.below(3) == 0 {
                        held.push(batch);
                    }
                }
                None => assert!(step >= end),
            }
        }
        if round % 100 == 0 {
            std::thread::sleep(Duration::from_micros(random.below(300)));
        }
        match random.below(3) {
            0 => drop(loader),
            1 => std::thread::spawn(move || drop(loader)).join().unwrap(),
            _ => {
                drop(held);
                drop(loader);
            }
        }
    }
}
