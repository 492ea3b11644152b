"""Strict YAML for front matter and version files: plain values, no duplicate keys, no aliases, dates stay text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from aigate.core.digest import canonical_json
from aigate.core.json_text import JsonDefectError

__all__ = ["strict_yaml"]


def strict_yaml(text: str) -> tuple[Any, Mapping[str, int]]:
    r"""Parse one YAML document that could have been written as JSON.

    Dates stay strings (`2024-11-20` is a provider version, not a day). Anchors with aliases are refused, since a few
    bytes of them can stand for gigabytes.

    Returns:
        The value, and for a mapping the line (from 1) of each of its own keys.

    Raises:
        JsonDefectError: No YAML, a duplicate key, an alias, a tag, or a value JSON cannot hold; has `line` where known.

    >>> strict_yaml("temperature: 0\nseed: 7")
    ({'temperature': 0, 'seed': 7}, {'temperature': 1, 'seed': 2})
    """
    loader = _StrictLoader(text)
    try:
        node = loader.get_single_node()
        value = None if node is None else loader.construct_document(node)
        canonical_json(value)
    except yaml.MarkedYAMLError as found:
        mark = found.problem_mark or found.context_mark
        line = None if mark is None else mark.line + 1
        raise JsonDefectError(f"invalid YAML: {found.problem or found.context}", line=line) from None
    except (yaml.YAMLError, ValueError, RecursionError) as found:
        raise JsonDefectError(f"invalid YAML: {found}") from None
    finally:
        loader.dispose()
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return value, {str(key.value): key.start_mark.line + 1 for key, _ in pairs}


class _StrictLoader(yaml.SafeLoader):
    """The safe loader, minus aliases, duplicate keys and guessed dates."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - pyyaml's own spelling
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.get_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases are not supported", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            if key_node.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"duplicate key '{key_node.value}'", problem_mark=key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)
