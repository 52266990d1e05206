"""Published adapters of the hub, fetched into its cache before a job with a GPU takes them."""

from __future__ import annotations

from workflow_scripts.adapters.published import FILES, source_of
from workflow_scripts.runtime import command
from workflow_scripts.store.artefacts import file_digest, write_json
from workflow_scripts.study.layout import Layout
from workflow_scripts.study.made_by import made_by
from workflow_scripts.study.reading import load


def main(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--organism", required=True, help="its name, without a seed")
    given = parser.parse_args(arguments)
    study, layout = load(given.study), Layout.of(given.study)
    adapter = study.organisms[given.organism].adapter
    assert adapter
    folder = source_of(f"organisms.{given.organism}", adapter)
    files = {name: file_digest(folder / name) for name in FILES}
    output = layout.fetched_adapter(given.organism)
    facts = made_by("published_adapters", study, layout, output, (), given.organism)
    write_json(output, {"hub": adapter.hub, "revision": adapter.revision, "files": files}, facts)


if __name__ == "__main__":
    command.run(main)
