"""Simulated spectra held against a law at finite width: statistics, allowances, verdicts.

`judge` says whether replicates agree with a law: `statistics` computes what is compared, `width_law` what the
law says at width N, `allowances` has the calibrated numbers. `width_trend` judges several widths together,
`freeness` a network's own gates against independent ones, `histogram` is the picture: theory (50) to (56).
"""
