"""The peer: how clip-retrieval's back end searches, without what it does not need here.

As in its ``clip_back``: a Flask application on Flask's own server, one text encoded and one FAISS search for each
request, the metadata looked up, JSON out. Run as ``python -m benchmarks.search_peer GALLERY MODEL PORT``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import faiss
import numpy as np


def application(gallery: Path, model: Path) -> Any:
    """Return the application over the same vectors and, where one was saved, the same FAISS index as Kivuko's."""
    from flask import Flask
    from sentence_transformers import SentenceTransformer

    from kivuko.search.store import IndexStore

    encoder = SentenceTransformer(str(model), device="cpu")
    with IndexStore.open(gallery) as store:
        saved = store.path / "index" / f"{store.generation}.faiss"
        if saved.is_file():
            index = faiss.read_index(str(saved), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
        else:
            index = faiss.IndexIDMap(faiss.IndexFlatIP(store.dim))
            for ids, vectors in store.vectors():
                index.add_with_ids(vectors, ids)
        metadata = {item.id: (item.key, item.caption) for item in store.items(store.ids())}
    _search_as_wide(index)
    return _routes(Flask(__name__), encoder, index, metadata)


def _search_as_wide(index: Any) -> None:
    """Let the index look as far as Kivuko's does: otherwise it would be quicker by finding less."""
    from kivuko.search import faiss_index

    if isinstance(index, faiss.IndexIVF):
        index.nprobe = faiss_index._PROBES
    elif isinstance(inner := faiss.downcast_index(index.index), faiss.IndexHNSW):
        inner.hnsw.efSearch = faiss_index._SEARCH_WIDTH


def _routes(app: Any, encoder: Any, index: Any, metadata: dict[int, tuple[str, str | None]]) -> Any:
    from flask import jsonify, request

    @app.post("/knn-service")
    def knn() -> Any:
        asked = request.get_json()
        query = np.asarray(encoder.encode([asked["text"]], normalize_embeddings=True), dtype=np.float32)
        scores, ids = index.search(query, int(asked["num_images"]))
        return jsonify([
            {"id": int(id), "url": metadata[int(id)][0], "caption": metadata[int(id)][1], "similarity": float(score)}
            for id, score in zip(ids[0], scores[0], strict=True) if id >= 0
        ])  # fmt: skip

    @app.get("/health")
    def health() -> Any:
        return jsonify({"ok": True})

    return app


if __name__ == "__main__":
    import logging

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application(Path(sys.argv[1]), Path(sys.argv[2])).run("127.0.0.1", int(sys.argv[3]), debug=False)
