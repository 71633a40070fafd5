"""Selection: which structures of trajectories to label next."""
