"""Inspect: a task with its own solver and exact-match scorer; run by `inspect eval`."""

import os
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import FieldSpec, json_dataset
from inspect_ai.scorer import exact
from inspect_ai.solver import generate


@task
def echoed() -> Any:
    fields = FieldSpec(id="id", input="input", target="reference")
    return Task(dataset=json_dataset(os.environ["CONTEST_SAMPLES"], fields), solver=generate(), scorer=exact())
