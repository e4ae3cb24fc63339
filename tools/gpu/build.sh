#!/bin/sh
# Builds mixdown with the feature `cuda` and packs it with the tests of its kernels and the scripts of this folder:
# mixdown-gpu.tar.gz, at most 64 MiB. No CUDA toolkit and no GPU are needed here; libcuda, NVRTC and cuBLAS are found
# on the GPU machine when a run starts. Nothing of NVIDIA's is packed.
#
#     tools/gpu/build.sh [OUT.tar.gz]
set -eu
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
out=${1:-$target/mixdown-gpu.tar.gz}
cargo build --release --locked --package mixdown --features cuda
# The same tests that run on the emulator here run on the GPU there.
tests=$(cargo test --release --locked --package mixdown-train --features cuda --lib --no-run 2>&1 |
    sed -n 's/.*Executable.*(\(.*\)).*/\1/p')
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
mkdir "$folder/mixdown-gpu"
cp "$target/release/mixdown" "$folder/mixdown-gpu/mixdown"
cp "$tests" "$folder/mixdown-gpu/kernel-tests"
cp tools/gpu/check.py tools/gpu/torch_steps.py "$folder/mixdown-gpu/"
strip "$folder/mixdown-gpu/mixdown" "$folder/mixdown-gpu/kernel-tests"
tar -C "$folder" -czf "$out" mixdown-gpu
bytes=$(wc -c <"$out")
echo "$out: $bytes bytes"
test "$bytes" -le 67108864
