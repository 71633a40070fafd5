#!/usr/bin/env bash
# Make the environment in which CHGNet runs, beside this script. Its wheel brings its weights: nothing is downloaded later.
set -euo pipefail
cd "$(dirname "$0")"
"${PYTHON:-python3}" -m venv chgnet-env
chgnet-env/bin/pip install --quiet chgnet numpy ase
chgnet-env/bin/python -c "from chgnet.model.dynamics import CHGNetCalculator; CHGNetCalculator(use_device='cpu')"
