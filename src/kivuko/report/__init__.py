"""Reports: pure functions from records to what a person reads."""
