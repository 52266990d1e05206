"""YAML files in which no key stands twice."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from workflow_scripts.runtime.errors import UserError

LARGEST_EXPANSION = 100_000
"""Values that a file's aliases may stand for, all in all."""
LONGEST_NUMBER = 100
"""Characters."""


def read_yaml(path: Path) -> Any:
    """Plain data of a YAML file; a date is text.

    Raises:
        UserError: if it is missing, no plain file, not YAML, holds a key twice, or aliases of too much.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"{path}: cannot be read (it is not a plain file).")
        loader = _Loader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        if node is None:
            return None
        if loader.expanded(node, {}) > max(LARGEST_EXPANSION, loader.nodes):
            raise UserError(f"{path}: is not valid YAML, its aliases stand for more than {LARGEST_EXPANSION:,} values.")
        return loader.construct_document(node)
    except RecursionError as error:
        raise UserError(f"{path}: is not valid YAML, it is nested too deeply.") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not valid YAML, byte {error.start} is not UTF-8.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", "not text")
        raise UserError(f"{path}: {place}is not valid YAML, {problem}.") from error


class _Loader(yaml.SafeLoader):
    """Says where a value is not what it is said to be; YAML itself lets a later key win over one of the same name."""

    nodes = 0

    def expanded(self, node: yaml.Node, sizes: dict[int, int | None]) -> int:
        """Number of values below a node with its aliases written out; looks for keys that stand twice on the way."""
        if id(node) in sizes:
            size = sizes[id(node)]
            if size is None:
                raise ConstructorError(None, None, "an alias stands within what it names", node.start_mark)
            return size
        self.nodes += 1
        sizes[id(node)] = None
        if isinstance(node, yaml.ScalarNode) and re.search("[\ud800-\udfff]", node.value):
            raise ConstructorError(None, None, "half of a character", node.start_mark)
        if isinstance(node, yaml.MappingNode):
            self._refuse_twins(node)
        sizes[id(node)] = size = 1 + sum(self.expanded(inner, sizes) for inner in _inner(node))
        return size

    def _refuse_twins(self, node: yaml.MappingNode) -> None:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str | int | float | bool):
                raise ConstructorError(None, None, "a key that is not a plain word", key_node.start_mark)
            if key in seen:
                raise ConstructorError(None, None, f"the key {key!r} stands here twice", key_node.start_mark)
            seen.add(key)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        kind = node.tag.rpartition(":")[2]
        if kind in ("int", "float") and len(node.value) > LONGEST_NUMBER:
            raise ConstructorError(None, None, f"a number of more than {LONGEST_NUMBER} characters", node.start_mark)
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            raise ConstructorError(None, None, f"{node.value!r:.60} is no {kind}", node.start_mark) from error


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _inner(node: yaml.Node) -> Iterator[yaml.Node]:
    for part in node.value if isinstance(node, yaml.CollectionNode) else ():
        yield from part if isinstance(part, tuple) else (part,)
