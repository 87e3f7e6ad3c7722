"""Index a folder in a process that is to be killed: ``killed_indexing.py FOLDER INDEX``, in small commits."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))


def main() -> None:
    from tiny_encoder import TinyEncoder

    from kivuko.search import building as indexing
    from kivuko.search.sources import FolderSource

    indexing.BATCH, indexing.COMMIT = 4, 8
    folder, index = map(Path, sys.argv[1:3])
    print("ready", flush=True)
    indexing.index_images(TinyEncoder(), [FolderSource(folder)], index, model=Path("model"), workers=1)
    print("done", flush=True)


if __name__ == "__main__":
    main()
