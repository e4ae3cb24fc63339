#!/usr/bin/env bash
# usage: tools/fuzz/run.sh TARGET SECONDS      TARGET: manifest, index, sums, import, jsonl or mixer
# Runs one fuzz target on the stable toolchain with address sanitizer and libFuzzer's coverage. What it
# finds is left in tools/fuzz/artifacts/TARGET; the corpus grows in tools/fuzz/corpus/TARGET, beginning
# with the golden files of testdata.
set -euo pipefail
target=${1:?target}; seconds=${2:?seconds}
cd "$(dirname "$0")"
golden=../../testdata/golden/format-v1/tiny
interchange=../../testdata/interchange
mkdir -p "corpus/$target" "artifacts/$target"
features=()
case "$target" in
  manifest) seeds=(../../testdata/golden/*/*/manifest.json) ;;
  index) seeds=("$golden"/train/*.idx) ;;
  sums) seeds=("$golden"/train/*.sums) ;;
  import) seeds=("$interchange"/*/*) ;;
  mixer) seeds=("$golden"/train/*.sums) ;;
  jsonl) seeds=(seeds/jsonl/*); features=(--features documents) ;;
  *) echo "no target $target" >&2; exit 2 ;;
esac
for seed in "${seeds[@]}"; do
  name="corpus/$target/seed-$(basename "$(dirname "$seed")")-$(basename "$seed")"
  if [ "$target" = import ]; then
    # The first byte names what the file is: see src/bin/import.rs.
    for kind in 0 1 2 3 4 5; do { printf "\\x0$kind"; cat "$seed"; } > "$name-$kind"; done
  else
    cp "$seed" "$name"
  fi
done
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="--cfg fuzzing -Zsanitizer=address -Cpasses=sancov-module
  -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
host=$(rustc -vV | sed -n 's/^host: //p')
cargo build --release --locked --target "$host" --bin "$target" "${features[@]}"
scratch=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d)
trap 'rm -rf "$scratch"' EXIT
TMPDIR=$scratch ASAN_OPTIONS=detect_leaks=0 "target/$host/release/$target" \
  "corpus/$target" -artifact_prefix="artifacts/$target/" -max_total_time="$seconds" \
  -max_len=4096 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1
