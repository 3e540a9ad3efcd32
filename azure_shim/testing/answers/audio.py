"""Speech, transcriptions and translations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from azure_shim.testing import errors
from azure_shim.testing.answers.shared import count_tokens, greeting, pieces
from azure_shim.testing.call import Call
from azure_shim.testing.response import FakeResponse
from azure_shim.testing.sse import DONE, frame

__all__ = ["ANSWERERS"]

_TYPES = {
    "aac": "audio/aac",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "pcm": "audio/pcm",
    "wav": "audio/wav",
}
_CHUNK_BYTES = 1024
_SPEECH_BYTES = 4096


def speak(call: Call) -> FakeResponse:
    """Audio of no meaning: a tag, the greeting and zeros, in chunks."""
    kind = str(call.fields.get("response_format") or "mp3")
    data = b"ID3" + greeting(call, str(call.fields["input"])).encode()
    data = data.ljust(_SPEECH_BYTES, b"\0")
    chunks = (data[at : at + _CHUNK_BYTES] for at in range(0, len(data), _CHUNK_BYTES))
    return FakeResponse(200, {"content-type": _TYPES.get(kind, "application/octet-stream")}, chunks)


def transcribe(call: Call) -> FakeResponse:
    """The greeting and the name of the file, in the format that was asked for."""
    file = call.form.file("file") if call.form is not None else None
    if file is None:
        raise errors.missing_parameter("file")
    text = greeting(call, file.filename or "")
    if call.wants_stream:
        return FakeResponse.events(_frames(call, text))
    kind = call.fields.get("response_format") or "json"
    if kind == "json":
        return FakeResponse.json({"text": text, "usage": _usage(text)})
    if kind in ("verbose_json", "diarized_json"):
        return FakeResponse.json(_verbose(call, text))
    plain = {
        "text": text + "\n",
        "srt": f"1\n00:00:00,000 --> 00:00:01,000\n{text}\n\n",
        "vtt": f"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n{text}\n\n",
    }
    if kind not in plain:
        raise errors.model_error(400, f"Invalid response_format: '{kind}'.", param="response_format")
    return FakeResponse(200, {"content-type": "text/plain; charset=utf-8"}, plain[kind].encode())


def _usage(text: str) -> dict[str, Any]:
    said = count_tokens(text)
    return {
        "type": "tokens",
        "input_tokens": 10,
        "output_tokens": said,
        "total_tokens": 10 + said,
        "input_token_details": {"audio_tokens": 10, "text_tokens": 0},
    }


def _verbose(call: Call, text: str) -> dict[str, Any]:
    task = "translate" if "translations" in call.address.path else "transcribe"
    segment = {
        "id": 0,
        "seek": 0,
        "start": 0.0,
        "end": 1.0,
        "text": text,
        "tokens": [1],
        "temperature": 0.0,
        "avg_logprob": -0.1,
        "compression_ratio": 1.0,
        "no_speech_prob": 0.0,
    }
    answer = {"task": task, "language": "english", "duration": 1.0, "text": text, "segments": [segment]}
    if "word" in call.fields.get("timestamp_granularities", ()):
        answer["words"] = [{"word": word, "start": 0.0, "end": 1.0} for word in text.split()]
    return answer


def _frames(call: Call, text: str) -> Iterator[bytes]:
    for piece in pieces(text, call.resource.chunks):
        yield frame({"type": "transcript.text.delta", "delta": piece})
    yield frame({"type": "transcript.text.done", "text": text, "usage": _usage(text)})
    yield DONE


ANSWERERS = {
    "POST /audio/speech": speak,
    "POST /audio/transcriptions": transcribe,
    "POST /audio/translations": transcribe,
}
