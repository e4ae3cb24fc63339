#!/usr/bin/env bash
# usage: tools/fuzz/run.sh TARGET SECONDS
# TARGET: manifest, index, sums, import, jsonl, columns, template, mixture, mixer, tables, model or tokenizer
# Runs one fuzz target on the stable toolchain with address sanitizer and libFuzzer's coverage. What it
# finds is left in tools/fuzz/artifacts/TARGET; the corpus grows in tools/fuzz/corpus/TARGET, beginning
# with files of testdata and of tools/fuzz/seeds.
set -euo pipefail
target=${1:?target}; seconds=${2:?seconds}
cd "$(dirname "$0")"
golden=../../testdata/golden/format-v1/tiny
interchange=../../testdata/interchange
mkdir -p "corpus/$target" "artifacts/$target"
features=(); max_bytes=4096
# Adds a file to the corpus; with a second argument after a byte of this value, which names what the file
# is: see src/bin/TARGET.rs.
add() {
  local name
  name="corpus/$target/seed-$(basename "$(dirname "$1")")-$(basename "$1")"
  if [ $# = 1 ]; then cp "$1" "$name"; else { printf "\\x0$2"; cat "$1"; } > "$name-$2"; fi
}
case "$target" in
  manifest) for seed in ../../testdata/golden/*/*/manifest.json; do add "$seed"; done ;;
  index) for seed in "$golden"/train/*.idx; do add "$seed"; done ;;
  sums | mixer) for seed in "$golden"/train/*.sums; do add "$seed"; done ;;
  import)
    for seed in "$interchange"/*/*; do for kind in 0 1 2 3 4 5; do add "$seed" "$kind"; done; done ;;
  jsonl | mixture)
    if [ "$target" = jsonl ]; then features=(--features documents); fi
    for seed in seeds/"$target"/*; do add "$seed"; done ;;
  template) for seed in ../../testdata/chat/*.jinja seeds/template/*; do add "$seed"; done ;;
  columns)
    features=(--features documents); max_bytes=16384
    for seed in ../../testdata/documents/*.parquet; do add "$seed" 0; done
    for seed in ../../testdata/documents/*.arrow; do add "$seed" 1; done
    for seed in ../../testdata/documents/*.arrows; do add "$seed" 2; done ;;
  tables)
    features=(--features runs)
    for seed in seeds/tables/*.csv; do add "$seed" 0; done
    for seed in seeds/tables/*.jsonl; do add "$seed" 1; done
    for kind in 2 3; do printf "\\x0$kind" > "corpus/$target/seed-$kind"; done ;;
  model)
    features=(--features train)
    for seed in ../../testdata/train/*/config.json seeds/model/config-*; do add "$seed" 0; done
    for seed in seeds/model/header-*; do add "$seed" 1; done
    add seeds/model/index.json 3 ;;
  tokenizer)
    features=(--features tokenize); max_bytes=16384
    for seed in ../../testdata/tokenizers/*.json seeds/tokenizer/*; do
      if [ "$(wc -c < "$seed")" -le "$max_bytes" ]; then add "$seed"; fi
    done ;;
  *) echo "no target $target" >&2; exit 2 ;;
esac
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="--cfg fuzzing -Zsanitizer=address -Cpasses=sancov-module
  -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
host=$(rustc -vV | sed -n 's/^host: //p')
cargo build --release --locked --target "$host" --bin "$target" "${features[@]}"
scratch=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d)
trap 'rm -rf "$scratch"' EXIT
TMPDIR=$scratch ASAN_OPTIONS=detect_leaks=0 "${CARGO_TARGET_DIR:-target}/$host/release/$target" \
  "corpus/$target" -artifact_prefix="artifacts/$target/" -max_total_time="$seconds" \
  -max_len="$max_bytes" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1
