//! MIX.toml of any content beside three small corpora; its paths begin in their folder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mixdown_fuzz::numbered_corpus;
use mixdown_mixer::{Batch, Mixer, Mixture, MixtureConfig, Rank};

/// Tokens of the corpora c0, c1 and c2; token i of corpus c has the id 10,000 · c + i.
const TOKENS: [u32; 3] = [40, 333, 1_025];
/// No batch of more tokens is made.
const MOST_TOKENS: u64 = 1 << 16;

thread_local! {
    static FOLDER: tempfile::TempDir = {
        let folder = tempfile::tempdir().expect("a scratch folder");
        for (corpus, tokens) in (0..).zip(TOKENS) {
            numbered_corpus(&folder.path().join(format!("c{corpus}")), 10_000 * corpus, tokens);
        }
        folder
    };
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(config) = toml::from_str::<MixtureConfig>(text) else { return };
    let written = toml::to_string(&config).expect("what was read can be written");
    assert_eq!(toml::from_str::<MixtureConfig>(&written).as_ref(), Ok(&config), "{written}");
    FOLDER.with(|folder| {
        let mixture = Mixture::open_lazily(&config, folder.path());
        if let Ok(mixer) = mixture.and_then(Mixer::new) {
            check(&mixer);
        }
    });
});

fn check(mixer: &Mixer) {
    let mut planner = mixer.planner();
    for n in (0..20).chain([1_000, u64::from(u32::MAX), u64::MAX - 1]) {
        let slot = mixer.slot(n);
        assert_eq!(planner.slot(n).ok(), slot.as_ref().ok().copied());
        let Ok(slot) = slot else { continue };
        assert_eq!(mixer.slot_of(slot.source, slot.sequence).expect("a slot of this run"), n);
        assert!(slot.window < mixer.mixture().sequences(slot.source).expect("a source"));
    }
    let _ = mixer.stage_shares(100);
    let row_tokens = mixer.sequence_length().saturating_add(1);
    if mixer.batch_size().saturating_mul(row_tokens) > MOST_TOKENS {
        return;
    }
    let mut batch = Batch::<u32>::default();
    for step in [0, 7, u64::MAX / mixer.batch_size() / 2] {
        if mixer.batch(step, Rank::single(), &mut batch).is_err() {
            continue;
        }
        let rows = batch.tokens.chunks(row_tokens as usize);
        assert_eq!(rows.len() as u64, mixer.batch_size());
        for (row, &source) in rows.zip(&batch.sources) {
            let place = source as usize;
            let name = mixer.mixture().sources()[place].corpus.folder().file_name();
            let numbered = ["c0", "c1", "c2"].iter().position(|own| name == Some(own.as_ref()));
            let first = 10_000 * numbered.expect("one of the corpora") as u32;
            let own = first..first + TOKENS[numbered.expect("one of the corpora")];
            assert!(row.iter().all(|id| own.contains(id)), "{row:?} of source {source}");
        }
    }
}
