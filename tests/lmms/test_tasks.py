"""The page on reproducing the paper's benchmarks names what the installed lmms-eval has."""

import re
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # lmms-eval's own warnings

PAGE = (Path(__file__).parents[2] / "docs" / "reproduce.md").read_text()


def test_tasks_data_sets_and_metrics_exist() -> None:
    from lmms_eval.tasks import TaskManager
    from lmms_eval.utils import load_yaml_config

    manager = TaskManager("ERROR", model_name="ipcv")
    rows = re.findall(r"^\| [^|]+ \| `(\w+)` \| `([^`]+)` \| [^|]+ \| (.+) \|$", PAGE, re.M)
    assert len(rows) == 15
    for task, data, metrics in rows:
        assert task in manager.all_tasks
        name = f"{task}_action_count" if task == "mvbench" else task
        config = load_yaml_config(manager.task_index[name]["yaml_path"], mode="simple")
        assert config["dataset_path"] == data, task
        assert config["output_type"] == "generate_until", task
        known = {metric["metric"] for metric in config["metric_list"]}
        assert set(re.findall(r"`(\w+)`", metrics)) <= known, task


def test_commands_name_these_tasks() -> None:
    listed = set(re.findall(r"^\| [^|]+ \| `(\w+)`", PAGE, re.M))
    variables = re.findall(r"^(?:IMAGES|VIDEOS)=(\S+)$", PAGE, re.M)
    assert len(variables) == 2
    assert {task for names in variables for task in names.split(",")} == listed - {"egoschema"}


def test_model_arguments_are_accepted() -> None:
    from lmms_eval.utils import simple_parse_args_string

    from ipcv.integrations.lmms_eval.arguments import ModelArguments

    lines = re.findall(r'^row \S+ +"\$M(.*)"$', PAGE, re.M)
    assert len(lines) == 13
    for line in lines:
        ModelArguments.parse({"pretrained": "a/b"} | simple_parse_args_string(line.strip(",")))
