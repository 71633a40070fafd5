"""The adapters and meta-models that come with elmlff; they are plugins like those of other packages.

Each family of force fields has a folder with the same few files: ``adapter`` with the hooks, which is listed in the
entry-point group ``elmlff``, ``options``, and modules for evaluation and training.  No adapter imports its backend
before it is used.
"""
