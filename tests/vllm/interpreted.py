"""Model runner V2 on a CPU: its kernels, which are Triton's, in Triton's interpreter.

    python -m tests.vllm.interpreted MODEL OPTIONS COUNT

A program of its own, as Triton and vLLM read their environment when they are imported. Prints as
JSON, per set of options, the tokens of the answers to scenes and their log-probabilities.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import triton.backends

from tests.vllm.conftest import engine
from tests.vllm.scenes import cases
from tests.vllm.test_shorter import in_vllm, request


def main() -> None:
    model, options, count = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
    # vLLM looks for a CPU's compiler, of which the interpreter has no need.
    driver = SimpleNamespace(is_active=lambda: False)
    triton.backends.backends["cpu"] = SimpleNamespace(driver=driver)
    requests, results = [request(case) for case in cases(count)], []
    for given in options:
        settings = given.pop("ipcv")
        with engine(model, settings, **given) as llm:
            results.append(in_vllm(llm, requests))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
