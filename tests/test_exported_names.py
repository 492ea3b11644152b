"""What a module exports is what it defines, and what `aigate` exports is what it says in three places."""

import ast
import pkgutil
from importlib import import_module
from pathlib import Path

import pytest

import aigate
from aigate import _HOMES

SOURCE = Path(aigate.__file__).parent
MODULES = [found.name for found in pkgutil.walk_packages(aigate.__path__, "aigate.") if not found.ispkg]


def type_checking_block():
    """Where type checkers find each public name: `gate` in `gating.decision`."""
    tree = ast.parse((SOURCE / "__init__.py").read_text("utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    return {alias.name: node.module.removeprefix("aigate.") for node in block.body for alias in node.names}


def defined_by(tree):
    """Public names a module defines itself: functions and classes, and constants."""
    made, constants = set(), set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            made.add(node.name)
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        constants.update(name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))
    return {name for name in made if not name.startswith("_")}, {name for name in constants if not name.startswith("_")}


def exported_by(tree):
    """The names in a module's `__all__`, in the file's order; None without one."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(ast.unparse(target) == "__all__" for target in node.targets):
            return ast.literal_eval(node.value)
    return None


def wrongly_exported(source):
    """What is wrong with a module's `__all__`, one sentence each."""
    tree = ast.parse(source)
    made, constants = defined_by(tree)
    exported = exported_by(tree)
    if exported is None:
        return ["no __all__"] if made else []
    unknown = [f"'{name}' is exported and not defined here" for name in exported if name not in made | constants]
    doubled = [f"'{name}' is exported twice" for name in set(exported) if exported.count(name) > 1]
    return unknown + doubled + ([] if exported == _sorted(exported) else ["__all__ is not sorted"])


def _sorted(names):
    """As ruff sorts them: constants, then classes, then functions."""
    return sorted(names, key=lambda name: (0 if name.isupper() else 1 if name[0].isupper() else 2, name))


def test_the_public_names_are_sorted():
    assert aigate.__all__ == sorted(aigate.__all__)
    assert len(set(aigate.__all__)) == len(aigate.__all__)


def test_each_public_name_has_one_home_and_it_is_the_same_for_type_checkers():
    assert sorted(_HOMES) == aigate.__all__
    assert type_checking_block() == _HOMES


@pytest.mark.parametrize("name", aigate.__all__)
def test_a_public_name_is_exported_by_its_home(name):
    home = import_module(f"aigate.{_HOMES[name]}")
    assert name in home.__all__
    assert getattr(home, name) is getattr(aigate, name)
    assert getattr(aigate, name).__module__ == f"aigate.{_HOMES[name]}"
    assert getattr(aigate, name).__doc__


@pytest.mark.parametrize("name", MODULES)
def test_a_module_exports_names_that_it_defines(name):
    path = SOURCE / (name.removeprefix("aigate.").replace(".", "/") + ".py")
    assert wrongly_exported(path.read_text("utf-8")) == []


@pytest.mark.parametrize("name", MODULES)
def test_what_a_module_exports_is_there(name):
    if name == "aigate.__main__":
        pytest.skip("runs the command line")
    module = import_module(name)
    assert [found for found in getattr(module, "__all__", []) if not hasattr(module, found)] == []


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def f(): ...", "no __all__"),
        ("class A: ...\n__all__ = ['A', 'B']", "'B' is exported and not defined here"),
        ("from x import B\n__all__ = ['B']", "'B' is exported and not defined here"),
        ("__all__ = ['f', 'f']\ndef f(): ...", "'f' is exported twice"),
        ("__all__ = ['f', 'A']\nclass A: ...\ndef f(): ...", "__all__ is not sorted"),
    ],
)
def test_a_wrong_export_is_found(source, told):
    assert wrongly_exported(source) == [told]


def test_a_right_export_is_left_alone():
    source = (
        "from x import y\n__all__ = ['LIMIT', 'Abc', 'f']\nLIMIT: int = 1\nclass Abc: ...\ndef f(): ...\ndef _g(): ..."
    )
    assert wrongly_exported(source) == []
    assert wrongly_exported("import sys\n") == []
