"""A worker that lets vLLM run a pipeline on a CPU; stock vLLM 0.32 stops at the first request.

The runner of every stage but the first makes the buffer for what it receives in its warm-up, and
on a CPU the warm-up is left out without a compiler.
"""

from typing import Any

from vllm.v1.worker.cpu_worker import CPUWorker


class Worker(CPUWorker):
    """For `--worker-cls`: makes the buffer as the warm-up would."""

    def compile_or_warm_up_model(self) -> Any:
        from vllm.distributed.parallel_state import get_pp_group

        if not get_pp_group().is_first_rank:
            runner = self.model_runner
            runner.intermediate_tensors = runner.model.make_empty_intermediate_tensors(
                batch_size=runner.max_num_tokens,
                dtype=runner.model_config.dtype,
                device=runner.device,
            )
        return super().compile_or_warm_up_model()
