"""Loaded by every Python of a recorded run (tests/helpers/workflow.py): notes which settings each stage reads.

A stage's process writes one file into the folder EM_RECORD_READS: its module, its arguments, and the paths of the
settings that it read outside of cutting its spec.
"""

from __future__ import annotations

import atexit
import importlib.abc
import importlib.util
import json
import os
import sys
import uuid
from pathlib import Path

FOLDER = os.environ.get("EM_RECORD_READS")
READING = "workflow_scripts.study.reading"


class Finder(importlib.abc.MetaPathFinder):
    """Puts the recorder into the module that reads studies, when it is imported."""

    def find_spec(self, name, path, target=None):
        if name != READING:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            record(module)

        spec.loader.exec_module = exec_module
        return spec


def record(reading):
    """The first study that is loaded starts the recording: until then, what it looks at may still be on its way in."""
    load = reading.load

    def first_load(file):
        nonlocal load
        if load is plain:
            load = recording(plain)
        return load(file)

    plain, reading.load = load, first_load


def recording(load):
    """Starts the recording; returns what loads a study from then on."""
    from workflow_scripts.study import specs
    from workflow_scripts.study.fields import Section

    places, reads, paused = {}, set(), [False]
    spec, get, dump = specs.spec, Section.__getattribute__, Section.model_dump

    def place(section, path):
        places[id(section)] = path
        for name in type(section).model_fields:
            inner = get(section, name)
            for key, part in inner.items() if isinstance(inner, dict) else [(None, inner)]:
                if isinstance(part, Section):
                    place(part, (*path, name) if key is None else (*path, name, key))

    def recorded_load(file):
        study = load(file)
        place(study, ())
        return study

    def recorded_get(self, name):
        value = get(self, name)
        path = places.get(id(self))
        if path is not None and not paused[0] and name in type(self).model_fields:
            of_sections = isinstance(value, dict) and any(isinstance(part, Section) for part in value.values())
            if not isinstance(value, Section) and not of_sections:
                reads.add(".".join((*path, name)))
        return value

    def recorded_dump(self, *args, include=None, exclude=None, **more):
        for name in type(self).model_fields:
            if (include is None or name in include) and (exclude is None or name not in exclude):
                recorded_get(self, name)
        return dump(self, *args, include=include, exclude=exclude, **more)

    def silent_spec(*args):
        paused[0] = True
        try:
            return spec(*args)
        finally:
            paused[0] = False

    specs.spec = silent_spec
    Section.__getattribute__, Section.model_dump = recorded_get, recorded_dump

    def write():
        stage = getattr(sys.modules["__main__"].__spec__, "name", "")
        file = Path(FOLDER) / f"{stage}-{uuid.uuid4().hex}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"stage": stage, "arguments": sys.argv[1:], "reads": sorted(reads)}))

    atexit.register(write)
    return recorded_load


if FOLDER:
    os.environ.pop("EM_ANNOUNCED", None)  # a process that goes on with other subjects would read their settings, too
    sys.meta_path.insert(0, Finder())
