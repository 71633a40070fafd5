"""Ablation: what the parts of the paper's network are worth.  `elmlff_core.ablating` tells the story."""
