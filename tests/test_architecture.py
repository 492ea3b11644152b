"""The house: a package imports only what stands before it, and heavy packages are imported where they are used."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import aigate

SOURCE = Path(aigate.__file__).parent
ORDER = (
    "errors",
    "core",
    "files",
    "stores",
    "workers",
    "stats",
    "goldens",
    "providers",
    "scorers",
    "running",
    "storing",
    "gating",
    "reports",
    "delivery",
    "cli",
    "golden_tests",
    "pytest_plugin",
    "testing",
    "__init__",
    "__main__",
)
FREE = {"testing", "__init__", "__main__"}  # public fakes and front doors: they may import anything
ROOT_NAMES = {"__version__"}  # what any module may take from `aigate` itself

# Packages that cost a user seconds, or that only an extra brings: imported inside functions, in every module.
LAZY = {
    "pandas",
    "sklearn",
    "datasets",
    "openai",
    "ragas",
    "sacrebleu",
    "rouge_score",
    "jsonschema",
    "statsmodels",
    "dask",
    "matplotlib",
    "distributed",
    "fsspec",
    "obstore",
    "torch",
    "transformers",
    "tokenizers",
    "sentence_transformers",
    "huggingface_hub",
}
# Packages that a whole part of the house is built on; the parts themselves are imported only when they are used.
AT_HOME = {
    "numpy": {"stats", "gating", "reports"},
    "scipy": {"stats"},
    "jinja2": {"goldens"},
    "yaml": {"goldens"},
    "rich": {"reports"},
}

# What would let `core` touch the world. The registry finds siblings by name with `importlib`, and reads no user's file.
NO_WORLD = {
    *("os", "io", "pathlib", "shutil", "tempfile", "glob", "fileinput", "mmap", "socket", "ssl", "select", "http"),
    *("urllib.request", "requests", "httpx", "subprocess", "multiprocessing", "threading", "asyncio", "sqlite3"),
    *("time", "datetime", "random", "secrets", "uuid", "getpass", "platform", "locale", "logging", "ctypes", "sys"),
}
IMPORTLIB_AT = {"registry"}
NAMES_OF_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc", "shared", "base_utils", "lib", "tools"}


@dataclass(frozen=True)
class Import:
    """One imported module of a file."""

    line: int
    module: str
    names: tuple[str, ...]
    typing_only: bool
    inside_function: bool


def imports_of(tree: ast.Module) -> list[Import]:
    """Every import of a module, wherever it stands, relative ones as they are written."""
    return list(_imports(tree, typing_only=False, inside_function=False))


def _imports(node: ast.AST, *, typing_only: bool, inside_function: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(child.lineno, alias.name, (), typing_only, inside_function)
        elif isinstance(child, ast.ImportFrom):
            names = tuple(alias.name for alias in child.names)
            yield Import(child.lineno, "." * child.level + (child.module or ""), names, typing_only, inside_function)
        elif isinstance(child, ast.If) and _asks_for_type_checking(child.test):
            for part in child.body:
                yield from _imports(ast.Module([part], []), typing_only=True, inside_function=inside_function)
            for part in child.orelse:
                yield from _imports(ast.Module([part], []), typing_only=typing_only, inside_function=inside_function)
        else:
            within = inside_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, typing_only=typing_only, inside_function=within)


def _asks_for_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def part_of(path: str) -> str:
    """Which part of the house a file belongs to: `core/run.py` to core, `errors.py` to errors."""
    return path.split("/")[0].removesuffix(".py")


def targets_of(found: Import) -> list[str]:
    """The parts of the house that an import reaches; `from aigate import X` reaches the whole house."""
    pieces = found.module.split(".")
    if pieces[0] != "aigate":
        return []
    if len(pieces) > 1:
        return [pieces[1]]
    named = [name for name in found.names if name not in ROOT_NAMES]
    return [name if name in ORDER else "__init__" for name in named] if found.names else ["__init__"]


def misplaced_imports(path: str, source: str) -> list[str]:
    """What a file imports against the order of the house, one sentence each."""
    part = part_of(path)
    if part not in ORDER:
        return [f"{path}: '{part}' has no place in the order of the house"]
    if part in FREE:
        return []
    broken = []
    for found in imports_of(ast.parse(source)):
        if found.module.startswith("."):
            broken.append(f"{path}:{found.line}: relative import of '{found.module}'")
        for target in targets_of(found):
            later = target not in ORDER or ORDER.index(target) > ORDER.index(part)
            if later and not (found.typing_only and part == "errors"):
                broken.append(f"{path}:{found.line}: {part} imports {target}, which stands after it")
            if part == "stats" and target != "stats":
                broken.append(f"{path}:{found.line}: stats knows nothing of aigate, and imports {target}")
    return broken


def eager_imports(path: str, source: str) -> list[str]:
    """Heavy packages that a file imports when it is imported itself."""
    part = part_of(path)
    found = [found for found in imports_of(ast.parse(source)) if not (found.inside_function or found.typing_only)]
    packages = [(found.line, found.module.split(".")[0]) for found in found]
    return [
        f"{path}:{line}: {package} is imported at module level"
        for line, package in packages
        if package in LAZY or (package in AT_HOME and part not in AT_HOME[package])
    ]


def worldly_things(path: str, source: str) -> list[str]:
    """What a file of `core` could touch the world with."""
    tree = ast.parse(source)
    allowed = {"importlib", "importlib.metadata"} if Path(path).stem in IMPORTLIB_AT else set()
    broken = [
        f"{path}:{found.line}: core imports {found.module}"
        for found in imports_of(tree)
        if (found.module in NO_WORLD or found.module.split(".")[0] in NO_WORLD | {"importlib"})
        and found.module not in allowed
    ]
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name))
    named = {"open", "print", "input", "exec", "eval", "__import__", "breakpoint"}
    return broken + [f"{path}:{node.lineno}: core calls {node.func.id}()" for node in calls if node.func.id in named]


FILES = {path.relative_to(SOURCE).as_posix(): path.read_text("utf-8") for path in sorted(SOURCE.rglob("*.py"))}


@pytest.mark.parametrize("path", FILES)
def test_a_package_imports_only_what_stands_before_it(path):
    assert misplaced_imports(path, FILES[path]) == []


@pytest.mark.parametrize("path", FILES)
def test_heavy_packages_are_imported_where_they_are_used(path):
    assert eager_imports(path, FILES[path]) == []


@pytest.mark.parametrize("path", [path for path in FILES if path.startswith("core/")])
def test_core_touches_nothing_of_the_world(path):
    assert worldly_things(path, FILES[path]) == []


def test_every_part_of_the_house_was_looked_at():
    assert {
        "errors",
        "core",
        "stats",
        "goldens",
        "providers",
        "scorers",
        "running",
        "storing",
        "gating",
        "reports",
    } <= {part_of(path) for path in FILES}
    assert sum(len(imports_of(ast.parse(source))) for source in FILES.values()) > 300


def test_every_folder_is_a_package_that_says_what_it_is_for():
    for folder in {path.parent for path in SOURCE.rglob("*.py")}:
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))), folder


def test_every_module_says_what_it_is_for():
    assert [path for path, source in FILES.items() if not ast.get_docstring(ast.parse(source))] == []


def test_no_module_has_a_name_that_says_nothing():
    assert [path for path in FILES if Path(path).stem in NAMES_OF_NOTHING] == []


def test_no_module_is_called_what_a_public_function_is_called():
    public = {name for name in aigate.__all__ if name.islower()}
    assert {"evaluate", "gate", "compare"} <= public
    # A command's file is called what the command is called; `aigate.cli` is no place to import functions from.
    named = [path for path in FILES if Path(path).stem in public and part_of(path) != "cli"]
    assert named == []


# The checkers themselves: each must find what breaks its rule, wherever it stands.

VIOLATIONS = {
    "core/a.py": "from aigate.gating.policy import Policy",
    "core/b.py": "def f():\n    from aigate.stats.power import x\n",
    "core/c.py": "import aigate.cli",
    "core/d.py": "import aigate",
    "core/e.py": "from aigate import Policy",
    "core/f.py": "from aigate import cli",
    "core/g.py": "from . import run",
    "goldens/h.py": "if TYPE_CHECKING:\n    from aigate.providers.base import Provider\n",
    "stats/i.py": "from aigate.errors import UsageError",
    "running/j.py": "class A:\n async def f(self):\n  try:\n   import aigate.storing.runs\n  finally:\n   pass",
    "scorers/k.py": "from aigate.mystery import x",
    "mystery/l.py": "",
    "errors.py": "from aigate.core.run import Run",
    "reports/m.py": "f = lambda: None\nwith open('x') as y:\n    from aigate.cli.main import main",
    "core/n.py": "if TYPE_CHECKING:\n    pass\nelse:\n    from aigate.cli.main import main",
}
HARMLESS = {
    "errors.py": "if TYPE_CHECKING:\n    from aigate.core.verdict import Verdict",
    "core/a.py": "from aigate.core.run import Run\nfrom aigate.errors import UsageError\nimport aigateway",
    "cli/b.py": "from aigate import __version__\ndef f():\n    from aigate.gating.policy import Policy",
    "stats/c.py": "import numpy as np\nfrom aigate.stats.arrays import Trials",
    "testing.py": "from aigate.cli.main import main",
    "__init__.py": "from aigate.gating.policy import Policy",
}


@pytest.mark.parametrize("path", VIOLATIONS)
def test_a_misplaced_import_is_found(path):
    assert len(misplaced_imports(path, VIOLATIONS[path])) == 1


@pytest.mark.parametrize("path", HARMLESS)
def test_an_import_in_its_place_is_left_alone(path):
    assert misplaced_imports(path, HARMLESS[path]) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("scorers/a.py", "import pandas as pd"),
        ("scorers/b.py", "from sklearn.metrics import f1_score"),
        ("stats/c.py", "try:\n    import statsmodels.api\nexcept ImportError:\n    pass"),
        ("running/d.py", "import numpy as np"),
        ("cli/e.py", "from rich.console import Console"),
        ("gating/f.py", "class A:\n    import scipy.stats"),
    ],
)
def test_an_eager_import_is_found(path, source):
    assert len(eager_imports(path, source)) == 1


def test_a_lazy_import_is_left_alone():
    lazy = "if TYPE_CHECKING:\n    import pandas\ndef f():\n    import sklearn.metrics\n    import numpy"
    assert eager_imports("scorers/a.py", lazy) == []
    assert eager_imports("stats/a.py", "import numpy as np\nimport scipy.special") == []


@pytest.mark.parametrize(
    "source",
    [
        "import os",
        "from pathlib import Path",
        "import os.path",
        "import importlib",
        "x = open('a')",
        "import urllib.request",
    ],
)
def test_a_worldly_thing_in_core_is_found(source):
    assert len(worldly_things("core/run.py", source)) == 1


def test_what_core_needs_is_left_alone():
    assert worldly_things("core/run.py", "import json, hashlib, re\nfrom urllib.parse import quote") == []
    assert worldly_things("core/registry.py", "from importlib.metadata import entry_points") == []
