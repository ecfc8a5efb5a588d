"""Folders of finished runs, for tests of code that reads records."""

from omegaconf import OmegaConf

from fpinv.run.folder import RunFolder
from fpinv.run.layout import Origin, by_key, write_origin

HEADER = {
    "model": "scenes",
    "dataset": "scenes",
    "steps": 20,
    "guidance": 1.0,
    "seed": 0,
    "device": "cpu",
    "versions": {"torch": "2"},
}


def finish(path, records, overrides=(), config=None, choices=None, header=None, pooled=None):
    """Write a finished job with these records into ``path``, whose name is its number."""
    folder = RunFolder(path)
    for record in records:
        folder.append(record)
    write_origin(path, Origin(int(path.name), path.parent.name, by_key(overrides)))
    OmegaConf.save((config or {}) | {"choices": choices or {}}, path / "config.yaml")
    inverter = {"inverter": (choices or {}).get("inverter", "fpi")}
    folder.summarise(HEADER | inverter | (header or {}), len(records), (), pooled)
    return path
