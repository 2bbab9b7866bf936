"""Every vision method in every way to run a model: right, or refused; never silently wrong."""

from copy import deepcopy
from pathlib import Path
from pickle import PicklingError

import pytest
import torch

from tests.vision.adapters.families import FAMILIES, build
from tests.ways import METHODS, WAYS, table

PAGE = Path(__file__).parents[1] / "docs" / "ways-to-run.md"


@pytest.fixture(autouse=True)
def surroundings():
    torch._dynamo.reset()
    with torch.no_grad():
        yield
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*requires_grad=True:UserWarning")
@pytest.mark.filterwarnings("ignore:Unsupported layer type:UserWarning")
@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module .* returned a view:UserWarning")
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("name", WAYS)
def test_way(name, method):
    way = WAYS[name]
    model = deepcopy(build("clip_vision_model"))
    inputs = FAMILIES["clip_vision_model"].inputs(model, [["small", "large"]])
    torch.manual_seed(0)
    if way.is_refused(method):
        with pytest.raises(Exception, match=way.refused) as error:
            way.run(model, inputs, method)
        assert isinstance(error.value, (ValueError, TypeError, RuntimeError, PicklingError))
        return
    output, expected = way.run(model, inputs, method)
    torch.testing.assert_close(
        output.float(), expected.float(), atol=way.tolerance, rtol=way.tolerance
    )


def test_the_page_says_so():
    assert table() in PAGE.read_text(encoding="utf-8")
