"""Reproduction: the paper's study of one system, beside what it published.

`elmlff_core.reproducing` tells the story.
"""
