"""Measures, intervals, tests and records, and the calls that evaluate and attack a model."""
