"""A question about a picture to a server, by the OpenAI client.

    ipcv serve Qwen/Qwen2-VL-7B-Instruct
    python examples/openai_client.py http://127.0.0.1:8000/v1

The picture is the one that comes with the package.
"""

import sys

import openai
from PIL import Image

from ipcv.bench.servers import data_url
from ipcv.models import EXAMPLE


def ask(url: str, question: str) -> str | None:
    """The answer of the first model that the server has."""
    client = openai.OpenAI(base_url=url, api_key="none")
    image = {"type": "image_url", "image_url": {"url": data_url(Image.open(EXAMPLE))}}
    reply = client.chat.completions.create(
        model=next(iter(client.models.list())).id,
        messages=[{"role": "user", "content": [image, {"type": "text", "text": question}]}],
        max_tokens=16,
        temperature=0,
    )
    return reply.choices[0].message.content


if __name__ == "__main__":
    print(ask(*sys.argv[1:2], "What number is written?"))
