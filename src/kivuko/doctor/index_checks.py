"""Checks of an index: that its images have vectors in the space of the model that will search it."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from kivuko.datasets.emoji.sources import EmojiFont, find_cldr, find_font, read_annotations
from kivuko.datasets.emoji.world import has_skin_tone
from kivuko.doctor.finding import Examined, Finding
from kivuko.doctor.model_checks import english_vectors
from kivuko.encoders.image_tower import Vectors, encode_images
from kivuko.encoders.images import RefusedImage, as_rgb, decode
from kivuko.encoders.loading import image_fingerprint
from kivuko.encoders.model import has_images
from kivuko.errors import KivukoError
from kivuko.search.decoding import read_place
from kivuko.search.items import FilePlace
from kivuko.search.store import IndexStore

_SAMPLED = 500  # vectors that are checked
_ENCODED_AGAIN = 6  # images encoded again
_SAME_IMAGE = 0.98  # cosine with the stored vector; eight bits a number keep 0.999 and more
_ALIKE_IMAGES = 0.95  # mean cosine between different images
_MOST_CAPTIONS = 200
_FEWEST_CAPTIONS = 20
_EMOJI = 100  # tried on the image tower
_LOST_CAPTIONS = 0.35  # mean share of the images that are nearer than the caption's own; chance gives 0.5


def check_index(subject: Examined, index: IndexStore) -> Iterator[Finding]:
    """Compare image towers by fingerprint, look at stored vectors, and encode a few images again."""
    remedy = f"Index the images again: kivuko index {subject.folder} ... --out {index.path} --rebuild"
    if not has_images(subject.encoder):
        what = f"{subject.folder} encodes text only, so it cannot search images"
        yield Finding("fault", "index", what, "Distill it with an image tower (--image-tower).")
        return
    if not len(index):
        yield Finding("fault", "index", f"{index.path}: holds no image", remedy)
        return
    if image_fingerprint(subject.encoder) != index.fingerprint:
        what = (
            f"{index.path}: was made with another image tower (model {index.model}), so its vectors and the "
            "model's cannot be compared: search results are random"
        )
        yield Finding("fault", "index", what, f"Search with the model that made it. Or: {remedy}")
    else:
        what = f"{index.path}: {len(index):,} images, encoded by this image tower"
        yield Finding("ok", "index", what, figures={"images": len(index)})
        yield from _again(subject, index, remedy)
    yield from _stored(index, remedy)


def sample(index: IndexStore, most: int) -> list[int]:
    ids = index.ids()
    return [int(ids[place * len(ids) // most]) for place in range(most)] if len(ids) > most else ids.tolist()


def _stored(index: IndexStore, remedy: str) -> Iterator[Finding]:
    vectors = np.stack([index.vector(number) for number in sample(index, _SAMPLED)])
    if not np.isfinite(vectors).all() or not vectors.any(1).all():
        yield Finding("fault", "index", f"{index.path}: has vectors with NaN, or of zeros", remedy)
        return
    count, total = len(vectors), vectors.sum(0)
    alike = float((total @ total - count) / max(1, count * (count - 1)))
    if alike > _ALIKE_IMAGES and count > 1:
        what = f"{index.path}: different images have nearly the same vector (mean cosine {alike:.3f})"
        do = "The image tower does not distinguish them: use another, or train it."
        yield Finding("warning", "index", what, do, figures={"alike": alike})


def _again(subject: Examined, index: IndexStore, remedy: str) -> Iterator[Finding]:
    """Encode images whose files are still there: the preparation of pixels has no fingerprint."""
    cosines: list[float] = []
    for number in sample(index, 10 * _ENCODED_AGAIN):
        if len(cosines) == _ENCODED_AGAIN or (path := index.image_path(number)) is None:
            continue
        try:
            image = decode(read_place(FilePlace(str(path))))
        except (RefusedImage, OSError):
            continue
        cosines.append(float(encode_images(subject.encoder, [as_rgb(image)])[0] @ index.vector(number)))
    if not cosines:
        return
    figures = {"images": len(cosines), "worst": min(cosines)}
    if min(cosines) < _SAME_IMAGE:
        what = (
            f"an image encoded again has another vector than in the index (cosine {min(cosines):.3f}): the file "
            "or the preparation of pixels has changed"
        )
        yield Finding("warning", "index", what, remedy.replace(" --rebuild", ""), figures=figures)
    else:
        what = f"{len(cosines)} images encoded again have the vectors of the index (cosine {min(cosines):.3f})"
        yield Finding("ok", "index", what, figures=figures)


def check_captions(subject: Examined, index: IndexStore) -> Iterator[Finding]:
    """Search captioned images by their captions, with the teacher's vectors, unless 'index' reports another tower."""
    teacher = subject.teacher
    if teacher is None or teacher.dim != index.dim or not has_images(subject.encoder):
        return
    captioned = [one for one in index.items(sample(index, _MOST_CAPTIONS)) if one.caption]
    items = list({one.caption: one for one in captioned}.values())  # one image per caption
    if len(items) < _FEWEST_CAPTIONS or image_fingerprint(subject.encoder) != index.fingerprint:
        return
    vectors = np.stack([index.vector(one.id) for one in items])
    nearer = share_nearer(english_vectors(teacher, [str(one.caption) for one in items]), vectors)
    figures = {"captions": len(items), "nearer": nearer}
    described = f"{len(items)} captions: {nearer:.0%} of the other images are nearer than a caption's own"
    if nearer <= _LOST_CAPTIONS:
        yield Finding("ok", "captions", described, figures=figures)
        return
    described += ", chance gives 50 %"
    known = _emoji_nearer(subject)
    not_english = "If the captions are not English, this says nothing."
    if known is None:
        what = (
            f"{described}: {teacher.name} and the image tower have two spaces, or the tower does not know such images"
        )
        do = f"Take both from one model, and a tower trained on such images. {not_english}"
    elif known <= _LOST_CAPTIONS:
        what = (
            f"{described}, though emoji match their names ({known:.0%} nearer): the image tower is outside its "
            "domain, it was not trained on such images"
        )
        do = f"Use an image tower trained on such images, a CLIP's for photographs. {not_english}"
    else:
        what = f"{described}: {teacher.name} and the image tower are of two spaces"
        do = f"Take both from one model. {not_english}"
    if known is not None:
        figures["emoji_nearer"] = known
    yield Finding("warning", "captions", what, do, figures=figures)


def share_nearer(texts: Vectors, images: Vectors) -> float:
    """Return the mean share of images nearer to a text than its own, of unit vectors [n, dim] in pairs; chance: 0.5."""
    scores = texts @ images.T
    return float((scores > scores.diagonal()[:, None]).sum() / max(1, len(texts) * (len(texts) - 1)))


def _emoji_nearer(subject: Examined) -> float | None:
    """Return ``share_nearer`` of emoji and their English names; None where CLDR or the font is not installed."""
    assert subject.teacher is not None
    try:
        annotations, font = read_annotations(find_cldr(), "en"), EmojiFont(find_font())
    except KivukoError:
        return None
    sequences = [sequence for sequence in annotations if not has_skin_tone(sequence)]
    drawn = {
        annotations[sequence].name: pixels
        for sequence in sequences[:: max(1, len(sequences) // _EMOJI)]
        if (pixels := font.render(sequence)) is not None
    }
    images = encode_images(subject.encoder, [as_rgb(Image.fromarray(pixels)) for pixels in drawn.values()])
    return share_nearer(english_vectors(subject.teacher, list(drawn)), images)
