"""Uploaded images: kept in memory, and decoded in processes with limits of time and memory."""

import threading

from fastapi import HTTPException, Request
from PIL import Image
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from kivuko.encoders.images import readable_formats
from kivuko.search.decoding import Decoded, DecodingWorkers, Limits, raw_pixels
from kivuko.serve.guard import Settings

# Common formats. Pillow reads dozens of others, whose decoders should not be reachable over a network.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
_MEMORY_PER_PIXEL, _MEMORY = 24, 256 * 2**20  # bytes that decoding may take


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


class UploadDecoder:
    """Decodes uploads in two processes, which are started by the first and ended when one takes too long."""

    def __init__(self, settings: Settings) -> None:
        self._limits = Limits(
            settings.max_pixels, settings.max_upload, settings.decode_seconds,
            memory=_MEMORY_PER_PIXEL * settings.max_pixels + _MEMORY,
            formats=tuple(name for name in readable_formats() if name in _FORMATS),
        )  # fmt: skip
        self._workers: DecodingWorkers[int] | None = None
        self._lock = threading.Lock()

    def decode(self, content: bytes) -> Image.Image:
        """Return the image (first frame, upright, RGB), or raise HTTPException; slow, so call it in a thread."""
        with self._lock:
            if self._workers is None:
                self._workers = DecodingWorkers[int](raw_pixels, 2, self._limits, 2).__enter__()
            workers = self._workers
        try:
            answer = workers.decode(content)
        except Exception:  # the processes die, or the system starts no more of them
            self.close(workers)  # the next upload gets new ones
            raise
        if isinstance(answer, Decoded):
            return Image.fromarray(answer.tensors["pixels"][0])
        if answer.reason == "not an image":
            shown = ", ".join(name for name in self._limits.formats if name != "MPO")
            raise HTTPException(415, f"image: not an image of a kind that is read here ({shown}).")
        detail = f" ({answer.detail})" if answer.detail else ""
        raise HTTPException(422, f"image: {answer.reason}{detail}. Send another image.")

    def close(self, workers: DecodingWorkers[int] | None = None) -> None:
        """End the processes, or only if they still are ``workers``."""
        with self._lock:
            ended, keep = self._workers, workers is not None and workers is not self._workers
            self._workers = ended if keep else None
        if ended is not None and not keep:
            ended.__exit__()
