"""The environment in which models of DeePMD-kit's TensorFlow backend run."""

DEEPMD_TENSORFLOW = "deepmd-tensorflow"
