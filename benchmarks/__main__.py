"""``python -m benchmarks``: run every benchmark."""

from benchmarks.transport import main

main()
