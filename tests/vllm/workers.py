"""Workers with which vLLM 0.32 does on a CPU what its runner there leaves out. For `worker_cls`.

Stock vLLM fails at the first request in either case.
"""

from typing import Any

from vllm.distributed.parallel_state import get_pp_group
from vllm.v1.worker.cpu_worker import CPUWorker


class Pipeline(CPUWorker):
    """Makes the buffer for what the stage before sends, as the warm-up of a GPU's worker does."""

    def compile_or_warm_up_model(self) -> Any:
        if not get_pp_group().is_first_rank:
            runner = self.model_runner
            runner.intermediate_tensors = runner.model.make_empty_intermediate_tensors(
                batch_size=runner.max_num_tokens,
                dtype=runner.model_config.dtype,
                device=runner.device,
            )
        return super().compile_or_warm_up_model()


class VideoPruning(CPUWorker):
    """Says, as a GPU's runner does on loading, that the model drops some of a video's tokens."""

    def load_model(self, **options: Any) -> None:
        super().load_model(**options)
        self.model_runner.is_multimodal_pruning_enabled = True
