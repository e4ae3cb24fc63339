//! Prints the sequences of a mixture's first steps, and what each rank gets of one step.
//!
//!     cargo run -p mixdown-mixer --example mix_corpora -- mix.toml

#![expect(clippy::print_stdout, reason = "an example's result")]

use std::error::Error;
use std::path::Path;

use mixdown_mixer::{Batch, Mixer, Mixture, MixtureConfig, Rank};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: mix_corpora MIX.toml")?;
    let config: MixtureConfig = toml::from_str(&std::fs::read_to_string(&path)?)?;
    let base = Path::new(&path).parent().unwrap_or(Path::new(""));
    let mixer = Mixer::new(Mixture::open(&config, base)?)?;

    // Any slot of the endless run is available at once: nothing is built or replayed.
    for slot in [0, 1, 2, 1_000_000] {
        let slot = mixer.slot(slot)?;
        println!(
            "slot {}: source {}, epoch {}, from token {}",
            slot.slot, slot.source, slot.epoch, slot.start_token
        );
    }
    // A batch of any step and rank; `tokens` has T + 1 ids per row.
    let mut batch = Batch::<u32>::default();
    mixer.batch(7, Rank::single(), &mut batch)?;
    println!("step 7: {} rows, sources {:?}", batch.rows, batch.sources);
    // The state is a slot and a hash of everything that determines the run's order.
    let state = mixer.state(8 * mixer.batch_size());
    assert_eq!(mixer.resume(&state)?, 8 * mixer.batch_size());
    Ok(())
}
