"""``python -m benchmarks``: run every benchmark that this machine can run."""

from benchmarks.bitext import main as bitext
from benchmarks.bitext_cleaning import main as bitext_cleaning
from benchmarks.indexing import main as indexing
from benchmarks.search import main as search
from benchmarks.search_filtered import main as search_filtered
from benchmarks.student_training import main as student_training
from benchmarks.training_step import main as training_step
from benchmarks.transport import main as transport

transport()
training_step()
student_training([])
bitext([])
bitext_cleaning([])
indexing([])
search([])
search_filtered([])
