"""YAML files in which no key stands twice, and a plain word is what people take it for.

Numbers and truth values are those of YAML 1.2: `yes`, `010`, `1:30`, `1_000` and dates are texts, not true, 8, 90, 1000
and days, so that a setting that is no text says so.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.reader import Reader

from workflow_scripts.runtime.errors import UserError

LARGEST_EXPANSION = 100_000
"""Values that a file's aliases may add to it, all in all."""
LONGEST_NUMBER = 100
"""Characters."""
HALF = re.compile("[\ud800-\udfff]")
"""Of a character beyond the first 65,536: JSON writes them as two escapes."""


def read_yaml(path: Path, most_bytes: int | None = None, most_values: int | None = None) -> Any:
    """Plain data of a YAML file; a date is text.

    Args:
        path: the file.
        most_bytes, most_values: what it may hold, where there is a limit.

    Raises:
        UserError: if it is missing, no plain file, too large, not YAML, holds a key twice, or aliases of too much.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise UserError(f"{path}: cannot be read (it is not a plain file).")
        if most_bytes is not None and found.st_size > most_bytes:
            raise UserError(f"{path}: holds {found.st_size:,} bytes; a file of its kind has at most {most_bytes:,}.")
        loader = _Loader(path.read_text(encoding="utf-8"))
        loader.most_values = most_values
        return loader.data()
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


def read_word(text: str) -> Any:
    """The value that a plain word has in a YAML file; itself where it is none."""
    try:
        return _Loader(text).data()
    except (yaml.YAMLError, RecursionError):
        return text


class _Loader(yaml.SafeLoader):
    """Says where a value is not what it is said to be; YAML itself lets a later key win over one of the same name."""

    most_values: int | None = None
    nodes = 0

    def data(self) -> Any:
        """The plain data of the one document."""
        node = self.get_single_node()
        if node is None:
            return None
        if self.expanded(node, {}) - self.nodes > LARGEST_EXPANSION:
            raise ConstructorError(None, None, f"its aliases stand for more than {LARGEST_EXPANSION:,} values")
        return self.construct_document(node)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.nodes += not self.check_event(yaml.AliasEvent)
        if self.most_values is not None and self.nodes > self.most_values:
            problem = f"it holds more than {self.most_values:,} values"
            raise ConstructorError(None, None, problem, parent.start_mark if parent else None)
        return super().compose_node(parent, index)

    def expanded(self, node: yaml.Node, sizes: dict[int, int | None]) -> int:
        """Number of values below a node with its aliases written out; looks for keys that stand twice on the way."""
        if id(node) in sizes:
            size = sizes[id(node)]
            if size is None:
                raise ConstructorError(None, None, "an alias stands within what it names", node.start_mark)
            return size
        sizes[id(node)] = None
        if isinstance(node, yaml.ScalarNode):
            _check_text(node)
        if isinstance(node, yaml.MappingNode):
            self._refuse_twins(node)
        sizes[id(node)] = size = 1 + sum(self.expanded(inner, sizes) for inner in _inner(node))
        return size

    def _refuse_twins(self, node: yaml.MappingNode) -> None:
        seen: set[Any] = set()
        for key_node, value in node.value:
            if key_node.tag == MERGE:
                self._refuse_merged_twins(value)
                key: Any = "<<"
            else:
                key = self.construct_object(key_node, deep=True) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str | int | float | bool):
                raise ConstructorError(None, None, "a key that is not a plain word", key_node.start_mark)
            if key in seen:
                raise ConstructorError(None, None, f"the key {key!r} stands here twice", key_node.start_mark)
            seen.add(key)

    def _refuse_merged_twins(self, merged: yaml.Node) -> None:
        """Of two mappings that are merged side by side, none says what a setting of both is."""
        seen: dict[Any, yaml.Node] = {}
        parts = merged.value if isinstance(merged, yaml.SequenceNode) else []
        for part in parts:
            for key_node, value in part.value if isinstance(part, yaml.MappingNode) else []:
                if seen.setdefault(key_node.value, value) is not value and key_node.tag != MERGE:
                    problem = f"the key {key_node.value!r} stands in two of the mappings that are merged here"
                    raise ConstructorError(None, None, problem, merged.start_mark)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        kind = node.tag.rpartition(":")[2]
        if kind in ("int", "float") and len(node.value) > LONGEST_NUMBER:
            raise ConstructorError(None, None, f"a number of more than {LONGEST_NUMBER} characters", node.start_mark)
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            raise ConstructorError(None, None, f"{node.value!r:.60} is no {kind}", node.start_mark) from error


MERGE = "tag:yaml.org,2002:merge"
PLAIN = {
    "null": ("~|null|Null|NULL|", "~nN\0"),
    "bool": ("true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": ("[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    "float": (r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
              "-+0123456789."),
    "merge": ("<<", "<"),
}  # fmt: skip
"""Plain words that are no texts, as of YAML 1.2's core schema without 0x and 0o, and the characters they begin with."""
_Loader.yaml_implicit_resolvers = {}
for _kind, (_form, _first) in PLAIN.items():
    _letters = ["" if letter == "\0" else letter for letter in _first]
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_form})$"), _letters)


def _check_text(node: yaml.ScalarNode) -> None:
    """Joins the halves of characters, and refuses what no file holds, though YAML can write it as an escape."""
    if HALF.search(node.value):
        try:
            node.value = node.value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError as error:
            raise ConstructorError(None, None, "half of a character", node.start_mark) from error
    if Reader.NON_PRINTABLE.search(node.value):
        raise ConstructorError(None, None, "a control character", node.start_mark)


def _inner(node: yaml.Node) -> Iterator[yaml.Node]:
    for part in node.value if isinstance(node, yaml.CollectionNode) else ():
        yield from part if isinstance(part, tuple) else (part,)
