"""Small image-caption sets, each laid out on disk as the published one is."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import tarfile
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

COCO = ("COCO_train2014_000000061844.jpg", "COCO_train2014_000000061849.jpg", "COCO_val2014_000000000042.jpg")
FLICKR = ("1007129816.jpg", "1009434119.jpg", "101362133.jpg")


def jpeg(number: int) -> bytes:
    """Return the bytes of an image unlike those of other numbers."""
    cells = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(cells).resize((24, 16), Image.Resampling.NEAREST).save(stream, format="JPEG")
    return stream.getvalue()


def write_images(folder: Path, names: tuple[str, ...] | list[str]) -> Path:
    """Write one image for each name."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(jpeg(number))
    return folder


def write_json_lines(file: Path, rows: list[dict]) -> Path:
    """Write one object a line, as the published files do: letters as they are."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    content = text.encode()
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
    return file


def write_lines(file: Path, lines: tuple[str, ...] | list[str]) -> Path:
    """Write lines, compressed if the name says so."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(f"{line}\n" for line in lines).encode()
    pack = {".gz": gzip.compress, ".bz2": bz2.compress}.get(file.suffix, bytes)
    file.write_bytes(pack(content))
    return file


def xm3600_row(key: str, locale: str, **captions: list[str]) -> dict:
    """Return a line of Crossmodal-3600's captions.jsonl."""
    row: dict = {"image/key": key, "image/locale": locale}
    for code, texts in captions.items():
        tokens = [text.replace(".", " .") for text in texts]
        row[code] = {
            "caption": texts,
            "caption/tokenized": tokens,
            "caption/tokenized/lowercase": [text.lower() for text in tokens],
        }
    return row


def write_xm3600(folder: Path) -> Path:
    """Three images; two captions each in English and Swahili, one in Bengali, one or two in Maori, Cuzco Quechua."""
    rows = [
        xm3600_row(
            "0002b8f2ed1d4af3", "quz",
            en=["a black cat", "A cat on a wall."], sw=["paka mweusi", "paka juu ya ukuta"], bn=["একটি কালো বিড়াল"],
            mi=["he ngeru pango"], quz=["yana misi", "misi pirqapi"],
        ),
        xm3600_row(
            "00161a9ab9e5a3c1", "sw",
            en=["the fish", "a fish in water"], sw=["samaki", "samaki majini"], bn=["মাছ"],
            mi=["he ika", "ika i te wai"], quz=["challwa", "challwa yakupi"],
        ),
        xm3600_row(
            "001a6ed4a07a5b3a", "en",
            en=["a cat eats the fish", "cat and fish"], sw=["paka anakula samaki", "paka na samaki"], bn=["বিড়াল মাছ খায়"],
            mi=["kei te kai te ngeru"], quz=["misi challwata mikhun", "misi challwawan"],
        ),
    ]  # fmt: skip
    write_json_lines(folder / "captions.jsonl", rows)
    write_images(folder / "images", [f"{row['image/key']}.jpg" for row in rows])
    return folder


def write_xtd(folder: Path) -> Path:
    """The repository's three folders, with the images of COCO beside them."""
    write_lines(folder / "XTD10" / "test_image_names.txt", COCO)
    write_lines(folder / "XTD10" / "test_1kcaptions_es.txt", ["un gato", "un perro", "un pez"])
    write_lines(folder / "XTD10" / "test_1kcaptions_zh.txt", ["一只猫", "一只狗", "一条鱼"])
    write_lines(folder / "MIC" / "test_1kcaptions_de.txt", ["eine Katze", "ein Hund", "ein Fisch"])
    write_lines(folder / "MIC" / "test_1kcaptions_en.txt", ["a cat", "a dog", "a fish"])
    write_lines(folder / "STAIR" / "test_1kcaptions_jp.txt", ["猫", "犬", "魚"])
    write_images(folder / "images", [name for name in COCO if "train" in name])
    write_images(folder / "val2014", [name for name in COCO if "val" in name])
    return folder


def write_flickr30k200(folder: Path) -> Path:
    """A list of names, and a file for each FLORES code."""
    write_lines(folder / "filenames.txt", FLICKR)
    write_lines(folder / "swh_Latn.txt", ["paka", "mbwa", "samaki"])
    write_lines(folder / "zho_Hans.txt", ["猫", "狗", "鱼"])
    write_lines(folder / "zho_Hant.txt", ["貓", "狗", "魚"])
    write_lines(folder / "quy_Latn.txt", ["michi", "allqu", "challwa"])
    write_lines(folder / "eng_captions.txt", ["a cat", "a dog", "a fish"])
    write_images(folder / "images", FLICKR)
    return folder


def write_multi30k(folder: Path) -> Path:
    """Both tasks of the repository, as far as its tests go; Flickr30k's images lie beside."""
    task1, task2 = folder / "data" / "task1", folder / "data" / "task2"
    write_lines(task1 / "image_splits" / "test_2016_flickr.txt", FLICKR)
    write_lines(task1 / "raw" / "test_2016_flickr.en.gz", ["a cat", "a dog", "a fish"])
    write_lines(task1 / "raw" / "test_2016_flickr.de.gz", ["eine Katze", "ein Hund", "ein Fisch"])
    write_lines(task1 / "raw" / "test_2016_flickr.cs.gz", ["kočka", "pes", "ryba"])
    mscoco = [f"{name}#{number}" for number, name in enumerate(COCO)]
    write_lines(task1 / "image_splits" / "test_2017_mscoco.txt", mscoco)
    write_lines(task1 / "raw" / "test_2017_mscoco.fr.gz", ["un chat", "un chien", "un poisson"])
    write_lines(task2 / "image_splits" / "test_2016_images.txt", FLICKR)
    for number in range(1, 6):
        for code in ("en", "de"):
            write_lines(task2 / "raw" / f"test_2016.{number}.{code}.gz", [f"{code} {number} {n}" for n in range(3)])
    write_images(folder / "flickr30k_images", FLICKR)
    write_images(folder / "train2014", COCO)
    return folder


def write_xflickrco(folder: Path) -> Path:
    """Two languages; one German caption is blank, as one of the published ones is."""
    names = (FLICKR[0], FLICKR[1], COCO[2])
    ids = (FLICKR[0].removesuffix(".jpg"), FLICKR[1].removesuffix(".jpg"), 42)
    for code, texts in {"de": ["Eine Katze.", "", "Ein Fisch."], "id": ["kucing", "anjing", "ikan"]}.items():
        rows = [
            {"sentences": [text], "id": one, "img_path": name}
            for text, one, name in zip(texts, ids, names, strict=True)
        ]
        write_json_lines(folder / "annotations" / code / "test.jsonl", rows)
    write_images(folder / "flickr30k_images", names[:2])
    write_images(folder / "val2014", names[2:])
    return folder


def wit_row(number: int, code: str, name: str, caption: str) -> dict:
    """Return a line of IGLUE's WIT."""
    url = f"https://upload.wikimedia.org/wikipedia/commons/5/57/{quote(name)}"
    return {
        "image_idx": number,
        "image_url": url,
        "meta_url": f"http://commons.wikimedia.org/wiki/File:{quote(name)}",
        "caption_reference_description": caption,
        "language": code,
        "page_url": f"https://{code}.wikipedia.org/wiki/{number}",
        "wit_ix": f"wit-test_{number}",
    }


def write_wit(folder: Path) -> Path:
    """IGLUE's two files; one image has two captions in Bulgarian, and one is in both languages."""
    bulgarian = [
        wit_row(37, "bg", "Karviná-ORP.png", "Административно деление"),
        wit_row(49, "bg", "MinisterMVR.jpg", "Михаил Миков"),
        wit_row(49, "bg", "MinisterMVR.jpg", "Министърът през 2009 г."),
    ]
    danish = [
        wit_row(49, "da", "MinisterMVR.jpg", "Ministeren"),
        wit_row(60, "da", "Bispen 1.jpg", "Bispen set indefra"),
    ]
    write_json_lines(folder / "annotations" / "test_bg.jsonl", bulgarian)
    write_json_lines(folder / "annotations" / "test_da.jsonl", danish)
    write_images(folder / "images", ["Karviná-ORP.png", "wit-test_49.jpg", "Bispen_1.jpg"])
    return folder


def write_wit_tsv(folder: Path) -> Path:
    """Google's own file: tab-separated, with headings, gzip; the last line has no reference description."""
    headings = ("language", "page_url", "image_url", "page_title", "caption_reference_description", "mime_type")
    base = "https://upload.wikimedia.org/wikipedia/commons"
    rows = [
        ("sw", "https://sw.wikipedia.org/wiki/Paka", f"{base}/1/11/Paka.jpg", "Paka", "paka mweusi", "image/jpeg"),
        ("sw", "https://sw.wikipedia.org/wiki/Mbwa", f"{base}/2/22/Mbwa.jpg", "Mbwa", "", "image/jpeg"),
    ]
    write_lines(folder / "wit_v1.test.all-00000-of-00005.tsv.gz", ["\t".join(row) for row in (headings, *rows)])
    write_images(folder / "images", ["Paka.jpg"])
    return folder


def write_coco(file: Path, texts_per_image: int = 2) -> Path:
    """COCO's own way: images, annotations, licenses and info."""
    images = [
        {"license": 5, "file_name": name, "height": 16, "width": 24, "id": 10 + number}
        for number, name in enumerate(COCO)
    ]
    annotations = [
        {"image_id": 10 + number, "id": 100 * number + one, "caption": f"caption {one} of {number}\n"}
        for one in range(texts_per_image)
        for number in range(len(COCO))
    ]
    info = {"description": "COCO 2014 Dataset", "year": 2014}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"info": info, "images": images, "licenses": [], "annotations": annotations}), "utf-8")
    write_images(file.parent / "images", COCO)
    return file


def write_karpathy(file: Path) -> Path:
    """Karpathy's dataset_coco.json: one image each of test, val and restval."""
    images = [
        {
            "filepath": "val2014" if "val" in name else "train2014",
            "sentids": [5 * number, 5 * number + 1],
            "filename": name,
            "imgid": number,
            "split": split,
            "sentences": [
                {"tokens": ["a", "cat"], "raw": f"A cat {one} {number}.", "imgid": number, "sentid": 5 * number + one}
                for one in range(2)
            ],
            "cocoid": 40 + number,
        }
        for number, (name, split) in enumerate(zip(COCO, ("test", "val", "restval"), strict=True))
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"images": images, "dataset": "coco"}), "utf-8")
    write_images(file.parent / "train2014", COCO[:2])
    write_images(file.parent / "val2014", COCO[2:])
    return file


def write_table(file: Path, rows: list[tuple[str, ...]]) -> Path:
    """Write a TSV or CSV; its images lie beside it."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, delimiter="\t" if ".tsv" in file.name else ",").writerows(rows)
    return file


def write_shard(file: Path, members: dict[str, bytes | str | dict | list]) -> Path:
    """Write a tar file; what is no bytes becomes text, or JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as archive:
        for name, value in members.items():
            content = value if isinstance(value, bytes) else (
                value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            ).encode()  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file
