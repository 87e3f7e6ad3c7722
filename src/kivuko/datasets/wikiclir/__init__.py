"""WikiCLIR: a cross-lingual collection built from the dumps of two Wikipedias."""
