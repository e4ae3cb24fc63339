//! Folders of safetensors files: sharded, damaged, of other types.

use std::fs;
use std::path::Path;

use mixdown_base::error_kind::ErrorKind;
use serde_json::{Value, json};

use super::{INDEX_FILE, SHARD_BYTES, read_model, write_model};
use crate::Error;
use crate::model::config::{Family, ModelConfig};
use crate::weights::hugging_face::test_models::{every, layout, tiny};
use crate::weights::hugging_face::{FileTensor, tensors};
use crate::weights::weights_file::{read_flat, write_flat};

/// Numbers of every kind, NaNs with a payload among them.
fn values(len: usize) -> Vec<f32> {
    (0..u32::try_from(len).unwrap())
        .map(|n| f32::from_bits(n.wrapping_mul(2_654_435_761)))
        .collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn read(folder: &Path, config: &ModelConfig) -> Result<Vec<f32>, Error> {
    let layout = layout(config);
    read_model(folder, config, &tensors(config, &layout), layout.len)
}

fn write(folder: &Path, config: &ModelConfig, shard_bytes: u64) -> Vec<f32> {
    let layout = layout(config);
    let values = values(layout.len);
    write_model(folder, &tensors(config, &layout), &values, shard_bytes).unwrap();
    values
}

/// The names and contents of a safetensors file, read by the library as a whole.
fn contents(path: &Path) -> Vec<(String, Vec<usize>, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<_> = file
        .tensors()
        .into_iter()
        .map(|(name, view)| (name, view.shape().to_vec(), view.data().to_vec()))
        .collect();
    tensors.sort();
    tensors
}

/// Writes tensors of any type and shape with the library.
fn store(path: &Path, tensors: &[(&str, safetensors::Dtype, Vec<usize>, Vec<u8>)]) {
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        (*name, safetensors::tensor::TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn bits_come_back_in_one_file_and_in_many() {
    for config in every() {
        // Each file waits for the disk, so not all of them are sharded, and one by every tensor.
        let is_first = config == tiny(config.family);
        let all_shards: &[u64] = match config.family {
            Family::Llama if is_first => &[SHARD_BYTES, 2000, 0],
            _ if is_first => &[SHARD_BYTES, 5000],
            _ => &[SHARD_BYTES],
        };
        for shard_bytes in all_shards {
            let place = tempfile::tempdir().unwrap();
            let values = write(place.path(), &config, *shard_bytes);
            assert_eq!(bits(&read(place.path(), &config).unwrap()), bits(&values));
            let is_one = *shard_bytes == SHARD_BYTES;
            assert_eq!(place.path().join("model.safetensors").exists(), is_one);
            assert_eq!(place.path().join(INDEX_FILE).exists(), !is_one);
        }
    }
}

#[test]
fn an_index_tells_each_tensor_and_the_sum() {
    let place = tempfile::tempdir().unwrap();
    let config = tiny(Family::Llama);
    let values = write(place.path(), &config, 3000);
    let index: Value =
        serde_json::from_slice(&fs::read(place.path().join(INDEX_FILE)).unwrap()).unwrap();
    assert_eq!(index["metadata"]["total_size"], 4 * values.len());
    let map = index["weight_map"].as_object().unwrap();
    assert_eq!(map.len(), 2 * 9 + 3);
    let files: std::collections::BTreeSet<_> = map.values().map(|v| v.as_str().unwrap()).collect();
    let mut total_bytes = 0;
    for (n, file) in files.iter().enumerate() {
        assert_eq!(*file, format!("model-{:05}-of-{:05}.safetensors", n + 1, files.len()));
        let tensors = contents(&place.path().join(file));
        let file_bytes: usize = tensors.iter().map(|(_, _, bytes)| bytes.len()).sum();
        assert!(file_bytes <= 3000 || tensors.len() == 1);
        assert!(tensors.iter().all(|(name, ..)| map[name] == *file));
        total_bytes += file_bytes;
    }
    assert!(files.len() > 3 && total_bytes == 4 * values.len());
}

#[test]
fn the_file_is_what_the_library_reads() {
    let place = tempfile::tempdir().unwrap();
    let config = tiny(Family::Gpt2);
    let values = write(place.path(), &config, SHARD_BYTES);
    let path = place.path().join("model.safetensors");
    let layout = layout(&config);
    let written = contents(&path);
    let find = |name: &str| written.iter().find(|(other, ..)| other == name).unwrap();
    let (_, shape, bytes) = find("transformer.h.1.mlp.c_fc.weight");
    assert_eq!(*shape, [16, 12]);
    let ours = &values[layout.blocks[1].up.weight.clone()];
    for (n, number) in bytes.as_chunks().0.iter().enumerate() {
        let (input, output) = (n / 12, n % 12);
        assert_eq!(*number, ours[output * 16 + input].to_le_bytes());
    }
    let file = fs::read(&path).unwrap();
    assert!(file[8..].starts_with(b"{\"__metadata__\":{\"format\":\"pt\"},\"transformer.wte"));
    assert_eq!(u64::from_le_bytes(file[..8].try_into().unwrap()) % 8, 0);
}

#[test]
fn halves_are_read_exactly() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("w");
    let data = vec![0x00, 0x3c, 0x00, 0xc0];
    store(
        &path,
        &[
            ("a", safetensors::Dtype::F16, vec![2], data.clone()),
            ("b", safetensors::Dtype::BF16, vec![2], data),
        ],
    );
    let (mut a, mut b) = ([0.0; 2], [0.0; 2]);
    read_flat(&path, &mut [("b", &mut b), ("a", &mut a)]).unwrap();
    assert_eq!(bits(&a), bits(&[1.0, -2.0]));
    assert_eq!(bits(&b), [0x3c00_0000, 0xc000_0000]);
    store(&path, &[("a", safetensors::Dtype::F64, vec![2], vec![0; 16])]);
    let error = read_flat(&path, &mut [("a", &mut a)]).unwrap_err().to_string();
    assert!(error.ends_with("expected a as F32, F16 or BF16, got F64"), "{error}");
}

#[test]
fn large_tensors_go_in_parts() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("w");
    let numbers = values((1 << 22) + (1 << 18) + 5);
    write_flat(&path, &[("first", &numbers), ("second", &numbers[..3])]).unwrap();
    let (mut first, mut second) = (vec![0.0; numbers.len()], vec![0.0; 3]);
    read_flat(&path, &mut [("first", &mut first), ("second", &mut second)]).unwrap();
    assert!(bits(&first) == bits(&numbers) && bits(&second) == bits(&numbers[..3]));
    let mut config = tiny(Family::Gpt2);
    // A row of 600 numbers does not divide a part, and a matrix is several parts.
    (config.hidden_size, config.head_width, config.intermediate_size) = (200, 50, 3000);
    let values = write(place.path(), &config, SHARD_BYTES);
    assert_eq!(bits(&read(place.path(), &config).unwrap()), bits(&values));
}

#[test]
fn differences_are_listed() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("w");
    write_flat(&path, &[("b", &[1.5, -0.0]), ("a", &[f32::MIN_POSITIVE])]).unwrap();
    let (mut one, mut two, mut three) = ([0.0], [0.0; 2], [0.0; 3]);
    let error = read_flat(&path, &mut [("a", &mut one), ("c", &mut two)]).unwrap_err();
    assert!(error.to_string().ends_with("missing tensors: c; unexpected tensors: b"), "{error}");
    let error = read_flat(&path, &mut [("a", &mut one), ("b", &mut three)]).unwrap_err();
    assert!(error.to_string().ends_with("expected b of shape [3], got [2]"), "{error}");

    let config = tiny(Family::Llama);
    write(place.path(), &config, SHARD_BYTES);
    let biased = ModelConfig { mlp_bias: true, layers: 1, ..config.clone() };
    let error = read(place.path(), &biased).unwrap_err().to_string();
    assert!(error.contains("missing tensors: model.layers.0.mlp.gate_proj.bias"), "{error}");
    assert!(error.contains("unexpected tensors: model.layers.1.input_layernorm.weight"), "{error}");
    let larger = ModelConfig { vocab_size: 48, ..config.clone() };
    let error = read(place.path(), &larger).unwrap_err().to_string();
    let words = "model.embed_tokens.weight of 48 rows, the vocab_size of config.json, got 40 rows";
    assert!(error.ends_with(words), "{error}");
    let wider = ModelConfig { intermediate_size: 13, ..config.clone() };
    let error = read(place.path(), &wider).unwrap_err().to_string();
    assert!(error.ends_with("gate_proj.weight of shape [13, 16], got [12, 16]"), "{error}");
    // A tied model's file may have the head too, or alone; an untied one's must.
    let tied = ModelConfig { tied_embeddings: true, ..config.clone() };
    read(place.path(), &tied).unwrap();
    store_as(place.path(), |name| name.replace("model.embed_tokens", "other"), &[]);
    let error = read(place.path(), &tied).unwrap_err().to_string();
    assert!(error.ends_with("missing tensors: none; unexpected tensors: other.weight"), "{error}");
    write(place.path(), &tied, SHARD_BYTES);
    let error = read(place.path(), &config).unwrap_err().to_string();
    assert!(error.contains("missing tensors: lm_head.weight; unexpected tensors: none"), "{error}");
}

/// One byte is a mask of ours, everything else a weight.
fn dtype_of(data: &[u8]) -> safetensors::Dtype {
    if data.len() == 1 { safetensors::Dtype::BOOL } else { safetensors::Dtype::F32 }
}

/// Stores a model's file again under other names, with more tensors.
fn store_as(folder: &Path, rename: impl Fn(&str) -> String, more: &[&str]) {
    let path = folder.join("model.safetensors");
    let mut tensors: Vec<_> = contents(&path)
        .into_iter()
        .map(|(name, shape, data)| (rename(&name), dtype_of(&data), shape, data))
        .collect();
    tensors.extend(
        more.iter().map(|name| ((*name).to_owned(), safetensors::Dtype::BOOL, vec![1], vec![1])),
    );
    let tensors: Vec<_> = tensors
        .iter()
        .map(|(name, d, s, data)| (name.as_str(), *d, s.clone(), data.clone()))
        .collect();
    store(&path, &tensors);
}

#[test]
fn older_and_newer_files_are_read() {
    let place = tempfile::tempdir().unwrap();
    let config = tiny(Family::Gpt2);
    let values = write(place.path(), &config, SHARD_BYTES);
    let short = |name: &str| name.trim_start_matches("transformer.").to_owned();
    let more = ["h.0.attn.bias", "h.1.attn.masked_bias", "lm_head.weight"];
    store_as(place.path(), short, &more);
    assert_eq!(bits(&read(place.path(), &config).unwrap()), bits(&values));
    store_as(place.path(), str::to_owned, &["transformer.wte.weight"]);
    let error = read(place.path(), &config).unwrap_err().to_string();
    assert!(error.contains("expected one tensor transformer.wte.weight"), "{error}");

    let config = tiny(Family::GptNeoX);
    let values = write(place.path(), &config, SHARD_BYTES);
    let newer = |name: &str| name.replace("embed_out", "lm_head");
    let more = [
        "gpt_neox.layers.0.attention.bias",
        "gpt_neox.layers.0.attention.masked_bias",
        "gpt_neox.layers.0.attention.rotary_emb.inv_freq",
    ];
    store_as(place.path(), newer, &more);
    assert_eq!(bits(&read(place.path(), &config).unwrap()), bits(&values));
    store_as(place.path(), str::to_owned, &["score.weight"]);
    let error = read(place.path(), &config).unwrap_err().to_string();
    assert!(error.ends_with("missing tensors: none; unexpected tensors: score.weight"), "{error}");
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("w");
    write_flat(&path, &[("a", &[1.0; 9])]).unwrap();
    let bytes = fs::read(&path).unwrap();
    for len in 0..bytes.len() {
        fs::write(&path, &bytes[..len]).unwrap();
        let error = read_flat(&path, &mut [("a", &mut [0.0; 9])]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    }
    fs::write(&path, [bytes.as_slice(), &[0]].concat()).unwrap();
    assert!(read_flat(&path, &mut [("a", &mut [0.0; 9])]).is_err());
}

#[test]
fn a_folder_without_weights_says_what_it_needs() {
    let place = tempfile::tempdir().unwrap();
    let config = tiny(Family::Llama);
    let error = read(place.path(), &config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let words = "weights: expected model.safetensors or model.safetensors.index.json, got none";
    assert!(error.to_string().contains(words), "{error}");
    fs::write(place.path().join("pytorch_model.bin"), "x").unwrap();
    let error = read(place.path(), &config).unwrap_err().to_string();
    assert!(error.contains("got pytorch_model.bin") && error.contains("save it as safetensors"));
}

#[test]
fn damaged_indexes_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let config = tiny(Family::Llama);
    write(place.path(), &config, 3000);
    let path = place.path().join(INDEX_FILE);
    let whole: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let first = "model-00001-of-00007.safetensors";
    let with = |name: &str, value: Value| {
        let mut index = whole.clone();
        index["weight_map"][name] = value;
        index
    };
    assert_eq!(whole["weight_map"]["model.embed_tokens.weight"], first);
    let cases = [
        (json!({}), "expected a weight_map of names and files, got none"),
        (json!([]), "expected a weight_map"),
        (with("x", json!(first)), "expected x, as model.safetensors.index.json says"),
        (with("x", json!(3)), "expected the name of a file in this folder for x, got 3"),
        (with("x", json!("../w")), "got \"../w\""),
        (with("x", json!("/etc/passwd")), "got \"/etc/passwd\""),
        (with("x", json!("a/b")), "got \"a/b\""),
        (with("x", json!("a\\b")), "got \"a\\\\b\""),
        (with("x", json!("..")), "got \"..\""),
        (with("x", json!("")), "got \"\""),
    ];
    for (index, words) in cases {
        fs::write(&path, index.to_string()).unwrap();
        let error = read(place.path(), &config).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    fs::write(&path, &whole.to_string()[..40]).unwrap();
    assert!(read(place.path(), &config).is_err());
    // The same tensor in two files.
    let copy = "copy.safetensors";
    fs::copy(place.path().join(first), place.path().join(copy)).unwrap();
    fs::write(&path, with("model.embed_tokens.weight", json!(copy)).to_string()).unwrap();
    let twice = with("model.embed_tokens.weight", json!(copy));
    fs::write(&path, twice.to_string()).unwrap();
    let only = read(place.path(), &config);
    assert!(only.is_ok(), "the first file is not named any more");
    let others = contents(&place.path().join("model-00002-of-00007.safetensors"));
    let tensors: Vec<_> = others
        .iter()
        .chain(&contents(&place.path().join(first)))
        .map(|(name, shape, data)| (name.clone(), shape.clone(), data.clone()))
        .collect();
    let tensors: Vec<_> = tensors
        .iter()
        .map(|(n, s, d)| (n.as_str(), safetensors::Dtype::F32, s.clone(), d.clone()))
        .collect();
    store(&place.path().join("model-00002-of-00007.safetensors"), &tensors);
    let error = read(place.path(), &config).unwrap_err().to_string();
    assert!(error.contains("expected one tensor model.embed_tokens.weight"), "{error}");
    // A file that the index names and the folder lacks.
    fs::write(&path, whole.to_string()).unwrap();
    fs::remove_file(place.path().join(first)).unwrap();
    let error = read(place.path(), &config).unwrap_err();
    assert!(
        error.kind() == ErrorKind::Configuration && error.to_string().contains(first),
        "{error}"
    );
}

#[test]
fn only_tensors_that_are_there_are_split_off() {
    // `split` needs ranges without overlaps; those of a model in any order are.
    let config = tiny(Family::Qwen3);
    let layout = layout(&config);
    let mut tensors: Vec<FileTensor> = tensors(&config, &layout);
    tensors.reverse();
    let mut out = values(layout.len);
    let expected = out.clone();
    for (tensor, part) in super::split(&tensors, &mut out) {
        assert_eq!(bits(part), bits(&expected[tensor.range.clone()]));
    }
}

#[test]
fn models_of_transformers_come_back_byte_by_byte() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/train");
    for name in ["gpt2", "llama", "qwen2", "qwen3", "pythia"] {
        let (folder, place) = (models.join(name), tempfile::tempdir().unwrap());
        let config = ModelConfig::read(&folder).unwrap();
        let values = read(&folder, &config).unwrap();
        let layout = layout(&config);
        write_model(place.path(), &tensors(&config, &layout), &values, SHARD_BYTES).unwrap();
        let [ours, theirs] =
            [place.path(), &folder].map(|folder| contents(&folder.join("model.safetensors")));
        assert!(ours == theirs, "{name}");
    }
}

#[test]
#[ignore = "writes models of every kind to $MIXDOWN_MODELS, for transformers to open"]
fn fresh_models_for_transformers() {
    let place = std::path::PathBuf::from(std::env::var("MIXDOWN_MODELS").unwrap());
    for (n, config) in every().into_iter().enumerate() {
        let folder = place.join(format!("{}-{n}", config.family));
        fs::create_dir_all(&folder).unwrap();
        crate::weights::write_json(&folder.join("config.json"), &config.to_json()).unwrap();
        let layout = layout(&config);
        let values: Vec<f32> =
            (0_u16..).take(layout.len).map(|n| f32::from(n) / 65_536.0).collect();
        let shard_bytes = if n % 2 == 0 { SHARD_BYTES } else { 5000 };
        write_model(&folder, &tensors(&config, &layout), &values, shard_bytes).unwrap();
    }
}

/// Memory is taken for what the files hold, whatever config.json asks for.
#[test]
fn a_config_of_a_huge_model_takes_no_memory() {
    let mut config = tiny(Family::Gpt2);
    let place = tempfile::tempdir().unwrap();
    write(place.path(), &config, u64::MAX);
    config.intermediate_size = 1 << 40;
    let error = read(place.path(), &config).unwrap_err().to_string();
    assert!(error.contains("of shape"), "{error}");
}

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
