"""Uploaded images, kept in memory, and decoded only after a check of their header."""

import io
import warnings

from fastapi import HTTPException, Request
from PIL import Image, UnidentifiedImageError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from kivuko.encoders.images import RefusedImage, decode, readable_formats

# Common formats. Pillow reads dozens of others, whose decoders should not be reachable over a network.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
_MOST_PROPORTION = 200  # of the long side to the short, as in indexing


async def read_upload(request: Request, most_bytes: int) -> bytes:
    """Return the bytes of the form field ``image``, or raise HTTPException; nothing is written to disk."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise HTTPException(415, "send the image as multipart/form-data in a field named image.")
    parser = MultiPartParser(request.headers, request.stream(), max_files=1, max_fields=8, max_part_size=4096)
    parser.spool_max_size = most_bytes + 1  # kept in memory: the request's body is limited already
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as problem:
        raise HTTPException(400, f"the form cannot be read: {getattr(problem, 'message', 'it is broken')}") from problem
    try:
        field = form.get("image")
        if not isinstance(field, UploadFile):
            raise HTTPException(422, "image: send an image in a field of this name, with a file name.")
        content = await field.read()
    finally:
        await form.close()
    if len(content) > most_bytes:
        raise HTTPException(413, f"the upload is too large: at most {most_bytes / 2**20:g} MB. Send a smaller image.")
    return content


def decode_upload(content: bytes, most_pixels: int) -> Image.Image:
    """Decode an upload (first frame, upright, RGB), or raise HTTPException; slow, so call it in a thread."""
    if not content:
        raise HTTPException(422, "image: the file is empty.")
    width, height = _size(content)
    if width * height > most_pixels:
        raise HTTPException(
            422, f"image: {width} x {height} pixels are too many; at most {most_pixels:,}. Scale it down."
        )
    if max(width, height) > _MOST_PROPORTION * max(1, min(width, height)):
        raise HTTPException(422, f"image: {width} x {height} pixels are too narrow to be searched by.")
    try:
        return decode(content, most_pixels)
    except RefusedImage as problem:
        raise HTTPException(422, f"image: {problem.reason}. Send another image.") from problem


def _size(content: bytes) -> tuple[int, int]:
    """Return width and height from the header, without decoding."""
    formats = [name for name in readable_formats() if name in _FORMATS]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=formats) as image:
                return image.size
    except UnidentifiedImageError as problem:
        shown = ", ".join(name for name in formats if name != "MPO")
        raise HTTPException(415, f"image: not an image of a kind that is read here ({shown}).") from problem
    except Image.DecompressionBombError as problem:
        raise HTTPException(422, "image: too many pixels. Scale it down.") from problem
    except Exception as problem:  # what a broken header leads Pillow to
        raise HTTPException(422, "image: the image is broken, or its metadata is too large.") from problem
