"""Reports: records to what a person reads."""
