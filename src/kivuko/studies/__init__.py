"""Studies: the research questions, and the demo, as experiments that end in records."""
