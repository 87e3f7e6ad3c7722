"""A text collection of single words, and a model that has learned its Swahili words from its teacher's English."""

from __future__ import annotations

from pathlib import Path

import torch

from kivuko.encoders.model import About, quiet, save_model
from kivuko.encoders.student import StaticStudent
from kivuko.encoders.vocabulary import train_vocabulary
from tiny_bert import save_teacher

WORDS = {"paka": "cat", "mbwa": "dog", "samaki": "fish", "ndege": "bird", "nyumba": "house", "mti": "tree"}
DIM = 24


def make_model(place: Path) -> Path:
    """Write "teacher" and "model" into a folder; return the model's."""
    from kivuko.encoders.teacher import load_teacher

    with quiet():
        save_teacher(place / "teacher", list(WORDS.values()), DIM, seed=1)
        teacher = load_teacher(place / "teacher")
        wanted = teacher.encode_tokens(list(WORDS.values())).pooled
        student = StaticStudent(train_vocabulary(list(WORDS), size=200), DIM)
        parts = torch.zeros(len(WORDS), student.tokenizer.get_vocab_size())
        for row, word in enumerate(WORDS):
            ids = student.tokenizer.encode(word, add_special_tokens=False).ids
            parts[row].index_add_(0, torch.tensor(ids), torch.full((len(ids),), 1 / len(ids)))
        with torch.no_grad():
            student.embedding.weight.copy_(torch.linalg.lstsq(parts, wanted, driver="gelsd").solution)
        about = About("teacher", str(place / "teacher"), "static", "optical", 0, {"sw": len(WORDS)}, run="tiny")
        save_model(place / "model", student, None, about, "card")
    return place / "model"


def make_collection(folder: Path, english: bool = True, documents: str = "documents.en.tsv") -> Path:
    """Write queries (Swahili words), documents (English words) and judgments; one query has no relevant document."""
    folder.mkdir(parents=True)
    swahili = [f"{number}\t{word}\n" for number, word in enumerate(WORDS)] + ["99\tbahari\n"]
    (folder / "queries.sw.tsv").write_text("".join(swahili), encoding="utf-8")
    if english:
        rows = [f"{number}\t{word}\n" for number, word in enumerate(WORDS.values())]
        (folder / "queries.en.tsv").write_text("".join(rows), encoding="utf-8")
    (folder / documents).write_text("".join(f"d{n}\t{word}\n" for n, word in enumerate(WORDS.values())), "utf-8")
    grades = [f"{number} 0 d{number} 2\n" for number in range(len(WORDS))] + ["0 0 d1 0\n", "99 0 d1 0\n"]
    (folder / "qrels.txt").write_text("".join(grades), encoding="utf-8")
    return folder
