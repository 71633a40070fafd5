"""Sweep: what every subset of the bases is worth.  `elmlff_core.sweeping` tells the story in calls to this room."""
