"""The adapters and meta-models that come with elmlff, plugins like any other.

A family of force fields has a folder of the same few files: ``adapter`` with its hooks, which the entry-point group
``elmlff`` names, ``options``, and what it takes to evaluate and to train.  No adapter imports its backend before it is
used.
"""
