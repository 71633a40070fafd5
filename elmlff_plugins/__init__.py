"""The adapters and meta-models that come with elmlff, plugins like any other.

One module per adapter, named in the entry-point group ``elmlff``; none of those imports its backend before it is used.
"""
