"""``python -m benchmarks``: run every benchmark that this machine can run."""

from benchmarks.training_step import main as training_step
from benchmarks.transport import main as transport

transport()
training_step()
