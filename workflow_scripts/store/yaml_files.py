"""YAML files in which no key stands twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from workflow_scripts.runtime.errors import UserError


def read_yaml(path: Path) -> Any:
    """Plain data of a YAML file.

    Raises:
        UserError: if it is missing, not YAML, or holds a key twice.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_NoDuplicates)
    except RecursionError as error:
        raise UserError(f"{path}: is not valid YAML, it is nested too deeply.") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark else ""
        raise UserError(f"{path}: {place}is not valid YAML, {getattr(error, 'problem', 'not text')}.") from error


class _NoDuplicates(yaml.SafeLoader):
    """YAML lets a later key silently win over an earlier one of the same name; a study must not."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key that is not a plain word", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands here twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)
