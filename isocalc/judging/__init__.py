"""Simulated spectra held against a law at finite width: statistics, allowances, verdicts."""
