"""Benchmarks: ours, the peers and the limit, in turns, within one run."""
