//! How fast weights are written and read.

use super::{SHARD_BYTES, read_model, write_model};
use crate::model::config::Family;
use crate::weights::hugging_face::tensors;
use crate::weights::hugging_face::test_models::{layout, tiny};

#[test]
#[ignore = "a timing: reads and writes 1.2 GB"]
fn a_large_model_is_read_at_the_speed_of_the_disk() {
    let mut config = tiny(Family::Gpt2);
    (config.vocab_size, config.hidden_size, config.head_width) = (50_257, 1024, 256);
    (config.intermediate_size, config.layers) = (4096, 20);
    let place = tempfile::tempdir().unwrap();
    let layout = layout(&config);
    let tensors = tensors(&config, &layout);
    let values = vec![1.0; layout.len];
    let start = std::time::Instant::now();
    write_model(place.path(), &tensors, &values, SHARD_BYTES).unwrap();
    let written = start.elapsed();
    for _ in 0..3 {
        let start = std::time::Instant::now();
        read_model(place.path(), &config, &tensors, layout.len).unwrap();
        let read = start.elapsed();
        let gigabytes = f64::from(u32::try_from(4 * layout.len / 1_000_000).unwrap()) / 1e3;
        note(gigabytes / written.as_secs_f64(), gigabytes / read.as_secs_f64());
    }
}

#[expect(clippy::print_stderr, reason = "a timing that is asked for")]
fn note(written: f64, read: f64) {
    eprintln!("written at {written:.2} GB/s with the disk's sync, read at {read:.2} GB/s");
}
