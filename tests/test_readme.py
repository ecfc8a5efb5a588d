"""The README says what the program has."""

from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_option_of_every_group_is_named():
    for file in (ROOT / "conf").glob("*/**/*.yaml"):
        assert f"`{file.stem}`" in README, f"{file.relative_to(ROOT)} is not in the README"


def test_every_root_key_is_named():
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        keys = compose("config").keys()
    missing = [key for key in keys if f"`{key}" not in README]
    assert not missing


def test_its_pictures_exist():
    for line in README.splitlines():
        if line.startswith("!["):
            picture = ROOT / line.partition("](")[2].rstrip(")")
            assert picture.is_file() and picture.stat().st_size < 300_000
