"""The table of supported models: one source, shown by `ipcv models` and in `docs/models.md`."""

import re
from pathlib import Path

import pytest

from ipcv.cli import families_table as table
from ipcv.cli import main
from ipcv.families import supported_model_types

DOCUMENT = Path(__file__).parents[2] / "docs" / "models.md"


def test_the_documentation_has_the_tables():
    found = re.search(r"<!-- models -->\n(.*?)\n<!-- /models -->", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None, "docs/models.md has no <!-- models --> … <!-- /models -->"
    assert found[1].strip() == table.markdown(), (
        "the tables of models in docs/models.md are out of date: "
        "put the output of `ipcv models --markdown` between the markers"
    )


def test_every_model_type_is_listed():
    listed = [name for row in table.rows() for name in row[1].split(", ")]
    assert sorted(listed) == supported_model_types()


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["models"], ("qwen2_vl", "InternVL 2.5", "chameleon")),
        (
            ["models", "--markdown"],
            (
                "qwen2_vl",
                "OpenGVLab/InternVL3-8B-hf",
                "given: p=7, A=3 of 24 blocks",
                "chameleon",
            ),
        ),
    ],
)
def test_command(capsys, arguments, texts):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert not stop.value.code
    output = capsys.readouterr().out
    for text in texts:
        assert text in output
