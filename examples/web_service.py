"""A web service with FastAPI: requests are answered in threads, which share a compressed model.

uvicorn web_service:app
"""

from __future__ import annotations

from io import BytesIO
from typing import Annotated

import torch
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from PIL import Image

import ipcv
from ipcv.inputs.loading import load
from ipcv.inputs.prompt import Media, build_inputs
from ipcv.models import TINY

LARGEST = 16 << 20
"""Bytes of a picture."""

app = FastAPI()
model, processor = load(TINY)
handle = ipcv.compress(model, ipcv.preset(model).vision)  # once; every call has a state of its own


@app.post("/ask")
async def ask(request: Request, question: Annotated[str, Query(min_length=1)]) -> dict[str, str]:
    """The answer to a question about the picture in the body."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST:
            raise HTTPException(413, f"a picture has at most {LARGEST:,} bytes")
    try:
        return {"answer": await run_in_threadpool(answer, bytes(body), question)}
    except (ValueError, OSError) as error:
        raise HTTPException(400, f"no picture, or none that can be shown: {error}") from None


def answer(body: bytes, question: str) -> str:
    """Runs in a thread."""
    picture = Image.open(BytesIO(body)).convert("RGB")
    inputs = build_inputs(model, processor, [Media((picture,))], question)
    with torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=16)
    text: str = processor.decode(output[0, inputs["input_ids"].shape[1] :])
    return text.removesuffix(processor.tokenizer.eos_token).strip()


def main() -> None:
    """Ask it two questions at a time, as two clients would."""
    from concurrent.futures import ThreadPoolExecutor

    from fastapi.testclient import TestClient

    from ipcv.models import EXAMPLE

    picture, questions = EXAMPLE.read_bytes(), ["What number is written?", "How many stars?"]
    client = TestClient(app)

    def post(question: str) -> object:
        return client.post("/ask", params={"question": question}, content=picture).json()

    with ThreadPoolExecutor(2) as pool:
        for question, reply in zip(questions, pool.map(post, questions), strict=True):
            print(question, reply)


if __name__ == "__main__":
    main()
