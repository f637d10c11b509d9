"""Lists of models, strategies, server optimisers, degradations and test sets in documents are complete."""

import re
from pathlib import Path

import pytest

from fedvsr.models.registry import MODELS
from fedvsr.server_optimisers.registry import server_optimiser_names
from fedvsr.strategies.registry import strategy_class, strategy_names
from fedvsr.testsets.registry import known_test_sets
from fedvsr.video.degradations.registry import degradation_names

ROOT = Path(__file__).parents[2]
TEXTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "fedvsr" / "cli").glob("*.py")),
    *sorted((ROOT / "fedvsr" / "config").glob("*.py")),
    *sorted((ROOT / "pipelines").glob("*.py")),
    *sorted((ROOT / "components").rglob("*.py")),
    # A study compares some of the strategies.
    *sorted(path for path in (ROOT / "samples").glob("*.yaml") if not path.stem.startswith("study")),
    *(path for path in sorted((ROOT / "charts" / "fedvsr").rglob("*")) if path.is_file()),
]
TRAINABLE = {name for name in MODELS.names() if MODELS.load(name).parameter_count}
WITH_FEATURES_ON_CPU = {name for name in MODELS.names() if hasattr(MODELS.load(name), "features_on_cpu")}
WITH_CLIENT_STATE = {name for name in strategy_names() if strategy_class(name).stateful}
# What a list of a kind may consist of. A list has at least as many names as the number; fewer are examples.
KINDS = {
    "model": ([set(MODELS.names()), TRAINABLE, WITH_FEATURES_ON_CPU], 3),
    "strategy": ([set(strategy_names()), WITH_CLIENT_STATE], 3),
    "server optimiser": ([set(server_optimiser_names())], 3),
    "degradation": ([set(degradation_names())], 2),
    "test set": ([set(known_test_sets())], 3),
}
# Lists that must be found: without them the search itself would be broken.
EXPECTED = {
    ("README.md", "model"),
    ("README.md", "strategy"),
    ("README.md", "server optimiser"),
    ("README.md", "degradation"),
    ("docs/methods.md", "strategy"),
    ("docs/methods.md", "server optimiser"),
    ("docs/methods.md", "test set"),
    ("pipelines/federated_training.py", "model"),
    ("pipelines/federated_training.py", "strategy"),
    ("pipelines/federated_training.py", "degradation"),
}


def first_cells(text):
    """Yields the first column of each Markdown table as a comma-separated list."""
    for table in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        yield ", ".join(row.split("|")[1].strip() for row in table.splitlines())


def lists(text, names, minimum):
    """Yields the names of each enumeration in a text; remarks in parentheses may stand between."""
    name = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    item = rf"(?<![\w.:/+-])[`\"']?(?:{name})[`\"']?(?![\w:/+-])(?:\s*\([^()]*\))?"
    separator = r"(?:\s*,\s*(?:and |or )?|\s+(?:and|or)\s+)"
    for match in re.finditer(rf"{item}(?:{separator}{item}){{{minimum - 1},}}", text):
        without_remarks = re.sub(r"\([^()]*\)", "", match.group())
        yield set(re.findall(rf"(?<![\w+-])(?:{name})(?![\w+-])", without_remarks))


def documented_lists():
    for path in TEXTS:
        # A study's tables name some strategies, and do not list them.
        text = re.sub(r"<!-- study:.*?<!-- /study -->", "", path.read_text(), flags=re.DOTALL)
        for kind, (complete, minimum) in KINDS.items():
            for part in (text, *first_cells(text)):
                for names in lists(part, complete[0], minimum):
                    yield path.relative_to(ROOT).as_posix(), kind, names


def test_every_list_names_all_of_its_kind():
    incomplete = [
        (path, kind, sorted(names)) for path, kind, names in documented_lists() if names not in KINDS[kind][0]
    ]
    assert incomplete == []


def test_the_search_sees_the_lists():
    assert {(path, kind) for path, kind, _ in documented_lists()} >= EXPECTED


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("made by bi (bicubic) or bd (blur, then subsampling).", {"bi", "bd"}),
        ("`bi`, `bd`, or `matlab-bd`", {"bi", "bd", "matlab-bd"}),
        ("not pkg:bi, x-bd or bdx", None),
        ("bd alone", None),
    ],
)
def test_names_in_a_list(text, names):
    assert next(lists(text, set(degradation_names()), 2), None) == names
