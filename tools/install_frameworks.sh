#!/bin/sh
# Installs what the Python package's examples are for into a virtual environment, beside the package and its tests:
#
#     python3 -m venv frameworks && tools/install_frameworks.sh frameworks
#     frameworks/bin/python -m pytest crates/python/tests
#
# Several gigabytes, mostly PyTorch. The versions are those that the examples were last run with.
set -eu
cd "$(dirname "$0")/.."
python=$1/bin/python
"$python" -m pip install --quiet 'torch==2.13.*' 'torchdata==0.11.*' 'transformers==5.23.*' 'accelerate==1.15.*' \
    'lightning==2.6.*' 'torchtitan==0.3.*' 'megatron-core==0.16.*' 'grain==0.2.*' 'jax==0.10.*' 'lm-eval[hf]==0.4.*' \
    'pytest>=8' tqdm
"$python" -m pip install --quiet ./crates/python
